"""vxlan-gpe: one route for each podCIDR carries the tunnel's far end; no MACs, no neighbours, no FDB, 14 bytes less overhead.

Linux calls it `vxlan external gpe`: a layer-3 device whose packets take their outer address from the route (lightweight tunnel).
Peers of another kind do not understand it (draft-ietf-nvo3-vxlan-gpe; not flannel).
"""

from __future__ import annotations

from dataclasses import replace

from nodeipam_ctl.prefixes import Family, Network
from nodeipam_ctl.routing.backends import (
    Backend,
    Toward,
    Vantage,
    direct_route,
    no_common_underlay,
    quiet_device,
)
from nodeipam_ctl.routing.state import HostObject, InterfaceAddress, Link, Route
from nodeipam_ctl.routing.tunnels import Encap, Vxlan
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

PORT = 4790  # IANA: vxlan-gpe
DEVICE = "nictl-gpe"
_METRICS = 64
OVERHEAD_BYTES = {Family.IPV4: 36, Family.IPV6: 56}
"""IP 20 or 40, UDP 8, VXLAN 8; no inner Ethernet header."""


class VxlanGpe:
    """One device for both families, inside and outside."""

    def own(self, vantage: Vantage) -> Toward:
        """The device, with our podCIDRs' network addresses as sources of the host's own packets."""
        own = vantage.view.own
        mtu_bytes = self.pod_mtu_bytes(vantage)
        if own is None or mtu_bytes is None:
            return Toward()
        settings = vantage.settings
        objects: list[HostObject] = [
            Link(
                name=DEVICE,
                kind="vxlan",
                mtu_bytes=mtu_bytes,
                vxlan=Vxlan(vni=None, port=settings.vxlan_port or PORT, local=None, external=True, gpe=True),
            )
        ]
        objects += [
            InterfaceAddress(dev=DEVICE, address=cidr.network_address, prefix_length=cidr.max_prefixlen)
            for cidr in own.pod_cidrs
        ]
        objects += quiet_device(DEVICE, vantage)
        return Toward(objects=tuple(objects))

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
        """One route with the tunnel in it; or a plain one to a peer on our own subnet, with direct routing."""
        settings = vantage.settings
        metric = settings.route_metric + _spread(cidr)
        if settings.direct_routing and (route := direct_route(peer, cidr, vantage)) is not None:
            # The same metric: a peer that comes onto our subnet or leaves it is replaced in place.
            return Toward(objects=(replace(route, metric=metric),))
        found = vantage.underlay(cidr, peer)
        if found is None:
            return no_common_underlay(peer, cidr)
        route = Route(
            dst=cidr,
            dev=DEVICE,
            encap=Encap(vni=settings.vxlan_vni, dst=found[1]),
            metric=metric,
            table=settings.route_table,
        )
        return Toward(objects=(route,))

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """What fits the tunnel over any underlay of this node."""
        sizes = [
            found[0].mtu_bytes - OVERHEAD_BYTES[family]
            for family, found in vantage.local.items()
            if found is not None
        ]
        return min(sizes, default=None)

    def devices(self, settings: AgentSettings) -> frozenset[str]:  # noqa: ARG002 - the contract's signature
        """The one device."""
        return frozenset({DEVICE})


def _spread(cidr: Network) -> int:
    """What is added to the metric, 0 to 63, the same for a podCIDR on every node and at any time.

    The kernel shares one record among IPv4 routes with equal next hops and looks for it in a hash table whose key knows the
    device and the metric, but neither gateway nor tunnel (`fib_info_hashfn`). With one device and one metric every new route is
    compared with all others: 0.94 s for 5,000 tunnel routes, and 0.07 s when they have 64 metrics. No two podCIDRs compete, so
    the metric means nothing among them. IPv6 does not share.
    """
    if cidr.version == 6:
        return 0
    return (int(cidr.network_address) >> (cidr.max_prefixlen - cidr.prefixlen)) % _METRICS


backend: Backend = VxlanGpe()
