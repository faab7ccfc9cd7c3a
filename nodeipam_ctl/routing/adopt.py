"""What may go of the devices, routes and policy rules that flannel, kube-router or kindnet left here, and when? Only on the operator's word (--adopt).

Nodes are taken over one by one, and pods on all of them are to reach each other meanwhile. So a route goes when ours to the same
podCIDR is in the kernel and the node there takes what we send; until then, and for a node that we cannot reach, it stays. A device
goes when no route is left on it and no node is left that may still send to it: this node and every other one have said that they
run our agent. Policy rules go when the masquerade is ours.

When in a turn that is, and whether it came back, is `agent/adoption.py`'s affair; rules of iptables are `predecessor_rules.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.prefixes import Network, contains
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.peers import Place
from nodeipam_ctl.routing.predecessors import Predecessor
from nodeipam_ctl.routing.state import HostObject, Key, Kind, Link, PolicyRule, Route, RouteType
from nodeipam_ctl.routing.view import NodeView, Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """What a predecessor left, and what becomes of it now.

    Attributes:
        going: may go at once.
        idle: devices that nobody seems to need any more.
        first: podCIDRs to which its route, and none of ours, leads until the node there takes what we send.
        others: routes that are not the predecessor's.
    """

    going: tuple[HostObject, ...] = ()
    idle: tuple[Link, ...] = ()
    first: frozenset[Network] = frozenset()
    others: tuple[Route, ...] = ()

    def screened(self, wanted: HostState) -> HostState:
        """What is wanted, without routes to podCIDRs that its routes lead to for now."""
        if not self.first:
            return wanted
        kept = {
            key: obj
            for key, obj in wanted.kinds[Kind.ROUTE].items()
            if not (isinstance(obj, Route) and obj.dst in self.first)
        }
        return wanted.replaced(Kind.ROUTE, kept)


def takeover(
    found: Iterable[HostObject],
    predecessor: Predecessor,
    *,
    view: NodeView,
    wanted: HostState,
    present: Mapping[Kind, Mapping[Key, HostObject]],
) -> Takeover:
    """Sorts what was found of the predecessor's.

    Args:
        found: routes of others, and the devices and policy rules that are the predecessor's.
        predecessor: whose they may be.
        view: what this node sees.
        wanted: what this host should have.
        present: what of ours it has.
    """
    objects = tuple(found)
    devices = [obj for obj in objects if isinstance(obj, Link)]
    names = {device.name for device in devices}
    routes = [obj for obj in objects if isinstance(obj, Route)]
    ranges = (*view.cluster_cidrs, *(view.own.pod_cidrs if view.own else ()))
    holders: dict[Network, Peer] = {}
    its = [route for route in routes if _left(route, predecessor, names)]
    if its:
        holders = {cidr: peer for peer in view.peers for cidr in peer.pod_cidrs}
        its = [
            route for route in its if route.dev in names or route.dst in holders or _inside(route.dst, ranges)
        ]
    keys = {route.key for route in its}
    going: list[HostObject] = [*_in_the_way(devices, wanted, present)]
    if not view.settings.masquerade or _masquerades(wanted, present):
        rules = (obj for obj in objects if isinstance(obj, PolicyRule))
        going += (rule for rule in rules if _inside(rule.source, ranges))
    first: frozenset[Network] = frozenset()
    if its:
        first = _not_taken(its, names, holders, view, wanted)
        going += _covered(
            its, holders, view, wanted, set(_destinations(present[Kind.ROUTE].values())) - first
        )
    used = {route.dev for route in its}
    return Takeover(
        going=tuple(going),
        idle=tuple(d for d in devices if d.name not in used and _heard_of(view) and not _may_send(d, view)),
        first=first,
        others=tuple(route for route in routes if route.key not in keys),
    )


def runs_ours(peer: Peer) -> bool:
    """Whether a node says that our agent runs on it."""
    return bool(peer.runs or peer.public_key)


def _elsewhere(view: NodeView) -> bool:
    """Packets find their way without us and without what the predecessor left, and nodes say nothing about it."""
    return view.settings.backend == "none"


def _left(route: Route, predecessor: Predecessor, devices: Collection[str]) -> bool:
    return (
        route.protocol == predecessor.protocol
        and route.type is RouteType.UNICAST
        and (route.via is not None or route.dev in devices)
    )


def _masquerades(wanted: HostState, present: Mapping[Kind, Mapping[Key, HostObject]]) -> bool:
    ours = wanted.kinds[Kind.NFT_TABLE].keys()
    return bool(ours) and ours <= present[Kind.NFT_TABLE].keys()


def _not_taken(
    its: Iterable[Route],
    devices: Collection[str],
    holders: Mapping[Network, Peer],
    view: NodeView,
    wanted: HostState,
) -> frozenset[Network]:
    """Where a packet of ours would be lost at a node on which our agent does not run yet: it may be let in by the way of before only.

    Of a tunnel of ours such a node knows nothing, and what comes plainly it drops where it would answer through a tunnel of the
    predecessor's and checks sources strictly (rp_filter 1). flannel's own form is known to flannel.
    """
    if view.settings.flannel_compat:
        return frozenset()
    tunnels = {link.name for link in wanted.of_kind(Kind.LINK) if isinstance(link, Link)}
    tunnelled = {
        obj.dst: obj.dev in tunnels
        for obj in wanted.of_kind(Kind.ROUTE)
        if isinstance(obj, Route) and obj.dev
    }
    ways = {
        Place.of(route.dst): route.dev in devices for route in its
    }  # flannel's to WireGuard is one for all nodes
    sizes = {(place.version, place.prefix_length) for place in ways}
    return frozenset(
        cidr
        for cidr, peer in holders.items()
        if cidr in tunnelled
        and not runs_ours(peer)
        and any(place in ways and (tunnelled[cidr] or ways[place]) for place in Place.all_around(cidr, sizes))
    )


def _covered(
    its: Iterable[Route],
    holders: Iterable[Network],
    view: NodeView,
    wanted: HostState,
    covered: set[Network],
) -> Iterator[Route]:
    """Those of its routes in which there is no podCIDR to which none of ours leads."""
    its = tuple(its)
    sizes = {(route.dst.version, route.dst.prefixlen) for route in its}
    lacking: set[Place] = set()
    for cidr in () if _elsewhere(view) else {*_destinations(wanted.of_kind(Kind.ROUTE)), *holders} - covered:
        lacking.update(Place.all_around(cidr, sizes))
    return (route for route in its if Place.of(route.dst) not in lacking)


def _in_the_way(
    devices: Iterable[Link], wanted: HostState, present: Mapping[Kind, Mapping[Key, HostObject]]
) -> Iterator[Link]:
    """Devices that keep one of ours from coming up cannot wait for it: the same port, and the same VNI or another kind of VXLAN."""
    coming = [
        link.vxlan
        for key, link in wanted.kinds[Kind.LINK].items()
        if key not in present[Kind.LINK] and isinstance(link, Link) and link.vxlan
    ]
    for device in devices:
        theirs = device.vxlan
        if theirs and any(
            theirs.port == ours.port
            and (ours.external or ours.vni == theirs.vni)
            # Each family has sockets of its own; a device without an address has one of each.
            and (not ours.local or not theirs.local or ours.local.version == theirs.local.version)
            for ours in coming
        ):
            yield device


def _heard_of(view: NodeView) -> bool:
    """Whether others could hear that our agent runs here: as long as they could not, their packets come the way of before."""
    return _elsewhere(view) or bool(view.formerly or (view.own and view.own.public_key))


def _may_send(device: Link, view: NodeView) -> bool:
    """Whether a node may still send to a device: any node to flannel's, only the one at its far end to a tunnel of kube-router's."""
    return not _elsewhere(view) and any(
        peer.pod_cidrs
        and not runs_ours(peer)
        and (device.far_end is None or device.far_end in peer.addresses)
        for peer in view.peers
    )


def _inside(cidr: Network, ranges: tuple[Network, ...]) -> bool:
    return any(contains(pool, cidr) for pool in ranges)


def _destinations(objects: Iterable[HostObject]) -> Iterator[Network]:
    return (obj.dst for obj in objects if isinstance(obj, Route) and obj.type is RouteType.UNICAST)


def stays(name: str, reason: str) -> Finding:
    """Something of a predecessor's cannot be removed, or not even be seen."""
    return Finding(
        code="PredecessorStays",
        subject=f"adopt/{name}",
        message=f"what it left cannot be looked through or removed: {reason}",
        remedy="install or correct what is named, or remove them yourself",
    )


def returned(name: str, example: str) -> Finding:
    """Something of a predecessor's is there again after we removed it."""
    return Finding(
        severity=Severity.ERROR,
        code="PredecessorRuns",
        subject=f"adopt/{name}",
        message=f"what we removed is there again ({example}), and stays now: it still runs on this host",
        remedy="stop it (delete its DaemonSet) and restart this agent, or run the agent without --adopt",
    )
