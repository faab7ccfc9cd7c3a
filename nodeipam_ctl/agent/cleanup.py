"""What of ours is on this host, and how is it removed? Routes by protocol, devices and files by name, our nft table and our jump in others' chains; nothing else."""

from __future__ import annotations

from nodeipam_ctl.linux import nftables
from nodeipam_ctl.linux.dumps import Interest
from nodeipam_ctl.linux.host import Host, Outcome
from nodeipam_ctl.plan import diff
from nodeipam_ctl.routing.backends import devices_of_all, wireguard
from nodeipam_ctl.routing.desired import owned_files
from nodeipam_ctl.routing.masquerade import TABLE, TABLE_FAMILY
from nodeipam_ctl.routing.state import ForwardAccept, HostObject, HostPlan, Key, Kind
from nodeipam_ctl.settings import AgentSettings

# What stands on a device goes with it; settings are left as they are, since others may rely on them by now.
_REMOVED = (Kind.KEY_FILE, Kind.LINK, Kind.ROUTE, Kind.NFT_TABLE, Kind.FORWARD, Kind.FILE)


def removal_plan(host: Host, settings: AgentSettings) -> HostPlan:
    """The removal of everything we own, the CNI configuration first; empty on a host that is clean.

    Raises:
        NodeIPAMError: the host cannot be read.
    """
    interest = Interest(
        devices=devices_of_all(settings),
        table=settings.route_table,
        files=owned_files(settings),
        key_files=(str(wireguard.key_file(settings)),),
        nft_tables=((TABLE_FAMILY, TABLE),) if nftables.available() else (),
        forward=nftables.available(),
    )
    # Devices are read first: routes name theirs.
    observed: dict[Key, HostObject] = {}
    for kind in _REMOVED:
        observed |= host.read(kind, interest)[0]
    observed = {k: obj for k, obj in observed.items() if not isinstance(obj, ForwardAccept) or obj.ours}
    nothing: dict[Key, HostObject] = {}
    return diff(nothing, observed, why=lambda _op, _key: "cleanup")


def remove(host: Host, plan: HostPlan) -> Outcome:
    """Applies the plan; what failed is in the outcome."""
    return host.apply(plan)
