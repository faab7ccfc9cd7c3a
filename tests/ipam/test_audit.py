from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodeipam_ctl.ipam.audit import audit, misfits
from nodeipam_ctl.ipam.explain import explain
from nodeipam_ctl.ipam.forecast import World, arrival_rate, outlooks, pods_in, what_if
from nodeipam_ctl.ipam.pages import page_name
from nodeipam_ctl.model import (
    LedgerEntry,
    LedgerPage,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Severity,
    Verdict,
)
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import network, networks
from tests.ipam.clustercidrs import dual, v4


def node(name: str, *cidrs: str, created_s: float = 0.0) -> Node:
    return Node(
        name=NodeName(name), uid=NodeUID(f"uid-{name}"), pod_cidrs=networks(cidrs), created_s=created_s
    )


def page(text: str, *entries: LedgerEntry) -> LedgerPage:
    return LedgerPage(
        name=page_name(network(text)), page=network(text), resource_version="1", entries=entries
    )


def line(block: str, name: str, state: LedgerState = LedgerState.BOUND, until_s: float = 0.0) -> LedgerEntry:
    uid = NodeUID(f"uid-{name}") if name else NodeUID("")
    return LedgerEntry(
        cidr=network(block), state=state, node=NodeName(name), node_uid=uid, reusable_at_s=until_s
    )


def split(block: str) -> LedgerEntry:
    return line(block, "", LedgerState.SPLIT)


ABOVE = (
    page("10.0.0.0/8", split("10.0.0.0/12")),
    page("10.0.0.0/12", split("10.0.0.0/16")),
    page("10.0.0.0/16", split("10.0.0.0/20")),
)
POOL = v4("p", "10.0.0.0/22")


def codes(world: World, pages: tuple[LedgerPage, ...] | None) -> set[tuple[str, str]]:
    return {(f.code, f.subject) for f in audit(world, pages, now=10_000.0)}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    world = World(pools=(POOL,), nodes=(node("a", "10.0.0.0/24"),))
    assert codes(world, (*ABOVE, page("10.0.0.0/20", line("10.0.0.0/24", "a")))) == set()


@pytest.mark.parametrize(
    ("world", "lines", "found"),
    [
        pytest.param(
            World(pools=(POOL,), nodes=(node("a", "10.0.0.0/24"), node("b", "10.0.0.0/25"))),
            (line("10.0.0.0/24", "a"),),
            {("CIDRConflict", "node/a"), ("CIDRConflict", "node/b"), ("NoLedgerLine", "node/b")},
            id="two nodes that share addresses, each is told",
        ),
        pytest.param(
            World(pools=(POOL,), nodes=(node("a", "10.9.0.0/24"),)),
            None,
            {("OutsideEveryRange", "node/a")},
            id="a podCIDR in no range",
        ),
        pytest.param(
            World(pools=(POOL,), nodes=(node("a", "10.0.0.0/24"),)),
            (),
            {("NoLedgerLine", "node/a")},
            id="a podCIDR without a line",
        ),
        pytest.param(
            World(pools=(POOL,), nodes=(node("a", "10.0.0.0/24"),)),
            (line("10.0.0.0/24", "a"), line("10.0.1.0/24", "a"), line("10.0.2.0/24", "gone")),
            {("StaleLine", "podcidrslice/10.0.0.0-20"), ("LineWithoutNode", "podcidrslice/10.0.0.0-20")},
            id="lines of nodes that are gone or have something else",
        ),
        pytest.param(
            World(pools=(POOL,), nodes=(node("a", "10.0.0.0/24"), node("b"))),
            (line("10.0.0.0/24", "b"),),
            {("LineOfAnother", "node/a"), ("CIDRConflict", "node/a")},
            id="a podCIDR whose line is another node's",
        ),
        pytest.param(
            World(pools=(POOL,)),
            (line("10.0.0.0/24", "x", LedgerState.RESTING, 1.0),),
            {("RestOverdue", "podcidrslice/10.0.0.0-20")},
            id="a rest long over",
        ),
        pytest.param(
            World(
                pools=(dual("p", "10.0.0.0/22", 24, "fd00::/118", 120),), nodes=(node("a", "10.0.0.0/24"),)
            ),
            None,
            {("SingleStackNode", "node/a")},
            id="a node older than dual stack",
        ),
    ],
)
def test_each_trouble_is_found_and_named(
    world: World, lines: tuple[LedgerEntry, ...] | None, found: set[tuple[str, str]]
) -> None:
    pages = (*ABOVE, page("10.0.0.0/20", *lines)) if lines is not None else None
    entries = tuple(e for p in pages or () for e in p.entries)
    got = codes(replace(world, entries=entries), pages)
    assert {one for one in got if one[0] != "NotServed"} == found


def test_an_exclusion_over_what_a_node_has_is_said_of_both() -> None:
    world = World(
        pools=(v4("p", "10.0.0.0/22", exclude=("10.0.0.0/23",)),), nodes=(node("a", "10.0.0.0/24"),)
    )
    assert codes(world, None) == {("CIDRConflict", "node/a"), ("NodeInExclusion", "clustercidr/p")}


def test_a_service_range_inside_a_pool_is_an_error() -> None:
    reserved = (("servicecidr/kubernetes", networks(["10.0.1.0/24"])),)
    world = World(pools=(POOL,), nodes=(node("a", "10.0.1.0/24"),), reserved=reserved)
    found = audit(world, None, now=0.0)
    assert {f.subject for f in found if f.severity is Severity.ERROR} == {"clustercidr/p", "node/a"}
    assert all(f.remedy for f in found)


def test_pages_that_contradict_each_other_are_found() -> None:
    world = World(pools=(POOL,))
    alone = (page("10.0.0.0/20", line("10.0.0.0/24", "x")), page("10.0.0.0/16", line("10.0.0.0/20", "y")))
    assert {c for c, _ in codes(world, alone)} == {"SplitMissing", "OverlappingLines", "LineWithoutNode"}
    misnamed = replace(page("10.0.0.0/8"), name="x")
    misplaced = page("10.0.0.0/8", line("10.0.0.0/24", "x"))
    assert {c for c, _ in codes(world, (misnamed,))} == {"MisnamedPage"}
    assert {c for c, _ in codes(world, (misplaced,))} == {"MisplacedLine", "LineWithoutNode"}


def test_what_does_not_fit_an_import_is_found() -> None:
    world = World(
        pools=(POOL,), nodes=(node("a", "10.0.0.0/25"), node("b", "10.5.0.0/24"), node("c", "10.0.2.0/24"))
    )
    assert {(f.code, f.subject) for f in misfits(world, 0.0)} == {
        ("OtherBlockSize", "node/a"),
        ("OutsideEveryRange", "node/b"),
    }


def test_an_outlook_says_how_many_fit_and_when_it_is_full() -> None:
    nodes = tuple(node(f"n{i}", f"10.0.{i}.0/24", created_s=1000.0 * i) for i in range(3))
    (found,) = outlooks(World(pools=(POOL,), nodes=nodes), now=8000.0)
    assert (found.pool, found.fits, found.nodes, found.pods_per_node) == ("p", 1, 3, 253)
    assert found.full_in_s == pytest.approx(4000.0)
    assert arrival_rate([0.0, 5.0], now=10.0) == 0.0, "a cluster that is being built"
    assert arrival_rate([5.0], now=9999.0) == 0.0
    assert arrival_rate([10.0, 10.0], now=10.0) == 0.0
    assert pods_in(Family.IPV6, 120) == 254


def test_a_changed_pool_shows_whom_it_would_serve_strand_and_move() -> None:
    nodes = (
        node("a", "10.0.0.0/24"),
        node("b", "10.0.3.0/24"),
        node("c", "10.7.0.0/24"),
        node("w", created_s=5.0),
    )
    full = v4("p", "10.0.0.0/24", "10.0.3.0/24")
    effect = what_if(
        World(pools=(full,), nodes=nodes), [v4("p", "10.0.0.0/23"), v4("q", "10.7.0.0/24")], now=9.0
    )
    assert [(d.node, d.pod_cidrs) for d in effect.served] == [("w", networks(["10.0.1.0/24"]))]
    assert effect.orphaned == (("b", network("10.0.3.0/24")),)
    assert effect.adopted == (("c", network("10.7.0.0/24")),)
    assert {o.pool for o in effect.outlooks} == {"p", "q"}


def test_an_explanation_names_every_pool_in_order_and_what_would_happen_now() -> None:
    pools = (
        v4("full", "10.0.0.0/24", priority=1),
        v4("next", "10.1.0.0/24"),
        v4("off", "10.2.0.0/24", disabled=True),
    )
    holder, asked = node("holder", "10.0.0.0/24"), node("asked", created_s=1.0)
    found = explain(World(pools=pools, nodes=(holder, asked)), asked, now=2.0)
    assert [(one.place, one.pool, one.verdict) for one in found.looked] == [
        (1, "full", Verdict.FULL),
        (2, "next", Verdict.CHOSEN),
        (0, "off", Verdict.DISABLED),
    ]
    assert found.outcome == "10.1.0.0/24 from ClusterCIDR next"
    again = explain(World(pools=pools, nodes=(holder, asked)), holder, now=2.0)
    assert (again.pod_cidrs, again.pool) == (holder.pod_cidrs, PoolName("full"))
    refused = explain(World(pools=()), replace(asked, internal_ips=(ip_address("192.0.2.1"),)), now=2.0)
    assert refused.outcome.startswith("nothing: no ClusterCIDR exists;")
