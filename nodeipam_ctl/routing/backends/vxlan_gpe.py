"""vxlan-gpe: one route for each podCIDR carries the tunnel's far end; no MACs, no neighbours, no FDB, 14 bytes less overhead.

Linux calls it `vxlan external gpe`: a layer-3 device whose packets take their outer address from the route (lightweight tunnel).
Peers of another kind do not understand it (draft-ietf-nvo3-vxlan-gpe; not flannel).
"""

from __future__ import annotations

from nodeipam_ctl.prefixes import Family, Network
from nodeipam_ctl.routing.backends import (
    Backend,
    Toward,
    Vantage,
    direct_route,
    no_common_underlay,
    quiet_device,
    route_metric,
    tunnel_mtu_bytes,
)
from nodeipam_ctl.routing.state import HostObject, InterfaceAddress, Link, Route
from nodeipam_ctl.routing.tunnels import Encap, Vxlan
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

PORT = 4790  # IANA: vxlan-gpe
DEVICE = "nictl-gpe"
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
        if settings.direct_routing and (route := direct_route(peer, cidr, vantage)) is not None:
            return Toward(objects=(route,))
        found = vantage.underlay(cidr, peer)
        if found is None:
            return no_common_underlay(peer, cidr)
        route = Route(
            dst=cidr,
            dev=DEVICE,
            encap=Encap(vni=settings.vxlan_vni, dst=found[1]),
            metric=route_metric(settings, cidr),
            table=settings.route_table,
        )
        return Toward(objects=(route,))

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """What fits the tunnel over any underlay of this node."""
        return tunnel_mtu_bytes(vantage, OVERHEAD_BYTES)

    def devices(self, settings: AgentSettings) -> frozenset[str]:  # noqa: ARG002 - the contract's signature
        """The one device."""
        return frozenset({DEVICE})


backend: Backend = VxlanGpe()
