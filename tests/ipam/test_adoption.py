from __future__ import annotations

from dataclasses import replace

import pytest

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.eligibility import MASK_SIZE
from nodeipam_ctl.model import (
    Assignment,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    StaticBlock,
)
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import network
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, got, v4


def line(
    block: str, uid: str, state: LedgerState = LedgerState.BOUND, *, reusable_at_s: float = 0.0
) -> LedgerEntry:
    return LedgerEntry(
        cidr=network(block),
        state=state,
        node=NodeName(f"node-{uid}"),
        node_uid=NodeUID(uid),
        cluster_cidr=PoolName("p"),
        reusable_at_s=reusable_at_s,
    )


def test_a_line_whose_node_shows_nothing_is_given_to_that_node_again() -> None:
    allocator = Allocator()
    allocator.set_pools([v4("p", "10.0.0.0/22")])
    assert allocator.adopt([line("10.0.2.0/24", "u")], now=0.0) == ()
    assert allocator.unseen() == (("node-u", "u"),)
    (decision,) = allocator.decide([Node(name=NodeName("node-u"), uid=NodeUID("u"))], now=1.0)
    assert isinstance(decision, Assignment)
    assert decision.pod_cidrs == got("10.0.2.0/24")
    assert allocator.unseen() == ()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (0, 3, 1, 2), (2, 1, 3, 0)])
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        pytest.param((("a", 1), ("a", 1), ("b", 2), ("b", 2)), "b", id="the later"),
        pytest.param((("a", 3), ("a", 3), ("b", 2), ("b", 2)), "a", id="the later, which was written first"),
        pytest.param(
            (("a", 1), ("a", 1), ("c", 2), ("c", 2)), "a", id="the one whose ClusterCIDR may serve it"
        ),
    ],
)
def test_of_two_promises_in_the_ledger_the_node_gets_all_of_the_right_one(
    order: tuple[int, ...], lines: tuple[tuple[str, float], ...], says: str
) -> None:
    blocks = ("10.0.0.0/24", "fd00::/120", "10.0.4.0/24", "fd00::400/120")
    allocator = Allocator()
    allocator.set_pools(
        [
            dual("a", "10.0.0.0/22", 24, "fd00::/118", 120),
            dual("b", "10.0.4.0/22", 24, "fd00::400/118", 120),
        ]
    )
    entries = [
        replace(line(block, "u"), cluster_cidr=PoolName(pool), since_s=since_s)
        for block, (pool, since_s) in zip(blocks, lines, strict=True)
    ]
    assert allocator.adopt([entries[i] for i in order], now=5.0) == ()
    node = Node(name=NodeName("node-u"), uid=NodeUID("u"))
    (decision,) = allocator.decide([node], now=6.0)
    assert isinstance(decision, Assignment)
    assert decision.pod_cidrs == (got(*blocks[:2]) if says == "a" else got(*blocks[2:]))
    assert set(allocator.held_by(node.uid)) == set(got(*blocks)), (
        "a former leader may still give it the others"
    )
    observed = allocator.observe(replace(node, pod_cidrs=decision.pod_cidrs), now=7.0)
    assert set(observed.returned) == set(got(*blocks)) - set(decision.pod_cidrs)


def test_of_two_promises_in_one_clustercidr_the_one_as_large_as_the_node_asks_for_counts() -> None:
    for size, block in (("24", "10.0.0.0/24"), ("25", "10.0.1.0/25"), (None, "10.0.0.0/24")):
        allocator = Allocator()
        allocator.set_pools([v4("p", "10.0.0.0/22")])
        allocator.adopt(
            [replace(line("10.0.0.0/24", "u"), since_s=1.0), replace(line("10.0.1.0/25", "u"), since_s=2.0)],
            now=5.0,
        )
        annotations = {MASK_SIZE[Family.IPV4]: size} if size else {}
        (decision,) = allocator.decide(
            [Node(name=NodeName("node-u"), uid=NodeUID("u"), annotations=annotations)], now=6.0
        )
        assert isinstance(decision, Assignment)
        assert decision.pod_cidrs == got(block)


def test_a_later_promise_of_which_only_one_line_was_written_is_completed_in_its_own_clustercidr() -> None:
    allocator = Allocator()
    pools = [
        dual("a", "10.0.0.0/22", 24, "fd00::/118", 120),
        dual("b", "10.0.4.0/22", 24, "fd00::400/118", 120),
    ]
    allocator.set_pools(pools)
    lines = [
        replace(line("10.0.0.0/24", "u"), cluster_cidr=PoolName("a"), since_s=1.0),
        replace(line("fd00::/120", "u"), cluster_cidr=PoolName("a"), since_s=1.0),
        replace(line("10.0.4.0/24", "u"), cluster_cidr=PoolName("b"), since_s=2.0),
    ]
    allocator.adopt(lines, now=5.0)
    allocator.set_pools([replace(pools[0], disabled=True), pools[1]])
    (decision,) = allocator.decide([Node(name=NodeName("node-u"), uid=NodeUID("u"))], now=6.0)
    assert isinstance(decision, Assignment)
    assert decision.pod_cidrs == got("10.0.4.0/24", "fd00::400/120")


def test_the_family_that_completes_a_promise_has_the_size_that_the_node_asks_for() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/22", 24, "fd00::/118", 120)])
    node = cluster.register("a", annotations={MASK_SIZE[Family.IPV4]: "26"})
    (first,) = cluster.decide()
    cluster.allocator.release(node.uid, first.pod_cidrs[:1])
    cluster.allocator.set_reserved("servicecidr/late", first.pod_cidrs[:1])
    (second,) = cluster.decide()
    assert second.pod_cidrs == got("10.0.0.64/26", "fd00::/120")


def test_a_static_block_stays_promised_whatever_size_the_node_asks_for_meanwhile() -> None:
    static = StaticBlock(node=NodeName("a"), cidrs=got("10.0.1.0/25"))
    cluster = Cluster([v4("p", "10.0.0.0/22", static=(static,)), v4("q", "10.9.0.0/16", disabled=True)])
    node = cluster.register("a")
    (first,) = cluster.decide()
    cluster.allocator.reconsider(replace(node, annotations={MASK_SIZE[Family.IPV4]: "26"}))
    (second,) = cluster.decide()
    assert first.pod_cidrs == second.pod_cidrs == got("10.0.1.0/25")


def test_a_promise_gives_way_to_a_block_that_becomes_the_nodes_by_name() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    node = cluster.register("a")
    assert [a.pod_cidrs for a in cluster.decide()] == [got("10.0.0.0/24")]
    cluster.set_pool(v4("p", "10.0.0.0/22", static=(StaticBlock(node=node.name, cidrs=got("10.0.3.0/24")),)))
    cluster.allocator.reconsider(node)
    assert [a.pod_cidrs for a in cluster.decide()] == [got("10.0.3.0/24")]
    cluster.set_pool(v4("p", "10.0.0.0/22"))
    cluster.allocator.reconsider(node)
    assert [a.pod_cidrs for a in cluster.decide()] == [got("10.0.3.0/24")], "it is as good as any other now"


def test_a_line_of_one_family_is_completed_by_the_other() -> None:
    allocator = Allocator()
    allocator.set_pools([dual("p", "10.0.0.0/22", 24, "fd00::/118", 120)])
    allocator.adopt([line("10.0.2.0/24", "u")], now=0.0)
    (decision,) = allocator.decide([Node(name=NodeName("node-u"), uid=NodeUID("u"))], now=1.0)
    assert isinstance(decision, Assignment)
    assert decision.pod_cidrs == got("10.0.2.0/24", "fd00::/120")


def test_a_second_line_for_one_node_stays_used_until_the_node_shows_what_it_took() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    node = cluster.register("a")
    cluster.decide()
    other = replace(line("10.0.3.0/24", node.uid), node=node.name)
    assert cluster.allocator.adopt([other], cluster.now) == ()
    assert cluster.used() == set(got("10.0.0.0/24", "10.0.3.0/24"))
    observed = cluster.observe(replace(node, pod_cidrs=got("10.0.3.0/24")))
    assert observed.returned == got("10.0.0.0/24")
    assert cluster.allocator.adopt([replace(other, cidr=network("10.0.0.0/24"))], cluster.now) != (), (
        "that line is stale"
    )


def test_a_rest_survives_a_restart_and_one_that_is_over_can_go() -> None:
    allocator = Allocator()
    allocator.set_pools([v4("p", "10.0.0.0/24", "10.0.1.0/24")])
    resting = line("10.0.0.0/24", "u", LedgerState.RESTING, reusable_at_s=50.0)
    over = line("10.0.1.0/24", "w", LedgerState.RESTING, reusable_at_s=5.0)
    assert allocator.adopt([resting, over, line("10.0.0.0/20", "", LedgerState.SPLIT)], now=10.0) == (over,)
    assert allocator.usage(PoolName("p")).families[Family.IPV4].resting == 1


def test_two_nodes_with_one_block_are_found_and_the_lines_of_the_first_to_go_can_go() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    for name in ("a", "b"):
        cluster.register(name, pod_cidrs=got("10.0.0.0/24"))
    assert [(f.code, f.subject) for f in cluster.findings] == [("CIDRConflict", "node/b")]
    released = cluster.delete("a")
    assert released is not None
    assert (released.blocks, released.shared) == ((), got("10.0.0.0/24"))


def test_a_second_line_can_go_though_the_answer_to_the_patch_came_before_the_event() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    node = cluster.register("a")
    (assignment,) = cluster.decide()
    cluster.allocator.adopt([replace(line("10.0.3.0/24", node.uid), node=node.name)], cluster.now)
    cluster.allocator.settle(node.uid)
    assert cluster.used() == set(got("10.0.0.0/24", "10.0.3.0/24")), "its line still stands"
    assert cluster.observe(replace(node, pod_cidrs=assignment.pod_cidrs)).returned == got("10.0.3.0/24")
    assert cluster.used() == set(got("10.0.0.0/24"))


def test_a_node_that_lost_its_podcidrs_gets_the_same_unless_somebody_else_has_them() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    cluster.create("first")
    cluster.create("second")
    lost = replace(cluster.nodes[NodeName("second")], pod_cidrs=())
    cluster.allocator.set_back(lost.uid)
    assert cluster.observe(lost).wants
    assert [a.pod_cidrs for a in cluster.decide()] == [got("10.0.1.0/24")]
    cluster.observe(replace(lost, pod_cidrs=got("10.0.1.0/24")))
    cluster.register("twin", pod_cidrs=got("10.0.1.0/24"))
    cluster.allocator.set_back(lost.uid)
    assert cluster.observe(lost).wants
    assert [a.pod_cidrs for a in cluster.decide()] == [got("10.0.2.0/24")]
