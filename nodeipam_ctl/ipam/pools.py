"""Can this ClusterCIDR be used, and what do several of them do to each other? Findings from the objects alone.

The CRD refuses most nonsense already; what is checked here is what allocation itself relies on, so that an object which
slipped past an older schema is reported and left out instead of doing harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeipam_ctl.ipam.blocks import collide, covers, families_of, key_of, network_of
from nodeipam_ctl.ipam.podcidrs import LARGEST
from nodeipam_ctl.ipam.window import Occupancy, Window
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, Finding, NodeName, PoolName, Severity
from nodeipam_ctl.prefixes import Family, contains, family_of, overlaps, subtract


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """A ClusterCIDR made ready for allocation: its windows, IPv4 first, and its promises by node name."""

    spec: ClusterCIDR
    windows: tuple[tuple[Family, Window], ...]
    statics: Mapping[NodeName, tuple[tuple[Family, int], ...]]

    @property
    def name(self) -> PoolName:
        """The ClusterCIDR's name."""
        return self.spec.name

    @property
    def layout(self) -> tuple[tuple[Family, tuple[int, ...], int], ...]:
        """Where its blocks lie and how long they are."""
        return tuple((family, window.ranges, window.length) for family, window in self.windows)

    def window(self, family: Family) -> Window | None:
        """Its window on one family."""
        return next((window for f, window in self.windows if f is family), None)


def compiled(spec: ClusterCIDR, occupancies: Mapping[Family, Occupancy], before: Pool | None) -> Pool:
    """The ClusterCIDR ready for use; cursors carry on where the object's earlier version left them."""
    windows = []
    for family in Family:
        wanted = spec.families.get(family)
        if wanted is None:
            continue
        ranges = tuple(key_of(cidr) for cidr in wanted.cidrs)
        window = Window(occupancies[family].space, family, ranges, wanted.node_mask_size, spec.name)
        earlier = before.window(family) if before is not None else None
        if earlier is not None:
            window.cursor = earlier.cursor
        windows.append((family, window))
    statics: dict[NodeName, tuple[tuple[Family, int], ...]] = {}
    for block in spec.static:
        statics[block.node] = families_of(block.cidrs)
    return Pool(spec=spec, windows=tuple(windows), statics=statics)


def unusable(pool: ClusterCIDR) -> str | None:
    """Why nothing can be allocated from this ClusterCIDR, on one line with the remedy; None when all is well."""
    if not pool.families or not any(spec.cidrs for spec in pool.families.values()):
        return "it has no range; give spec.ipv4.cidrs or spec.ipv6.cidrs"
    for family, spec in pool.families.items():
        if not spec.cidrs:
            return f"{family} has no range; give cidrs or leave the family out"
        if not 1 <= spec.node_mask_size <= family.bits:
            return f"{family} nodeMaskSize {spec.node_mask_size} is not a prefix length; use {LARGEST[family]} to {family.bits}"
        if spec.node_mask_size < LARGEST[family]:
            return (
                f"a node block of /{spec.node_mask_size} is larger than any page of the ledger holds; "
                f"use a nodeMaskSize of {LARGEST[family]} or more"
            )
        for cidr in (*spec.cidrs, *spec.exclude):
            if family_of(cidr) is not family:
                return f"{cidr} is not {family}; move it to the other family"
        for cidr in spec.cidrs:
            if spec.node_mask_size < cidr.prefixlen:
                return (
                    f"a node block of /{spec.node_mask_size} is larger than the range {cidr}; "
                    f"use a nodeMaskSize of {cidr.prefixlen} or more"
                )
    return None


def findings(pools: Iterable[ClusterCIDR]) -> tuple[Finding, ...]:
    """What is wrong with these ClusterCIDRs, alone and together, sorted by subject."""
    found: list[Finding] = []
    usable: list[ClusterCIDR] = []
    for pool in pools:
        reason = unusable(pool)
        if reason is None:
            usable.append(pool)
            found.extend(_own_findings(pool))
        else:
            message, _, remedy = reason.partition("; ")
            found.append(
                Finding(
                    severity=Severity.ERROR,
                    code="InvalidClusterCIDR",
                    subject=f"clustercidr/{pool.name}",
                    message=message,
                    remedy=remedy,
                )
            )
    found.extend(_shared_findings(usable))
    return tuple(sorted(found, key=lambda f: (f.subject, f.code, f.message)))


def overlapping(pools: Iterable[ClusterCIDR]) -> dict[PoolName, tuple[PoolName, ...]]:
    """Which ClusterCIDRs share addresses with which others, by name; those that share none are left out."""
    spans: list[tuple[Family, int, int, PoolName]] = []
    for pool in pools:
        for family, spec in pool.families.items():
            for cidr in spec.cidrs:
                start = int(cidr.network_address)
                spans.append((family, start, start + (1 << (cidr.max_prefixlen - cidr.prefixlen)), pool.name))
    spans.sort()
    shared: dict[PoolName, set[PoolName]] = {}
    open_now: list[tuple[Family, int, int, PoolName]] = []
    for span in spans:
        open_now = [other for other in open_now if other[0] is span[0] and other[2] > span[1]]
        for other in open_now:
            if other[3] != span[3]:
                shared.setdefault(other[3], set()).add(span[3])
                shared.setdefault(span[3], set()).add(other[3])
        open_now.append(span)
    return {name: tuple(sorted(others)) for name, others in sorted(shared.items())}


def _own_findings(pool: ClusterCIDR) -> list[Finding]:
    found = [finding for spec in pool.families.values() for finding in _range_findings(pool.name, spec)]
    promised: dict[tuple[Family, int], NodeName] = {}
    for block in pool.static:
        for family, key in families_of(block.cidrs):
            first = promised.setdefault((family, key), block.node)
            if first != block.node:
                found.append(
                    Finding(
                        code="StaticTwice",
                        subject=f"clustercidr/{pool.name}",
                        message=f"the static block {network_of(key, family)} is promised to node {first} and to node "
                        f"{block.node}; {first} gets it, and {block.node} waits",
                        remedy="give each node a block of its own in spec.static",
                    )
                )
            spec = pool.families.get(family)
            if spec is not None and any(covers(key_of(cidr), key) for cidr in spec.cidrs):
                continue
            found.append(
                Finding(
                    code="StaticOutsideRange",
                    subject=f"clustercidr/{pool.name}",
                    message=f"the static block {network_of(key, family)} of node {block.node} is in none of its ranges",
                    remedy="add a range that contains it, or remove the entry",
                )
            )
    return found


def _range_findings(name: PoolName, spec: FamilySpec) -> Iterator[Finding]:
    """What the ranges and exclusions of one family do to each other."""
    for i, cidr in enumerate(spec.cidrs):
        # Of two equal ranges the later one is the one too many.
        outer = [o for j, o in enumerate(spec.cidrs) if contains(o, cidr) and (o != cidr or j < i)]
        if outer:
            yield Finding(
                code="OverlappingRanges",
                subject=f"clustercidr/{name}",
                message=f"its range {cidr} lies in its range {outer[0]} and adds nothing",
                remedy="remove the smaller entry of cidrs, or correct it",
            )
        elif any(overlaps(cidr, exclusion) for exclusion in spec.exclude) and not subtract(
            [cidr], spec.exclude
        ):
            yield Finding(
                code="RangeExcluded",
                subject=f"clustercidr/{name}",
                message=f"exclude covers all of its range {cidr}, so nothing is handed out from it",
                remedy="correct the entry of exclude, or remove the range",
            )


def _shared_findings(pools: list[ClusterCIDR]) -> list[Finding]:
    found = []
    for name, others in overlapping(pools).items():
        found.append(
            Finding(
                code="OverlappingClusterCIDRs",
                subject=f"clustercidr/{name}",
                message=f"its ranges overlap those of {', '.join(others)}; free blocks there are counted in each",
                remedy="nothing if this is meant: a block is never given twice; otherwise separate the ranges",
            )
        )
    excluded = [
        (family, key_of(cidr), pool.name)
        for pool in pools
        for family, spec in pool.families.items()
        for cidr in spec.exclude
    ]
    for pool in pools:
        for family, spec in pool.families.items():
            for cidr in spec.cidrs:
                for other_family, key, other in excluded:
                    if other != pool.name and other_family is family and collide(key, key_of(cidr)):
                        found.append(
                            Finding(
                                code="ExcludedElsewhere",
                                subject=f"clustercidr/{pool.name}",
                                message=f"ClusterCIDR {other} excludes {network_of(key, family)}, part of {cidr}; "
                                "an exclusion holds for every ClusterCIDR",
                                remedy="remove the exclusion there, or split the other range around these addresses",
                            )
                        )
    return found


def block_text(family: Family, key: int) -> str:
    """A block as people write it."""
    return str(network_of(key, family))
