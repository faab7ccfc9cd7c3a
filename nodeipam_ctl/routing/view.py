"""What does one node see? Itself, its links and addresses, its peers and the cluster's ranges: all a backend may know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nodeipam_ctl.model import NodeName, NodeUID
from nodeipam_ctl.prefixes import Address, Family, Network, family_of, overlaps
from nodeipam_ctl.settings import AgentSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One node as routing needs it, from either feed; this node's own record has the same type.

    Attributes:
        pod_cidrs: every podCIDR of the node, in the feed's order.
        addresses: underlay addresses, best first.
        since_s: when it came to hold its podCIDRs, in seconds since the epoch; the older claim wins a dispute.
        vtep_macs: VTEP MACs that the node publishes itself, by family of the underlay (flannel); ours are derived from the uid.
        tunnel_addresses: underlay addresses that the node publishes for its tunnel; empty: use `addresses`.
        public_key: WireGuard key that the node publishes, base64.
        backend: the backend that the node says it runs in flannel's words; empty when it says nothing.
        runs: the backend of ours that the node says it runs; empty when it says none.
        problems: what of the record could not be understood, one line each.
    """

    name: NodeName
    uid: NodeUID
    pod_cidrs: tuple[Network, ...] = ()
    addresses: tuple[Address, ...] = ()
    since_s: float = 0.0
    vtep_macs: tuple[tuple[Family, str], ...] = ()
    tunnel_addresses: tuple[Address, ...] = ()
    public_key: str = ""
    backend: str = ""
    runs: str = ""
    problems: tuple[str, ...] = ()

    def pod_cidrs_of(self, family: Family) -> tuple[Network, ...]:
        """The podCIDRs of one family."""
        return tuple(cidr for cidr in self.pod_cidrs if family_of(cidr) is family)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlayLink:
    """A network device of the host as we found it.

    Attributes:
        up: administratively up and, if it has a carrier, with carrier.
        subnets: what its addresses make on-link.
        ours: our own overlay device or a predecessor's, which is never an underlay.
        left: a predecessor's, to which other nodes may still send.
    """

    name: str
    index: int
    mtu_bytes: int
    up: bool = True
    addresses: tuple[Address, ...] = ()
    subnets: tuple[Network, ...] = ()
    ours: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host itself says.

    Attributes:
        forwarding: families for which the kernel forwards packets now.
        foreign_conflists: CNI files of others in the CNI directory, in the order in which the runtime sorts them.
        strict_devices: devices that drop packets whose answer would leave another way (rp_filter 1), or did before we set it to 2.
        neighbour_limit: how many neighbours the kernel keeps (gc_thresh3); None where that cannot be set, in a namespace.
        accept_ra_devices: devices that take router advertisements, and would stop once the host forwards.
        wireguard_key: public key of this host's WireGuard key file; empty when there is none, or nobody asked.
    """

    links: tuple[UnderlayLink, ...] = ()
    forwarding: frozenset[Family] = frozenset()
    foreign_conflists: tuple[str, ...] = ()
    accept_ra_devices: tuple[str, ...] = ()
    strict_devices: tuple[str, ...] = ()
    neighbour_limit: int | None = None
    wireguard_key: str = ""

    def link_with(self, address: Address) -> UnderlayLink | None:
        """The device that holds an address."""
        return next((link for link in self.links if address in link.addresses), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """The input of `desired`: one moment, complete.

    Attributes:
        cluster_cidrs: the ranges of every ClusterCIDR, which pods see each other in without masquerade.
        service_cidrs: the cluster's Service ranges, besides those of the settings.
        api_server: its address, which no route of ours may take away; None when it is known by name.
        formerly: backends that others heard we run, now or until a moment ago: they may still send to us in those forms.
        pools_known: whether `cluster_cidrs` is what the API server says, and not merely what we have not heard yet.
    """

    settings: AgentSettings
    own: Peer | None
    peers: tuple[Peer, ...] = ()
    facts: HostFacts = field(default_factory=HostFacts)
    cluster_cidrs: tuple[Network, ...] = ()
    service_cidrs: tuple[Network, ...] = ()
    api_server: Address | None = None
    formerly: tuple[str, ...] = ()
    pools_known: bool = True

    def underlay(self, family: Family) -> tuple[UnderlayLink, Address] | None:
        """The device and address of this node's InternalIP of one family; InternalIP decides, not the default route."""
        for address in self.own.addresses if self.own else ():
            if family_of(address) is family:
                link = self.facts.link_with(address)
                if link is not None:
                    return link, address
        return None


def relevant(view: NodeView) -> HostFacts:
    """The facts without the pods' own devices, which come and go all day and decide nothing about other nodes."""
    own_cidrs = view.own.pod_cidrs if view.own else ()
    return replace(
        view.facts,
        links=tuple(
            link
            for link in view.facts.links
            if link.ours
            or any(
                not address.is_link_local and not any(address in cidr for cidr in own_cidrs)
                for address in link.addresses
            )
        ),
    )


class OnLink:
    """Which device reaches an address directly? Answers for thousands of peers: subnets are kept as integers."""

    def __init__(self, view: NodeView) -> None:
        own_cidrs = view.own.pod_cidrs if view.own else ()
        preferred = {found[0].name for family in Family if (found := view.underlay(family))}
        self._subnets: dict[int, list[tuple[int, int, UnderlayLink]]] = {4: [], 6: []}
        candidates = [
            (net, link)
            for link in view.facts.links
            if link.up and not link.ours
            for net in link.subnets
            # A subnet inside our podCIDR is the pods' own bridge: no node lives there.
            if not (net.is_loopback or net.is_link_local or any(overlaps(net, cidr) for cidr in own_cidrs))
        ]
        candidates.sort(key=lambda pair: (pair[1].name not in preferred, -pair[0].prefixlen))
        for net, link in candidates:
            bounds = int(net.network_address), int(net.broadcast_address)
            self._subnets[net.version].append((*bounds, link))

    def link_to(self, address: Address) -> UnderlayLink | None:
        """The device whose subnet holds the address; the InternalIP's device first, then the longest prefix."""
        value = int(address)
        for low, high, link in self._subnets[address.version]:
            if low <= value <= high:
                return link
        return None
