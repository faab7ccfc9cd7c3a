"""What is wrong in this cluster's pod addressing, and what can be done about it? Every finding names object, reason, remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nodeipam_ctl.ipam import occupied, shortage
from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of, network_of
from nodeipam_ctl.ipam.forecast import World, allocator_of
from nodeipam_ctl.ipam.pages import page_key, page_name
from nodeipam_ctl.ipam.podcidrs import is_too_large
from nodeipam_ctl.model import Finding, LedgerEntry, LedgerPage, LedgerState, Node, NodeUID, Severity
from nodeipam_ctl.prefixes import Family, Network, contains, family_of, sort_key


def audit(world: World, pages: Iterable[LedgerPage] | None, now: float) -> tuple[Finding, ...]:
    """Everything that is wrong, errors first, then by subject.

    Args:
        world: ClusterCIDRs, Nodes and reserved ranges.
        pages: the ledger; None when the cluster runs without one.
        now: seconds since the epoch.
    """
    allocator = allocator_of(world, now)
    found = [*pool_rules.findings(world.pools), *_of_surroundings(world, allocator)]
    found += _of_nodes(world, allocator)
    if pages is not None:
        pages = tuple(pages)
        found += [*_of_pages(pages), *_of_lines(world, pages, now)]
    allocator.decide([node for node in world.nodes if not node.pod_cidrs], now)
    found += shortage.findings(allocator, now)
    ordered = sorted(
        set(found), key=lambda f: (f.severity is not Severity.ERROR, f.subject, f.code, f.message)
    )
    return tuple(ordered)


def misfits(world: World, now: float) -> tuple[Finding, ...]:
    """Nodes whose podCIDRs do not fit the ClusterCIDRs: what must be empty before an import is applied."""
    allocator = allocator_of(world, now)
    codes = {
        "CIDRConflict",
        "CoversClusterCIDR",
        "ImpossiblePodCIDR",
        "OutsideEveryRange",
        "OtherBlockSize",
        "UnreadablePodCIDR",
    }
    return tuple(f for f in _of_nodes(world, allocator, sizes=True) if f.code in codes)


def _of_nodes(world: World, allocator: Allocator, *, sizes: bool = False) -> Iterator[Finding]:
    for node in sorted(world.nodes, key=lambda n: n.name):
        record = allocator.tenancy.records.get(node.uid)
        if record is None:
            continue  # two Nodes of one name in what we were given: the later one counts
        for problem in node.problems:
            yield Finding(
                severity=Severity.ERROR,
                code="UnreadablePodCIDR",
                subject=f"node/{node.name}",
                message=problem,
                remedy="drain and delete the node so that it registers again",
            )
        yield from allocator.tenancy.conflict_findings(record, record.shown)
        for family, key in record.actual:
            around = list(allocator.tenancy.occupancies[family].windows_around(key))
            block = network_of(key, family)
            covers_one = any(True for _ in allocator.tenancy.occupancies[family].ranges_within(key))
            if not around and not covers_one and world.pools:
                yield Finding(
                    code="OutsideEveryRange",
                    subject=f"node/{node.name}",
                    message=f"its podCIDR {block} is in no ClusterCIDR: it stays as it is, and is never handed out",
                    remedy="append a range that contains it to a ClusterCIDR to take it over",
                )
            elif sizes and all(window.length != block.prefixlen for window, _ in around):
                yield Finding(
                    code="OtherBlockSize",
                    subject=f"node/{node.name}",
                    message=f"its podCIDR {block} is not of its ClusterCIDR's size",
                    remedy=f"give nodeMaskSize {block.prefixlen} to go on as before, or accept two sizes side by side",
                )
        pool = allocator.tenancy.pools.get(record.pool)
        lacking = (
            set(pool.spec.families) - {family for family, _ in record.actual}
            if pool and record.actual
            else set()
        )
        if lacking:
            yield Finding(
                code="SingleStackNode",
                subject=f"node/{node.name}",
                message=f"it has no {'/'.join(sorted(lacking))} podCIDR, which ClusterCIDR {record.pool} would give it",
                remedy="podCIDRs never change: drain and delete the node so that it registers again",
            )


def _of_surroundings(world: World, allocator: Allocator) -> Iterator[Finding]:
    """What belongs to somebody else; only nodes with an address in some range need be looked at again."""
    inside = [(r.name, r.addresses) for r in allocator.tenancy.records.values() if r.excluded]
    for pool in world.pools:
        yield from occupied.findings(pool, dict(world.reserved), inside)
        yield from occupied.excluded(pool, allocator.tenancy)


def _of_pages(pages: tuple[LedgerPage, ...]) -> Iterator[Finding]:
    """What is wrong inside the ledger, whatever the nodes say."""
    lines = {family_of(page.page): set[int]() for page in pages}
    for page in pages:
        lines[family_of(page.page)].update(
            key_of(e.cidr) for e in page.entries if e.state is LedgerState.SPLIT
        )
    for page in pages:
        family, key = family_of(page.page), key_of(page.page)
        yield from page.findings
        if page.name != page_name(page.page):
            yield _ledger(
                page, "MisnamedPage", f"page {page.page} belongs into an object named {page_name(page.page)}"
            )
        if page.entries and page_key(key, family) is not None and key not in lines[family]:
            yield _ledger(
                page, "SplitMissing", f"it has lines, but the page above has no Split line for {page.page}"
            )
        for entry in page.entries:
            if page_key(key_of(entry.cidr), family) != key:
                yield _ledger(page, "MisplacedLine", f"{entry.cidr} does not belong on page {page.page}")
    entries = [e for page in pages for e in page.entries if e.state is not LedgerState.SPLIT]
    entries.sort(key=lambda e: sort_key(e.cidr))
    for first, second in _overlapping(entries):
        yield Finding(
            severity=Severity.ERROR,
            code="OverlappingLines",
            subject=f"podcidrslice/{_page_name_of(second.cidr)}",
            message=f"the line {second.cidr} of node {second.node} overlaps {first.cidr} of node {first.node}",
            remedy="drain and delete one of the nodes; never edit the pages by hand",
        )


def _of_lines(world: World, pages: tuple[LedgerPage, ...], now: float) -> Iterator[Finding]:
    """Where ledger and nodes say different things."""
    nodes: dict[NodeUID, Node] = {node.uid: node for node in world.nodes}
    bound: dict[Network, LedgerEntry] = {}
    for page in pages:
        for entry in page.entries:
            subject = f"podcidrslice/{page.name}"
            if (
                entry.state is LedgerState.RESTING
                and entry.reusable_at_s
                and entry.reusable_at_s < now - 3600
            ):
                yield Finding(
                    code="RestOverdue",
                    subject=subject,
                    message=f"{entry.cidr} rests since its time was over an hour ago",
                    remedy="see that a controller runs and leads",
                )
            if entry.state is not LedgerState.BOUND:
                continue
            bound[entry.cidr] = entry
            node = nodes.get(entry.node_uid)
            if node is None:
                yield Finding(
                    code="LineWithoutNode",
                    subject=subject,
                    message=f"{entry.cidr} is bound to node {entry.node}, uid {entry.node_uid or 'none'}, which is gone",
                    remedy="see that a controller runs and leads: it lets the block rest, then frees it",
                )
            elif node.pod_cidrs and entry.cidr not in node.pod_cidrs:
                yield Finding(
                    code="StaleLine",
                    subject=subject,
                    message=f"{entry.cidr} is bound to node {entry.node}, which has other podCIDRs",
                    remedy="see that a controller runs and leads: it removes the line",
                )
    for node in sorted(world.nodes, key=lambda n: n.name):
        for cidr in node.pod_cidrs:
            line = bound.get(cidr)
            if is_too_large(family_of(cidr), key_of(cidr)):
                continue  # it has no line, and is reported already
            if line is None:
                yield Finding(
                    code="NoLedgerLine",
                    subject=f"node/{node.name}",
                    message=f"its podCIDR {cidr} has no line in the ledger: agents do not route to it",
                    remedy="see that a controller runs and leads; if lines stay away, another allocator is at work",
                )
            elif line.node_uid != node.uid and line.node_uid in nodes:
                yield Finding(
                    severity=Severity.ERROR,
                    code="LineOfAnother",
                    subject=f"node/{node.name}",
                    message=f"its podCIDR {cidr} is bound to node {line.node} in the ledger",
                    remedy="drain and delete one of the two nodes so that it registers again",
                )


def _overlapping(entries: list[LedgerEntry]) -> Iterator[tuple[LedgerEntry, LedgerEntry]]:
    """Lines within another line, from a list sorted by address, larger first."""
    outer: LedgerEntry | None = None
    for entry in entries:
        if outer is not None and contains(outer.cidr, entry.cidr):
            yield outer, entry
        else:
            outer = entry


def _ledger(page: LedgerPage, code: str, message: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code=code,
        subject=f"podcidrslice/{page.name}",
        message=message,
        remedy="only nodeipam-ctl writes these objects: stop the controllers, delete the page, start them again",
    )


def _page_name_of(block: Network) -> str:
    family: Family = family_of(block)
    key = page_key(key_of(block), family)
    return page_name(network_of(key, family)) if key is not None else str(block)
