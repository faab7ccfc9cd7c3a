"""What do we tell a user whose node gets nothing? One line: the pools tried, what is free in them, and the remedy."""

from __future__ import annotations

from collections.abc import Sequence

from nodeipam_ctl.ipam.blocks import length_of
from nodeipam_ctl.ipam.eligibility import MASK_SIZE
from nodeipam_ctl.ipam.fillers import fillers
from nodeipam_ctl.ipam.pools import Pool
from nodeipam_ctl.ipam.window import Window, about
from nodeipam_ctl.model import Considered, PoolName, RefusalReason, Verdict
from nodeipam_ctl.prefixes import Family

_SHOWN = 5
"""Pools named in a message; a Kubernetes event holds 1,024 bytes."""


def full_message(tried: Sequence[tuple[Pool, str]], mask_sizes: Sequence[tuple[Family, int]] = ()) -> str:
    """Every ClusterCIDR that may serve the node was tried; each comes with the rule that refused it.

    Args:
        tried: at least one.
        mask_sizes: block lengths that the node's annotations ask for.
    """
    shown = "; ".join(f"{pool.name}: {why} ({free_text(pool)})" for pool, why in tried[:_SHOWN])
    more = f"; and {len(tried) - _SHOWN} more" if len(tried) > _SHOWN else ""
    name = tried[0][0].name
    filled = [
        filler
        for pool, _ in tried[:_SHOWN]
        for family, window in pool.windows
        for filler in fillers(family, window)
    ]
    unfitting = [(family, size) for family, size in mask_sizes if not _fits_some(tried, family, size)]
    if unfitting:
        remedy = _other_size(tried, *unfitting[0])
    elif filled:
        remedy = f"{filled[0].remedy}, or append a range elsewhere to ClusterCIDR {name}"
    else:
        remedy = f"append a range to ClusterCIDR {name}, create another that matches the node, or delete nodes that are gone"
    return f"no podCIDR {'fits' if unfitting else 'is free'}: {shown}{more}; {remedy}"


def asked_for(family: Family, window: Window, size: int) -> str:
    """The rule that refuses a node whose annotation asks for a block length."""
    asks = f"the node's annotation {MASK_SIZE[family]}: {size} asks for"
    if _fits(window, size):
        return f"no free {family} block of /{size}, which {asks}"
    return f"none of its {family} ranges holds a whole /{size}, which {asks}"


def _fits(window: Window, size: int) -> bool:
    return any(length_of(one) <= size for one in window.ranges)


def _fits_some(tried: Sequence[tuple[Pool, str]], family: Family, size: int) -> bool:
    """Whether some ClusterCIDR could hold a block so large; one without the family takes no notice of the annotation."""
    windows = [window for pool, _ in tried if (window := pool.window(family)) is not None]
    return not windows or any(_fits(window, size) for window in windows)


def _other_size(tried: Sequence[tuple[Pool, str]], family: Family, size: int) -> str:
    """What to do about an annotation that asks for a block larger than every range."""
    ranges = [
        (length_of(one), pool.name)
        for pool, _ in tried
        if (window := pool.window(family)) is not None
        for one in window.ranges
    ]
    largest, name = min(ranges)
    return (
        f"remove the annotation {MASK_SIZE[family]} from the node or set it to {largest} or more, "
        f"or append a range of at least a /{size} to ClusterCIDR {name}"
    )


def none_message(passed_over: Sequence[tuple[PoolName, Verdict, str]]) -> tuple[RefusalReason, str]:
    """No ClusterCIDR may serve the node at all."""
    if not passed_over:
        return RefusalReason.NO_POOL, "no ClusterCIDR exists; create one (kubectl explain clustercidr.spec)"
    invalid = [name for name, verdict, _ in passed_over if verdict is Verdict.INVALID]
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
    remedy = "label the node, or create one without a nodeSelector"
    if invalid:
        remedy = f"correct ClusterCIDR {invalid[0]}, " + (
            "or create another" if len(invalid) == len(passed_over) else remedy
        )
    return RefusalReason.NO_MATCH, f"no ClusterCIDR matches the node: {shown}{more}; {remedy}"


def free_text(pool: Pool) -> str:
    """What is left in a ClusterCIDR, like `IPv4 0 of 256 free`."""
    parts = []
    for family, window in pool.windows:
        usage = window.usage()
        parts.append(f"{family} {about(usage.free)} of {about(usage.capacity)} free")
    return ", ".join(parts)


def considered_names(considered: Sequence[Considered]) -> tuple[PoolName, ...]:
    """The ClusterCIDRs that could serve the node if they had room."""
    return tuple(c.pool for c in considered if c.verdict is Verdict.FULL)
