from __future__ import annotations

from dataclasses import replace

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.model import Assignment, LedgerEntry, LedgerState, Node, NodeName, NodeUID, PoolName
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
