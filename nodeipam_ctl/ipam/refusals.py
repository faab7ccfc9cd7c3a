"""What do we tell a user whose node gets nothing? One line: the pools tried, what is free in them, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence

from nodeipam_ctl.ipam.fillers import fillers
from nodeipam_ctl.ipam.pools import Pool
from nodeipam_ctl.model import Considered, PoolName, RefusalReason, Verdict

_SHOWN = 5
"""Pools named in a message; a Kubernetes event holds 1,024 bytes."""


def full_message(tried: Sequence[tuple[Pool, str]]) -> str:
    """Every ClusterCIDR that may serve the node was tried; each comes with the rule that refused it."""
    shown = "; ".join(f"{pool.name}: {why} ({free_text(pool)})" for pool, why in tried[:_SHOWN])
    more = f"; and {len(tried) - _SHOWN} more" if len(tried) > _SHOWN else ""
    name = tried[0][0].name
    filled = [
        filler
        for pool, _ in tried[:_SHOWN]
        for family, window in pool.windows
        for filler in fillers(family, window)
    ]
    if filled:
        remedy = f"{filled[0].remedy}, or append a range elsewhere to ClusterCIDR {name}"
    else:
        remedy = f"append a range to ClusterCIDR {name}, create another that matches the node, or delete nodes that are gone"
    return f"no podCIDR is free: {shown}{more}; {remedy}"


def none_message(passed_over: Sequence[tuple[PoolName, Verdict, str]]) -> tuple[RefusalReason, str]:
    """No ClusterCIDR may serve the node at all."""
    if not passed_over:
        return RefusalReason.NO_POOL, "no ClusterCIDR exists; create one (kubectl explain clustercidr.spec)"
    disabled = [name for name, verdict, _ in passed_over if verdict is Verdict.DISABLED]
    deleted = [name for name, verdict, _ in passed_over if verdict is Verdict.TERMINATING]
    shown = "; ".join(f"{name}: {why.partition('; ')[0]}" for name, _, why in passed_over[:_SHOWN])
    more = f"; and {len(passed_over) - _SHOWN} more" if len(passed_over) > _SHOWN else ""
    if disabled or deleted:
        remedy = "create another that matches the node"
        if disabled:
            remedy = f"set spec.disabled of {disabled[0]} to false or {remedy}"
        else:  # nothing takes a deletion back, and a name is free again only when the object is gone
            remedy += f" (it may have the ranges of {deleted[0]}, under another name)"
        return (
            RefusalReason.DRAINED,
            f"every ClusterCIDR that matches is disabled or being deleted: {shown}{more}; {remedy}",
        )
    return (
        RefusalReason.NO_MATCH,
        f"no ClusterCIDR matches the node: {shown}{more}; label the node, or create one without a nodeSelector",
    )


def free_text(pool: Pool) -> str:
    """What is left in a ClusterCIDR, like `IPv4 0 of 256 free`."""
    parts = []
    for family, window in pool.windows:
        usage = window.usage()
        parts.append(f"{family} {usage.free} of {usage.capacity} free")
    return ", ".join(parts)


def considered_names(considered: Sequence[Considered]) -> tuple[PoolName, ...]:
    """The ClusterCIDRs that could serve the node if they had room."""
    return tuple(c.pool for c in considered if c.verdict is Verdict.FULL)
