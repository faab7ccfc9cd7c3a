"""Which ClusterCIDRs may serve a node, in which order, and which rule put each in its place?

The order, first difference wins: `priority`, higher first; objects with a selector before those without; more matched
requirements; fewer blocks in total; smaller node block; lower selector text; lower range; lower name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.podcidrs import LARGEST
from nodeipam_ctl.ipam.selectors import canonical, keys_read, matched_requirements, reads_name
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, Node, PoolName, RefusalReason, Verdict
from nodeipam_ctl.prefixes import Family

PIN: Final = "nodeipam.dev/cluster-cidr"
MASK_SIZE: Final = {Family.IPV4: "nodeipam.dev/ipv4-mask-size", Family.IPV6: "nodeipam.dev/ipv6-mask-size"}
LONGEST_MASK: Final = {Family.IPV4: 30, Family.IPV6: 126}

MANY_ANSWERS: Final = 10_000
"""Answers remembered at most: nodes' names and labels come and go, and the tables must not grow with them."""

Rank = tuple[int, int, int, int, int, str, tuple[tuple[int, int], ...], str]

_RULES: Final = (
    "higher priority",
    "has a node selector",
    "more matched requirements",
    "fewer blocks in total",
    "smaller node block",
    "lower selector text",
    "lower range",
    "lower name",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One ClusterCIDR that may serve the node, and the rule that put it before the next one."""

    pool: PoolName
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """The answer for one node; nodes that share an answer share the object, so it is compared by identity.

    Attributes:
        places: ClusterCIDRs that may serve it, best first.
        passed_over: those that may not, by name, with the verdict and the rule.
        mask_sizes: block lengths the node's annotations ask for, instead of the ClusterCIDR's own.
        refusal: set when the node itself asks for something impossible; then none of the `places` is tried.
    """

    places: tuple[Place, ...]
    passed_over: tuple[tuple[PoolName, Verdict, str], ...] = ()
    mask_sizes: tuple[tuple[Family, int], ...] = ()
    refusal: tuple[RefusalReason, str] | None = None


class Eligibility:
    """Answers for one set of ClusterCIDRs; nodes that no selector can tell apart share one answer.

    Args:
        pools: ClusterCIDRs that can be used; names are unique.
        invalid: names of those that cannot, with the reason.
    """

    __slots__ = ("_answers", "_invalid", "_keys", "_pools", "_reads_name", "_statics")

    def __init__(self, pools: Iterable[ClusterCIDR], invalid: Iterable[tuple[PoolName, str]] = ()) -> None:
        self._pools = {pool.name: pool for pool in sorted(pools, key=lambda p: p.name)}
        self._invalid = tuple(sorted(invalid))
        keys: frozenset[str] = frozenset()
        for pool in self._pools.values():
            keys |= keys_read(pool.selector)
        self._keys = tuple(sorted(keys))
        self._reads_name = any(reads_name(pool.selector) for pool in self._pools.values())
        self._answers: dict[tuple[str | None, ...], Order] = {}

    def order(self, node: Node) -> Order:
        """Which ClusterCIDRs may serve this node, in which order."""
        pin = node.annotations.get(PIN) if node.annotations else None
        key = (node.name if self._reads_name else None, pin, *map(node.labels.get, self._keys))
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= MANY_ANSWERS:
                self._answers.clear()
            answer = self._answers[key] = self._answer(node, pin)
        return _with_mask_sizes(answer, node) if node.annotations else answer

    def _answer(self, node: Node, pin: str | None) -> Order:
        ranked: list[tuple[Rank, PoolName]] = []
        passed: list[tuple[PoolName, Verdict, str]] = [(n, Verdict.INVALID, why) for n, why in self._invalid]
        for pool in self._pools.values():
            verdict, matched = judge(pool, node, pin)
            if verdict is None:
                ranked.append((rank(pool, matched), pool.name))
            else:
                passed.append((pool.name, *verdict))
        ranked.sort()
        refusal = None
        if pin and pin not in self._pools:
            unknown = "exists but is invalid" if any(n == pin for n, _ in self._invalid) else "does not exist"
            refusal = (
                RefusalReason.PIN_UNKNOWN,
                f"ClusterCIDR {pin}, named by the annotation {PIN}, {unknown}; create it or change the annotation",
            )
        return Order(places=_places(ranked, pinned=bool(pin)), passed_over=tuple(passed), refusal=refusal)


def judge(pool: ClusterCIDR, node: Node, pin: str | None) -> tuple[tuple[Verdict, str] | None, int]:
    """Why a ClusterCIDR may not serve a node (None: it may), and how many requirements matched.

    A pin names one ClusterCIDR and leaves its selector out of account; a drained pool stays drained.
    """
    matched = 0
    if pin and pool.name != pin:
        return (Verdict.NOT_PINNED, f"the node is pinned to {pin}"), 0
    if not pin and pool.selector is not None:
        matched = matched_requirements(pool.selector, name=node.name, labels=node.labels)
        if not matched:
            return (
                Verdict.NOT_MATCHING,
                f"selector {canonical(pool.selector) or '(no term)'} does not match",
            ), 0
    if pool.terminating:
        return (Verdict.TERMINATING, "it is being deleted"), matched
    if pool.disabled:
        return (Verdict.DISABLED, "spec.disabled is true"), matched
    return None, matched


def rank(pool: ClusterCIDR, matched: int) -> Rank:
    """Where a ClusterCIDR stands among others that match; lower is tried first."""
    sizes = [
        (family, spec.node_mask_size, [key_of(cidr) for cidr in spec.cidrs])
        for family, spec in _families(pool)
    ]
    # A node takes one block of each family, so the scarcer family says how many nodes fit.
    blocks = min(sum(1 << (mask - (k.bit_length() - 1)) for k in keys) for _, mask, keys in sizes)
    host_bits = sizes[0][0].bits - sizes[0][1]
    ranges = tuple(
        sorted(
            (int(cidr.version), int(cidr.network_address))
            for _, spec in _families(pool)
            for cidr in spec.cidrs
        )
    )
    return (
        -pool.priority,
        0 if pool.selector is not None else 1,
        -matched,
        blocks,
        host_bits,
        canonical(pool.selector),
        ranges,
        pool.name,
    )


def _families(pool: ClusterCIDR) -> list[tuple[Family, FamilySpec]]:
    return [(family, pool.families[family]) for family in Family if family in pool.families]


def _places(ranked: list[tuple[Rank, PoolName]], *, pinned: bool) -> tuple[Place, ...]:
    places = []
    for i, (own, name) in enumerate(ranked):
        if pinned:
            rule = "pinned by the node's annotation"
        elif len(ranked) == 1:
            rule = "the only one that matches"
        elif i + 1 < len(ranked):
            after = ranked[i + 1][0]
            rule = _RULES[next(j for j, (a, b) in enumerate(zip(own, after, strict=True)) if a != b)]
        else:
            rule = "last of those that match"
        places.append(Place(pool=name, rule=rule))
    return tuple(places)


def _with_mask_sizes(order: Order, node: Node) -> Order:
    asked: list[tuple[Family, int]] = []
    for family, annotation in MASK_SIZE.items():
        text = node.annotations.get(annotation)
        if text is None:
            continue
        digits = text.removeprefix("/")
        size = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 3 else 0
        if not LARGEST[family] <= size <= LONGEST_MASK[family]:
            bounds = f"{LARGEST[family]} to {LONGEST_MASK[family]}"
            return Order(
                places=order.places,
                passed_over=order.passed_over,
                refusal=(
                    RefusalReason.BAD_ANNOTATION,
                    f"annotation {annotation} is {text!r}; write a prefix length from {bounds}",
                ),
            )
        asked.append((family, size))
    if not asked:
        return order
    return Order(
        places=order.places, passed_over=order.passed_over, mask_sizes=tuple(asked), refusal=order.refusal
    )
