"""Views for tests: node n1 on 192.0.2.0/24 and fd00:10::/64, with whatever peers a test wants."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from nodeipam_ctl.model import NodeName, NodeUID
from nodeipam_ctl.prefixes import Family
from nodeipam_ctl.routing.view import HostFacts, NodeView, Peer, UnderlayLink
from nodeipam_ctl.settings import AgentSettings

FORWARDING = frozenset(Family)


def peer(name: str, *pod_cidrs: str, at: tuple[str, ...] = (), uid: str = "", **fields: Any) -> Peer:
    return Peer(
        name=NodeName(name),
        uid=NodeUID(uid or f"uid-{name}"),
        pod_cidrs=tuple(ip_network(cidr) for cidr in pod_cidrs),
        addresses=tuple(ip_address(address) for address in at),
        **fields,
    )


def link(name: str, *addresses: str, index: int = 2, mtu_bytes: int = 1500, **fields: Any) -> UnderlayLink:
    """A device from `address/length` texts."""
    pairs = [address.split("/") for address in addresses]
    return UnderlayLink(
        name=name,
        index=index,
        mtu_bytes=mtu_bytes,
        addresses=tuple(ip_address(address) for address, _ in pairs),
        subnets=tuple(
            ip_network(f"{address}/{length}", strict=False)
            for address, length in pairs
            if int(length) < ip_address(address).max_prefixlen
        ),
        **fields,
    )


ETH0 = link("eth0", "192.0.2.11/24", "fd00:10::11/64")
N1 = peer("n1", "10.244.1.0/24", "fd00:244:0:1::/64", at=("192.0.2.11", "fd00:10::11"))


def view(
    *peers: Peer,
    own: Peer | None = N1,
    links: tuple[UnderlayLink, ...] = (ETH0,),
    forwarding: frozenset[Family] = FORWARDING,
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16", "fd00:244::/48"),
    **settings: Any,
) -> NodeView:
    foreign = settings.pop("foreign_conflists", ())
    return NodeView(
        settings=AgentSettings(node_name="n1", **settings),
        own=own,
        peers=peers,
        facts=HostFacts(links=links, forwarding=forwarding, foreign_conflists=foreign),
        cluster_cidrs=tuple(ip_network(cidr) for cidr in cluster_cidrs),
    )
