"""How many more nodes fit, how many pods each, when is a ClusterCIDR full, and what would a changed one do?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.window import Window
from nodeipam_ctl.model import Assignment, ClusterCIDR, Finding, Node, NodeName, PoolName
from nodeipam_ctl.prefixes import Family, Network, merged

KUBELET_MAX_PODS: Final = 110
"""kubelet's default for maxPods (kubelet.config.k8s.io/v1beta1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """One ClusterCIDR's future.

    Attributes:
        fits: how many more nodes it can serve now; blocks of the scarcer family.
        resting: how many of its blocks come free by themselves.
        pods_per_node: pod addresses in a node's block, the scarcer family; kubelet runs at most `KUBELET_MAX_PODS` by
            default.
        full_in_s: when it is full if nodes keep coming as they did lately, in seconds from now; None when they do not.
    """

    pool: PoolName
    fits: int
    resting: int
    nodes: int
    waiting: int
    pods_per_node: int
    full_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a changed or new set of ClusterCIDRs would do to this cluster.

    Attributes:
        served: waiting nodes that would get podCIDRs, with those they would get.
        orphaned: nodes whose blocks would lie outside every range, and do not now.
        adopted: nodes whose blocks would come under a ClusterCIDR, and do not now.
        moved: nodes that would be counted under another ClusterCIDR, with its name.
        findings: what would be wrong that is not wrong now.
        outlooks: every ClusterCIDR as it would be.
    """

    served: tuple[Assignment, ...] = ()
    orphaned: tuple[NodeName, ...] = ()
    adopted: tuple[NodeName, ...] = ()
    moved: tuple[tuple[NodeName, PoolName], ...] = ()
    findings: tuple[Finding, ...] = ()
    outlooks: tuple[Outlook, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a cluster looks like, for an allocator that is made to be asked and thrown away."""

    pools: tuple[ClusterCIDR, ...] = ()
    nodes: tuple[Node, ...] = ()
    reserved: tuple[tuple[str, tuple[Network, ...]], ...] = field(default=())


def allocator_of(world: World, now: float) -> Allocator:
    """An allocator that knows this cluster; nothing is decided."""
    allocator = Allocator()
    allocator.set_pools(world.pools)
    for source, networks in world.reserved:
        allocator.set_reserved(source, networks)
    for node in world.nodes:
        allocator.observe(node, now)
    return allocator


def outlook(allocator: Allocator, pool: ClusterCIDR, registered_s: Sequence[float], now: float) -> Outlook:
    """One ClusterCIDR's future.

    Args:
        allocator: what is used.
        pool: the ClusterCIDR.
        registered_s: when its nodes registered, in seconds since the epoch.
        now: seconds since the epoch.
    """
    usage = allocator.usage(pool.name)
    fits = min((u.free for u in usage.families.values()), default=0)
    rate = arrival_rate(registered_s, now)
    return Outlook(
        pool=pool.name,
        fits=fits,
        resting=min((u.resting for u in usage.families.values()), default=0),
        nodes=usage.nodes,
        waiting=usage.waiting,
        pods_per_node=min((pods_in(f, spec.node_mask_size) for f, spec in pool.families.items()), default=0),
        full_in_s=fits / rate if rate > 0 else None,
    )


def pods_in(family: Family, length: int) -> int:
    """Pod addresses in a block: without network, gateway and, on IPv4, broadcast address (CNI host-local)."""
    return max(0, (1 << (family.bits - length)) - (3 if family is Family.IPV4 else 2))


def arrival_rate(registered_s: Sequence[float], now: float, *, window_s: float = 86_400.0) -> float:
    """Nodes a second over the last day, or since the first node when that is later; 0 with fewer than two."""
    lately = sorted(at for at in registered_s if now - window_s <= at <= now)
    if len(lately) < 2:
        return 0.0
    span_s = now - lately[0]
    return (len(lately) - 1) / span_s if span_s > 0 else 0.0


def free_union(allocator: Allocator, family: Family, length: int) -> int:
    """Free blocks of one length in all ClusterCIDRs together; where they overlap, each block counts once."""
    ranges = [
        cidr
        for pool in allocator.tenancy.pools.values()
        for f, spec in pool.spec.families.items()
        if f is family
        for cidr in spec.cidrs
    ]
    keys = tuple(key_of(cidr) for cidr in merged(ranges) if cidr.prefixlen <= length)
    window = Window(allocator.tenancy.occupancies[family].space, family, keys, length, PoolName(""))
    return window.usage().free


def outlooks(world: World, now: float) -> tuple[Outlook, ...]:
    """Every ClusterCIDR's future, by name."""
    allocator = allocator_of(world, now)
    allocator.decide([node for node in world.nodes if not node.pod_cidrs], now)
    registered: dict[PoolName, list[float]] = {}
    for node in world.nodes:
        registered.setdefault(allocator.pool_of(node.uid), []).append(node.created_s)
    pools = sorted(world.pools, key=lambda p: p.name)
    return tuple(outlook(allocator, pool, registered.get(pool.name, ()), now) for pool in pools)


def what_if(world: World, pools: Iterable[ClusterCIDR], now: float) -> WhatIf:
    """What would happen if these were all the ClusterCIDRs."""
    changed = World(pools=tuple(pools), nodes=world.nodes, reserved=world.reserved)
    before, after = allocator_of(world, now), allocator_of(changed, now)
    known = set(before.set_pools(world.pools))
    orphaned, adopted, moved = [], [], []
    for node in sorted(world.nodes, key=lambda n: n.name):
        if not node.pod_cidrs:
            continue
        was, will = before.pool_of(node.uid), after.pool_of(node.uid)
        if was and not will:
            orphaned.append(node.name)
        elif will and not was:
            adopted.append(node.name)
        elif was != will:
            moved.append((node.name, will))
    wanting = [node for node in world.nodes if not node.pod_cidrs]
    served = [d for d in after.decide(wanting, now) if isinstance(d, Assignment)]
    return WhatIf(
        served=tuple(served),
        orphaned=tuple(orphaned),
        adopted=tuple(adopted),
        moved=tuple(moved),
        findings=tuple(f for f in after.set_pools(changed.pools) if f not in known),
        outlooks=outlooks(changed, now),
    )
