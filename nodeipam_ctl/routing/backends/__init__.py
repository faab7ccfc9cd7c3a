"""How does a packet for another node's pod leave this host? One file for each way; here stand the contract and the loader.

A backend is pure: it says which objects must exist. Shared decisions (which peer may be routed, masquerade, the CNI file)
do not belong here, and backends never import each other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.prefixes import Address, Family, Network, family_of
from nodeipam_ctl.routing.state import HostObject, Route, Sysctl
from nodeipam_ctl.routing.view import NodeView, OnLink, Peer, UnderlayLink
from nodeipam_ctl.settings import AgentSettings

_METRICS = 64

NAMES = ("host-gw", "vxlan", "vxlan-gpe", "wireguard", "none")


@dataclass(frozen=True, slots=True)
class Vantage:
    """What is the same for every peer: computed once for a view."""

    view: NodeView
    on_link: OnLink
    local: Mapping[Family, tuple[UnderlayLink, Address] | None]
    broadcasts: frozenset[int]

    @classmethod
    def of(cls, view: NodeView) -> Vantage:
        """The vantage of a view."""
        broadcasts = frozenset(
            int(subnet.broadcast_address)
            for link in view.facts.links
            for subnet in link.subnets
            if subnet.version == 4 and subnet.prefixlen < 31
        )
        return cls(view, OnLink(view), {family: view.underlay(family) for family in Family}, broadcasts)

    @property
    def settings(self) -> AgentSettings:
        """The agent's settings."""
        return self.view.settings

    def is_host(self, address: Address) -> bool:
        """Whether one other host can be there: a tunnel to a group or a broadcast address would show pods' packets to everybody."""
        value = int(address)
        if address.version == 4:
            everybody = value >> 28 == 0xE or value == 0xFFFFFFFF or value in self.broadcasts
            return not everybody and value >> 24 not in (0, 127)
        link_local, mapped = value >> 118 == 0xFE80 >> 6, value >> 32 == 0xFFFF
        return value > 1 and value >> 120 != 0xFF and not link_local and not mapped

    def underlay(self, cidr: Network, peer: Peer) -> tuple[Family, Address] | None:
        """Underlay family and the peer's address for a tunnel that carries a podCIDR.

        The podCIDR's own family when both nodes have it, else the other: any tunnel of ours carries both.
        """
        own = family_of(cidr)
        for family in (own, Family.IPV6 if own is Family.IPV4 else Family.IPV4):
            if self.local[family] is None:
                continue
            for address in peer.tunnel_addresses or peer.addresses:
                if family_of(address) is family and self.is_host(address):
                    return family, address
        return None

    def direct(self, peer: Peer, family: Family) -> tuple[UnderlayLink, Address] | None:
        """Device and next hop for pods of one family when the peer is on a subnet of ours.

        An IPv4 podCIDR may go through an IPv6 next hop (RFC 5549), but not the other way round.
        """
        for wanted in (family, Family.IPV6):
            for address in peer.addresses:
                if family_of(address) is not wanted or not self.is_host(address):
                    continue
                if (link := self.on_link.link_to(address)) is not None:
                    return link, address
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Toward:
    """What one peer's podCIDR needs on this host: objects with exactly one route, or a finding that says why not.

    Attributes:
        refused: the podCIDR would harm this host, so it counts as nobody's.
    """

    objects: tuple[HostObject, ...] = ()
    findings: tuple[Finding, ...] = ()
    refused: bool = False


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


def devices_of_all(settings: AgentSettings) -> frozenset[str]:
    """Names of the devices that are ours under any backend: what a former backend left is ours to remove."""
    return frozenset().union(*(load(name).devices(settings) for name in NAMES))


def route_metric(settings: AgentSettings, cidr: Network) -> int:
    """The metric of our route to a podCIDR: with every backend, on every node and at any time the same.

    IPv4 routes get 64 different ones. The kernel shares one record among IPv4 routes with equal next hops and looks for it in a
    hash table whose key knows the device and the metric, but neither gateway nor tunnel (`fib_info_hashfn`): with one metric
    every new route is compared with all others, 0.3 s for 5,000 plain routes and 0.94 s for tunnelled ones, and 0.04 and 0.07 s
    with 64. No two podCIDRs compete, so the metric means nothing among them. IPv6 does not share.
    """
    if cidr.version == 6:
        return settings.route_metric
    return (
        settings.route_metric
        + (int(cidr.network_address) >> (cidr.max_prefixlen - cidr.prefixlen)) % _METRICS
    )


def tunnel_mtu_bytes(vantage: Vantage, overhead_bytes: Mapping[Family, int]) -> int | None:
    """The largest packet that fits a tunnel, which adds so much by family of the underlay, over every underlay of this node."""
    sizes = [
        found[0].mtu_bytes - overhead_bytes[family]
        for family, found in vantage.local.items()
        if found is not None
    ]
    return min(sizes, default=None)


def direct_route(peer: Peer, cidr: Network, vantage: Vantage) -> Route | None:
    """A plain route to a peer on a subnet of ours; None when it is not on one."""
    found = vantage.direct(peer, family_of(cidr))
    if found is None:
        return None
    link, address = found
    settings = vantage.settings
    return Route(
        dst=cidr, via=address, dev=link.name, metric=route_metric(settings, cidr), table=settings.route_table
    )


def unroutable(peer: Peer, cidr: Network, why: str, remedy: str) -> Toward:
    """The finding for a peer that this backend cannot reach."""
    return Toward(
        findings=(
            Finding(
                severity=Severity.ERROR,
                code="PeerUnroutable",
                subject=f"node/{peer.name}",
                message=f"peer {peer.name} unroutable: {why}; podCIDR {cidr} has no route",
                remedy=remedy,
            ),
        )
    )


def no_common_underlay(peer: Peer, cidr: Network) -> Toward:
    """The finding for a peer that has no address of a family that we have."""
    shown = ", ".join(map(str, peer.addresses)) or "none"
    return unroutable(
        peer,
        cidr,
        f"no underlay family in common with a usable address (its InternalIPs: {shown})",
        "give both nodes an InternalIP of the same family",
    )


def quiet_device(name: str, vantage: Vantage) -> Iterator[Sysctl]:
    """A tunnel hears no router, and takes packets whose answer would leave another way (direct here, tunnelled there)."""
    links = vantage.view.facts.links
    if any(address.version == 6 for link in links for address in link.addresses):
        yield Sysctl(name=f"net/ipv6/conf/{name}/accept_ra", value="0")
    yield Sysctl(name=f"net/ipv4/conf/{name}/rp_filter", value="2")
