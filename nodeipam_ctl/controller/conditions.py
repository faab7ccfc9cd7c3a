"""What does the status of a ClusterCIDR say? Counts and conditions from usage and findings; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodeipam_ctl.ipam.fillers import Filler, told
from nodeipam_ctl.ipam.outcomes import PoolUsage
from nodeipam_ctl.ipam.shortage import NEARLY
from nodeipam_ctl.ipam.window import Usage
from nodeipam_ctl.kube.wire.cluster_cidrs import NOT_ALLOCATING
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Finding
from nodeipam_ctl.prefixes import Family

_LARGEST = (1 << 53) - 1
"""The largest integer that every JSON reader keeps exact; an IPv6 pool may well hold more blocks."""

_OVERLAPS = frozenset(
    {
        "OverlappingClusterCIDRs",
        "OverlappingRanges",
        "RangeExcluded",
        "ExcludedElsewhere",
        "OverlapsServiceCIDR",
        "NodeAddressInside",
        "NodeInExclusion",
    }
)
_INVALID = "InvalidClusterCIDR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One meta/v1 Condition without its time."""

    type: str
    holds: bool
    reason: str
    message: str


def conditions(
    pool: ClusterCIDR, usage: PoolUsage, findings: Iterable[Finding], *, allocates: bool = True
) -> tuple[Condition, ...]:
    """All conditions of one ClusterCIDR; `findings` are those about it, `allocates` is False when we only mirror."""
    found = tuple(findings)
    exhausted = _exhausted(usage)
    nearly = _nearly_exhausted(usage)
    overlaps = [finding for finding in found if finding.code in _OVERLAPS]
    return (
        _ready(pool, exhausted, found, allocates=allocates),
        exhausted,
        nearly,
        Condition(
            type="Overlapping",
            holds=bool(overlaps),
            reason=overlaps[0].code if overlaps else "NoOverlap",
            message=" ".join(f"{finding.message}; {finding.remedy}." for finding in overlaps)
            or "no other range holds the same addresses",
        ),
        Condition(
            type="Terminating",
            holds=pool.terminating,
            reason="InUse" if pool.terminating else "NotDeleted",
            message=f"it is being deleted and waits for {usage.nodes} nodes that hold blocks; delete or drain these nodes"
            if pool.terminating
            else "it is not being deleted",
        ),
    )


def status(
    pool: ClusterCIDR,
    usage: PoolUsage,
    findings: Iterable[Finding],
    *,
    before: Mapping[str, Any],
    now: str,
    allocates: bool = True,
) -> dict[str, Any]:
    """The status object.

    Args:
        pool: the ClusterCIDR.
        usage: how full it is.
        findings: those about it.
        before: the status as stored; a condition that did not change keeps its lastTransitionTime.
        now: RFC 3339 time for conditions that did.
        allocates: False when the controller only mirrors what others allocate.
    """
    stored: Sequence[Any] = before.get("conditions") or ()
    known = {c.get("type"): c for c in stored if isinstance(c, Mapping)}
    written: dict[str, Any] = {
        "observedGeneration": pool.generation,
        "nodes": usage.nodes,
        "waitingNodes": usage.waiting,
        "conditions": [
            _condition(condition, pool.generation, known.get(condition.type), now)
            for condition in conditions(pool, usage, findings, allocates=allocates)
        ],
    }
    for family, field in ((Family.IPV4, "ipv4"), (Family.IPV6, "ipv6")):
        counts = usage.families.get(family)
        if counts is not None:
            written[field] = _counts(counts)
        elif before.get(field) is not None:
            written[field] = None  # a merge patch removes what is null
    return written


def status_of_unreadable(
    found: Unreadable, *, before: Mapping[str, Any], now: str, held: bool
) -> dict[str, Any]:
    """The status object of a ClusterCIDR whose spec makes no sense: the reason, and no counts, for there are none.

    Args:
        found: the object, as far as it could be read.
        before: the status as stored.
        now: RFC 3339 time for conditions that changed.
        held: whether our finalizer keeps it.
    """
    finding = found.finding
    message = f"{finding.message}; {finding.remedy}"
    if found.terminating and held:
        message += (
            ". It is being deleted and stays until it can be read, for nobody knows which nodes hold blocks of it: "
            "correct it, or take the finalizer off by hand"
        )
    stored: Sequence[Any] = before.get("conditions") or ()
    known = {c.get("type"): c for c in stored if isinstance(c, Mapping)}
    ready = Condition(type="Ready", holds=False, reason="InvalidSpec", message=message)
    gone = {
        field: None for field in ("nodes", "waitingNodes", "ipv4", "ipv6") if before.get(field) is not None
    }
    return {
        "observedGeneration": found.generation,
        "conditions": [_condition(ready, found.generation, known.get("Ready"), now)],
        **gone,  # a merge patch removes what is null
    }


def _condition(
    condition: Condition, generation: int, before: Mapping[str, Any] | None, now: str
) -> dict[str, Any]:
    holds = "True" if condition.holds else "False"
    same = before is not None and before.get("status") == holds
    return {
        "type": condition.type,
        "status": holds,
        "reason": condition.reason,
        "message": condition.message[:32768],
        "observedGeneration": generation,
        "lastTransitionTime": (before.get("lastTransitionTime") if before is not None and same else None)
        or now,
    }


def _counts(usage: Usage) -> dict[str, Any]:
    usable = usage.capacity - usage.excluded
    return {
        "capacity": min(usage.capacity, _LARGEST),
        "allocated": min(usage.allocated, _LARGEST),
        "resting": min(usage.resting, _LARGEST),
        "excluded": min(usage.excluded, _LARGEST),
        "free": min(usage.free, _LARGEST),
        "usage": f"{usage.allocated}/{_short(usable)}",
    }


def _short(count: int) -> str:
    """A number a person can read: a power of two when it is a large one."""
    if count > 1 << 24 and count & (count - 1) == 0:
        return f"2^{count.bit_length() - 1}"
    return str(count)


def _ready(
    pool: ClusterCIDR, exhausted: Condition, findings: tuple[Finding, ...], *, allocates: bool
) -> Condition:
    invalid = [finding for finding in findings if finding.code == _INVALID]
    if invalid:
        reason, message = "Invalid", f"{invalid[0].message}; {invalid[0].remedy}"
    elif pool.terminating:
        reason, message = "Terminating", "it is being deleted and hands out nothing new"
    elif pool.disabled:
        reason, message = "Disabled", "spec.disabled is true, so it hands out nothing new"
    elif not allocates:
        reason = NOT_ALLOCATING
        message = "the controller runs with --no-allocate: it mirrors what others allocate and hands out nothing itself"
    elif exhausted.holds:
        reason, message = "Exhausted", exhausted.message
    else:
        return Condition(type="Ready", holds=True, reason="BlocksFree", message="it hands out blocks")
    return Condition(type="Ready", holds=False, reason=reason, message=message)


def _exhausted(usage: PoolUsage) -> Condition:
    # A resting block is handed out early when nothing else is left, so only allocated and excluded ones are out of reach.
    full = [
        family.value
        for family, counts in usage.families.items()
        if counts.capacity and not _available(counts)
    ]
    return Condition(
        type="Exhausted",
        holds=bool(full),
        reason="NoBlockFree" if full else "BlocksFree",
        message=_why_exhausted(full, usage.filled) if full else "blocks are free",
    )


def _why_exhausted(families: Sequence[str], filled: Iterable[Filler]) -> str:
    """That nothing is left, because of whom, and the remedy."""
    nothing, remedy = (
        f"no {' and no '.join(families)} block is left",
        f"append a range to spec.{families[0].lower()}.cidrs",
    )
    culprits = [filler for filler in filled if filler.family in families]
    if not culprits:
        return f"{nothing}; {remedy}"
    return f"{nothing}: {told(culprits)}; {culprits[0].remedy}, or {remedy}"


def _nearly_exhausted(usage: PoolUsage) -> Condition:
    shares = [
        (counts.allocated / (counts.capacity - counts.excluded), family.value)
        for family, counts in usage.families.items()
        if counts.capacity > counts.excluded
    ]
    most, family = max(shares, default=(0.0, ""))
    holds = most >= NEARLY
    return Condition(
        type="NearlyExhausted",
        holds=holds,
        reason="MostBlocksUsed" if holds else "BlocksFree",
        message=f"{NEARLY:.0%} or more of the {family} blocks are in use; append a range to spec.{family.lower()}.cidrs in time"
        if holds
        else f"less than {NEARLY:.0%} of the blocks are in use",
    )


def _available(counts: Usage) -> int:
    return counts.free + counts.resting
