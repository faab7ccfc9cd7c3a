"""none: somebody else routes pods (a cloud's route tables, BGP); this host needs its own settings and CNI file only."""

from __future__ import annotations

from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.backends import Backend, Toward, Vantage
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings


class NoBackend:
    """No route, no device."""

    def own(self, vantage: Vantage) -> Toward:  # noqa: ARG002 - the contract's signature
        """Nothing."""
        return Toward()

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:  # noqa: ARG002
        """Nothing: the network knows the way."""
        return Toward()

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """The underlay's MTU."""
        return min((pair[0].mtu_bytes for pair in vantage.local.values() if pair), default=None)

    def devices(self, settings: AgentSettings) -> frozenset[str]:  # noqa: ARG002
        """None."""
        return frozenset()


backend: Backend = NoBackend()
