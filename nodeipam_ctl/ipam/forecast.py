"""How many more nodes fit, how many pods each, when is a ClusterCIDR full, and what would a changed one do?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.window import Usage
from nodeipam_ctl.model import Assignment, ClusterCIDR, Finding, LedgerEntry, Node, NodeName, PoolName
from nodeipam_ctl.prefixes import Family, Network, family_of

KUBELET_MAX_PODS: Final = 110
"""kubelet's default for maxPods (kubelet.config.k8s.io/v1beta1)."""

GROWTH_WINDOW_S: Final = 86_400.0
"""How far back the present rate of new nodes is looked for, in seconds."""

LEAST_GROWTH_S: Final = 3600.0
"""How long nodes must have been coming before a rate is told, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """One ClusterCIDR's future.

    Attributes:
        fits: how many more nodes it can serve now, by the scarcer family; none while it is disabled or being deleted.
        resting: how many of its blocks come free by themselves.
        pods_per_node: pod addresses in a node's block, the scarcer family; kubelet runs at most `KUBELET_MAX_PODS` by
            default.
        families: what is used, in node blocks.
        arrivals: nodes that came lately and are still there.
        arrivals_per_s: the same a second; 0 when that cannot be said.
        full_in_s: when it is full if nodes keep coming as they did lately, in seconds from now; None when they do not.
    """

    pool: PoolName
    fits: int
    resting: int
    nodes: int
    waiting: int
    pods_per_node: int
    families: Mapping[Family, Usage] = field(default_factory=dict)
    arrivals: int = 0
    arrivals_per_s: float = 0.0
    full_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """What a changed or new set of ClusterCIDRs would do to this cluster.

    Attributes:
        served: waiting nodes that would get podCIDRs, with those they would get, and get none as things are.
        stranded: waiting nodes that are about to get podCIDRs as things are, and would get none.
        orphaned: blocks of nodes that would lie outside every range, and do not now.
        adopted: blocks of nodes that would come under a ClusterCIDR, and do not now.
        moved: nodes that would be counted under another ClusterCIDR, with its name.
        findings: what would be wrong that is not wrong now.
        outlooks: every ClusterCIDR as it would be.
    """

    served: tuple[Assignment, ...] = ()
    stranded: tuple[NodeName, ...] = ()
    orphaned: tuple[tuple[NodeName, Network], ...] = ()
    adopted: tuple[tuple[NodeName, Network], ...] = ()
    moved: tuple[tuple[NodeName, PoolName], ...] = ()
    findings: tuple[Finding, ...] = ()
    outlooks: tuple[Outlook, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a cluster looks like, for an allocator that is made to be asked and thrown away.

    Attributes:
        reserved: service ranges by where they come from.
        unreadable: ClusterCIDRs that make no sense, with the reason.
        entries: the ledger's lines; a line of a node that is gone rests, as the controller would have it rest.
    """

    pools: tuple[ClusterCIDR, ...] = ()
    nodes: tuple[Node, ...] = ()
    reserved: tuple[tuple[str, tuple[Network, ...]], ...] = field(default=())
    entries: tuple[LedgerEntry, ...] = ()
    unreadable: tuple[tuple[PoolName, str], ...] = ()


def allocator_of(world: World, now: float) -> Allocator:
    """An allocator that knows this cluster; nothing is decided."""
    allocator = Allocator()
    allocator.set_pools(world.pools, dict(world.unreadable))
    for source, networks in world.reserved:
        allocator.set_reserved(source, networks)
    for node in world.nodes:
        allocator.observe(node, now)
    allocator.adopt(world.entries, now)
    for _, uid in allocator.unseen():
        allocator.forget(uid, now)
    return allocator


def outlook(
    allocator: Allocator,
    pool: ClusterCIDR,
    registered_s: Sequence[float],
    now: float,
    *,
    window_s: float = GROWTH_WINDOW_S,
) -> Outlook:
    """One ClusterCIDR's future.

    Args:
        allocator: what is used.
        pool: the ClusterCIDR.
        registered_s: when its nodes registered, in seconds since the epoch.
        now: seconds since the epoch.
        window_s: how far back to look for new nodes, in seconds.
    """
    usage = allocator.usage(pool.name)
    closed = pool.disabled or pool.terminating
    fits = 0 if closed else min((u.free for u in usage.families.values()), default=0)
    rate = arrival_rate(registered_s, now, window_s=window_s)
    return Outlook(
        pool=pool.name,
        fits=fits,
        resting=min((u.resting for u in usage.families.values()), default=0),
        nodes=usage.nodes,
        waiting=usage.waiting,
        pods_per_node=min((pods_in(f, spec.node_mask_size) for f, spec in pool.families.items()), default=0),
        families=usage.families,
        arrivals=sum(1 for at in registered_s if now - window_s <= at <= now),
        arrivals_per_s=rate,
        full_in_s=fits / rate if rate > 0 and not closed else None,
    )


def pods_in(family: Family, length: int) -> int:
    """Pod addresses in a block: without network, gateway and, on IPv4, broadcast address (CNI host-local)."""
    return max(0, (1 << (family.bits - length)) - (3 if family is Family.IPV4 else 2))


def arrival_rate(registered_s: Sequence[float], now: float, *, window_s: float = GROWTH_WINDOW_S) -> float:
    """Nodes a second over the window up to now, or since the first of them.

    0 with fewer than two, and while the first came less than an hour ago: how fast a cluster is built says nothing about
    how fast it grows.
    """
    lately = sorted(at for at in registered_s if now - window_s <= at <= now)
    if len(lately) < 2:
        return 0.0
    span_s = now - lately[0]
    return (len(lately) - 1) / span_s if span_s >= LEAST_GROWTH_S else 0.0


def outlooks(world: World, now: float, *, window_s: float = GROWTH_WINDOW_S) -> tuple[Outlook, ...]:
    """Every ClusterCIDR's future, by name."""
    allocator = allocator_of(world, now)
    allocator.decide([node for node in world.nodes if not node.pod_cidrs], now)
    registered: dict[PoolName, list[float]] = {}
    for node in world.nodes:
        registered.setdefault(allocator.pool_of(node.uid), []).append(node.created_s)
    pools = sorted(world.pools, key=lambda p: p.name)
    return tuple(
        outlook(allocator, pool, registered.get(pool.name, ()), now, window_s=window_s) for pool in pools
    )


def what_if(world: World, pools: Iterable[ClusterCIDR], now: float) -> WhatIf:
    """What would happen if these were all the ClusterCIDRs."""
    changed = replace(world, pools=tuple(pools))
    before, after = allocator_of(world, now), allocator_of(changed, now)
    known = set(before.set_pools(world.pools, dict(world.unreadable)))
    orphaned, adopted, moved = [], [], []
    for node in sorted(world.nodes, key=lambda n: n.name):
        for cidr in node.pod_cidrs:
            was_inside, will_be_inside = _is_inside(before, cidr), _is_inside(after, cidr)
            if was_inside and not will_be_inside:
                orphaned.append((node.name, cidr))
            elif will_be_inside and not was_inside:
                adopted.append((node.name, cidr))
        was, will = before.pool_of(node.uid), after.pool_of(node.uid)
        if node.pod_cidrs and was and will and was != will:
            moved.append((node.name, will))
    wanting = [node for node in world.nodes if not node.pod_cidrs]
    served = [d for d in after.decide(wanting, now) if isinstance(d, Assignment)]
    anyway = {d.node for d in before.decide(wanting, now) if isinstance(d, Assignment)}
    return WhatIf(
        served=tuple(d for d in served if d.node not in anyway),
        stranded=tuple(sorted(anyway - {d.node for d in served})),
        orphaned=tuple(orphaned),
        adopted=tuple(adopted),
        moved=tuple(moved),
        findings=tuple(f for f in after.set_pools(changed.pools, dict(changed.unreadable)) if f not in known),
        outlooks=outlooks(changed, now),
    )


def _is_inside(allocator: Allocator, cidr: Network) -> bool:
    """Whether a block lies in a range of some ClusterCIDR."""
    return any(True for _ in allocator.tenancy.occupancies[family_of(cidr)].windows_around(key_of(cidr)))
