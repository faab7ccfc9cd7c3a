"""What would these ClusterCIDRs do to this cluster if they were applied? Everything that would change, and nothing done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.ipam.forecast import Outlook, WhatIf, World, outlooks, what_if
from nodeipam_ctl.model import ClusterCIDR, Finding, LedgerPage, PoolName
from nodeipam_ctl.plan import Plan, diff

_TOLD_OTHERWISE: Final = frozenset({"OutsideEveryRange", "NotServed"})
"""Findings about nodes that `WhatIf` tells better: orphaned and adopted blocks, nodes that would be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The difference between the cluster as it is and as it would be.

    Attributes:
        changes: ClusterCIDRs that would be created or changed, by name.
        effect: what happens to nodes; its `outlooks` are the ClusterCIDRs as they would be.
        before: the ClusterCIDRs as they are.
        appearing: findings of an audit that would be new, besides what `effect` tells of nodes.
        vanishing: findings of an audit that would be gone.
    """

    changes: Plan[PoolName, ClusterCIDR]
    effect: WhatIf
    before: tuple[Outlook, ...]
    appearing: tuple[Finding, ...]
    vanishing: tuple[Finding, ...]


def with_changes(present: Iterable[ClusterCIDR], wanted: Iterable[ClusterCIDR]) -> tuple[ClusterCIDR, ...]:
    """All ClusterCIDRs after an apply: those of a name are replaced and keep what the API server keeps of an object."""
    pools = {pool.name: pool for pool in present}
    for new in wanted:
        old = pools.get(new.name)
        pools[new.name] = new if old is None else _as_applied(old, new)
    return tuple(sorted(pools.values(), key=lambda pool: pool.name))


def preview(
    world: World, wanted: Iterable[ClusterCIDR], pages: Iterable[LedgerPage] | None, now: float
) -> Preview:
    """What would happen if these ClusterCIDRs were applied to the cluster.

    Args:
        world: the cluster.
        wanted: ClusterCIDRs that are new, or stand for the present one of their name.
        pages: the ledger; None when the cluster runs without one.
        now: seconds since the epoch.
    """
    pages = None if pages is None else tuple(pages)
    wanted = tuple(wanted)
    corrected = {pool.name for pool in wanted}
    after = replace(
        world,
        pools=with_changes(world.pools, wanted),
        unreadable=tuple((name, why) for name, why in world.unreadable if name not in corrected),
    )
    found, would_find = (
        [finding for finding in audit(one, pages, now) if finding.code not in _TOLD_OTHERWISE]
        for one in (world, after)
    )
    known, stays = frozenset(found), frozenset(would_find)
    return Preview(
        changes=diff({p.name: p for p in after.pools}, {p.name: p for p in world.pools}),
        effect=what_if(world, after.pools, now),
        before=outlooks(world, now),
        appearing=tuple(f for f in would_find if f not in known),
        vanishing=tuple(f for f in found if f not in stays),
    )


def _as_applied(old: ClusterCIDR, new: ClusterCIDR) -> ClusterCIDR:
    return replace(
        new,
        uid=old.uid,
        generation=old.generation,
        resource_version=old.resource_version,
        terminating=old.terminating,
        finalizers=old.finalizers,
        created_s=old.created_s,
    )
