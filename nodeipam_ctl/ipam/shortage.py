"""Who gets nothing, and which ClusterCIDRs are running out? Findings from the allocator's own refusals and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.fillers import told
from nodeipam_ctl.model import Finding, Node, PoolName, Refusal, Severity

NEARLY: Final = 0.8
"""Share of a ClusterCIDR in use from which it is called nearly exhausted."""

_SERVED_WITHIN_S = 60.0
"""After how long a node should have its podCIDRs when blocks are free, in seconds; a controller takes well under one."""

_NAMED = 3
"""Nodes named in a finding that speaks of many."""


def findings(allocator: Allocator, now: float) -> Iterator[Finding]:
    """What the present waiting nodes and counts call for, after the allocator has decided about every node."""
    for record in sorted(allocator.tenancy.records.values(), key=lambda r: r.name):
        waits_s = now - record.created_s
        if record.seen and record.promised and not record.shown and waits_s > _SERVED_WITHIN_S:
            yield Finding(
                severity=Severity.ERROR,
                code="NotServed",
                subject=f"node/{record.name}",
                message=f"blocks are free for it in ClusterCIDR {record.pool}, and it has had no podCIDRs for "
                f"more than {int(waits_s // 60)} min",
                remedy="see that a controller runs, leads, and may patch nodes",
            )
    alike: dict[str, list[tuple[Node, Refusal]]] = {}
    for node, refusal in allocator.waiting():
        alike.setdefault(refusal.message, []).append((node, refusal))
    for text, waiting in alike.items():
        message, _, remedy = text.rpartition("; ")
        first, others = waiting[0][0], [node.name for node, _ in waiting[1:]]
        more = f" (and so do {len(others)} more: {', '.join(others[:_NAMED])}" if others else ""
        if more:
            more += ", …)" if len(others) > _NAMED else ")"
        yield Finding(
            severity=Severity.ERROR,
            code="NodeWaiting",
            subject=f"node/{first.name}",
            message=f"it waits for podCIDRs{more}: {message or remedy}",
            remedy=remedy,
        )
    for name in sorted(allocator.tenancy.pools):
        yield from _fullness(allocator, name)


def _fullness(allocator: Allocator, name: PoolName) -> Iterator[Finding]:
    of_pool = allocator.usage(name)
    for family, usage in of_pool.families.items():
        filled = [filler for filler in of_pool.filled if filler.family is family]
        usable = usage.capacity - usage.excluded
        remedy = f"append a range to spec.{family.lower()}.cidrs, or delete nodes that are gone"
        if usage.capacity and not usage.free + usage.resting:
            yield Finding(
                severity=Severity.ERROR if filled else Severity.WARNING,
                code="Exhausted",
                subject=f"clustercidr/{name}",
                message=f"no {family} block is left: {told(filled)}"
                if filled
                else f"all {usable} {family} blocks are in use",
                remedy=f"{filled[0].remedy}, or {remedy}" if filled else remedy,
            )
        elif usable and usage.allocated >= NEARLY * usable:
            yield Finding(
                code="NearlyExhausted",
                subject=f"clustercidr/{name}",
                message=f"{usage.allocated} of {usable} {family} blocks are in use",
                remedy=remedy,
            )
