"""How does a packet for another node's pod leave this host? One file for each way; here stand the contract and the loader.

A backend is pure: it says which objects must exist. Shared decisions (which peer may be routed, masquerade, the CNI file)
do not belong here, and backends never import each other.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.model import Finding
from nodeipam_ctl.prefixes import Address, Family, Network, family_of
from nodeipam_ctl.routing.state import HostObject
from nodeipam_ctl.routing.view import NodeView, OnLink, Peer, UnderlayLink
from nodeipam_ctl.settings import AgentSettings

NAMES = ("host-gw",)


@dataclass(frozen=True, slots=True)
class Vantage:
    """What is the same for every peer: computed once for a view."""

    view: NodeView
    on_link: OnLink

    @classmethod
    def of(cls, view: NodeView) -> Vantage:
        """The vantage of a view."""
        return cls(view, OnLink(view))

    @property
    def settings(self) -> AgentSettings:
        """The agent's settings."""
        return self.view.settings

    def direct(self, peer: Peer, family: Family) -> tuple[UnderlayLink, Address] | None:
        """Device and next hop for pods of one family when the peer is on a subnet of ours.

        An IPv4 podCIDR may go through an IPv6 next hop (RFC 5549), but not the other way round.
        """
        for wanted in (family, Family.IPV6):
            for address in peer.addresses:
                if family_of(address) is wanted and (link := self.on_link.link_to(address)) is not None:
                    return link, address
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Toward:
    """What one peer's podCIDR needs on this host: objects with exactly one route, or a finding that says why not."""

    objects: tuple[HostObject, ...] = ()
    findings: tuple[Finding, ...] = ()


class Backend(Protocol):
    """One way of reaching other nodes' pods."""

    def own(self, vantage: Vantage) -> Toward:
        """Objects that exist whoever the peers are: devices, their addresses and settings."""
        ...

    def toward(self, peer: Peer, cidr: Network, vantage: Vantage) -> Toward:
        """What a peer's podCIDR needs; the caller has made sure that the podCIDR may be routed."""
        ...

    def pod_mtu_bytes(self, vantage: Vantage) -> int | None:
        """The largest packet of a pod that reaches every peer unfragmented; None while the underlay is unknown."""
        ...

    def devices(self, settings: AgentSettings) -> frozenset[str]:
        """Names of the devices that are ours under this backend."""
        ...


def load(name: str) -> Backend:
    """The backend of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in NAMES:
        raise UsageError(f"--backend {name}: there is no such backend; choose one of {', '.join(NAMES)}")
    module = importlib.import_module(f"nodeipam_ctl.routing.backends.{name.replace('-', '_')}")
    backend: Backend = module.backend
    return backend


def unroutable(peer: Peer, cidr: Network, why: str, remedy: str) -> Toward:
    """The finding for a peer that this backend cannot reach."""
    return Toward(
        findings=(
            Finding(
                code="PeerUnroutable",
                subject=f"node/{peer.name}",
                message=f"peer {peer.name} unroutable: {why}; podCIDR {cidr} has no route",
                remedy=remedy,
            ),
        )
    )
