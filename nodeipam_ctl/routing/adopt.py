"""What did flannel, kube-router or kindnet leave on this host, and when may it go? Only on the operator's word (--adopt).

A predecessor's routes carry no mark of their own, only a protocol that others use as well; so a route counts as left over when
its protocol fits, it goes through a gateway or the predecessor's own device, and its destination lies in the pod network.
Its route to a podCIDR goes when ours is in the kernel, not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeipam_ctl.prefixes import Network, contains
from nodeipam_ctl.routing.state import Route, RouteType
from nodeipam_ctl.settings import ROUTE_PROTOCOL

_BOOT, _KUBE_ROUTER = (
    3,
    17,
)  # rtnetlink protocols: `ip route add` without a word, and kube-router's own choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """How another agent's leftovers are recognised.

    Attributes:
        devices: its devices, whatever stands on them included.
        conflists: its files in the CNI directory.
        nft_tables: family and name.
    """

    protocol: int
    devices: tuple[str, ...] = ()
    conflists: tuple[str, ...] = ()
    nft_tables: tuple[tuple[str, str], ...] = ()


PREDECESSORS = {
    "flannel": Predecessor(
        protocol=_BOOT,
        devices=("flannel.1", "flannel-v6.1"),
        conflists=("10-flannel.conf", "10-flannel.conflist"),
        nft_tables=(("ip", "flannel-ipv4"), ("ip6", "flannel-ipv6")),
    ),
    "kube-router": Predecessor(
        protocol=_KUBE_ROUTER, conflists=("10-kuberouter.conf", "10-kuberouter.conflist")
    ),
    "kindnet": Predecessor(
        protocol=_BOOT, conflists=("10-kindnet.conflist",), nft_tables=(("inet", "kindnet-ipmasq"),)
    ),
}


def leftovers(
    routes: Iterable[Route],
    predecessor: Predecessor,
    *,
    pod_network: Iterable[Network],
    wanted: Iterable[Route],
    present: Iterable[Route],
) -> tuple[Route, ...]:
    """The predecessor's routes that may go now.

    Args:
        routes: foreign routes of the host.
        predecessor: whose they may be.
        pod_network: the ranges of the ClusterCIDRs and the podCIDRs of all nodes.
        wanted: the routes that we want.
        present: the routes of ours that the kernel has.
    """
    ranges = tuple(pod_network)
    needed = {route.dst for route in wanted if route.type is RouteType.UNICAST}
    covered = {
        route.dst for route in present if route.type is RouteType.UNICAST and route.protocol == ROUTE_PROTOCOL
    }
    return tuple(
        route
        for route in routes
        if route.protocol == predecessor.protocol
        and route.type is RouteType.UNICAST
        and (route.via is not None or route.dev in predecessor.devices)
        and any(contains(pool, route.dst) for pool in ranges)
        and (route.dst in covered or route.dst not in needed)
    )
