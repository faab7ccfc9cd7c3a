"""host-gw: when every node is on one segment, a peer's podCIDR is a plain route through the peer's own address."""

from __future__ import annotations

from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.backends import Backend, Toward, Vantage, direct_route, unroutable
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings


class HostGateway:
    """One route for each podCIDR; no device, no encapsulation, the full MTU."""

    def own(self, vantage: Vantage) -> Toward:  # noqa: ARG002 - the contract's signature
        """Nothing: the underlay's own device carries the packets."""
        return Toward()

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
        """One route through the peer's address.

        A next hop off the segment is refused, not forced with `onlink`: the kernel would take it and black-hole the pods.
        """
        if not peer.addresses:
            return unroutable(
                peer, cidr, "it has no InternalIP", "let its kubelet or cloud controller publish one"
            )
        route = direct_route(peer, cidr, vantage)
        if route is None:
            shown = ", ".join(map(str, peer.addresses))
            return unroutable(
                peer,
                cidr,
                f"next hop not on link ({shown})",
                "use --backend vxlan, or put the nodes on one segment",
            )
        return Toward(objects=(route,))

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """The underlay's MTU; the smallest, when two families use two devices."""
        return min((pair[0].mtu_bytes for pair in vantage.local.values() if pair), default=None)

    def devices(self, settings: AgentSettings) -> frozenset[str]:  # noqa: ARG002
        """None."""
        return frozenset()


backend: Backend = HostGateway()
