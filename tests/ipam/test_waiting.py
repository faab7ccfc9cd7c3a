"""Nodes that wait: served in order of arrival, and looked at no more often than there is something to give."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from nodeipam_ctl.ipam.decider import Decider
from nodeipam_ctl.model import (
    Assignment,
    LedgerEntry,
    LedgerState,
    NodeName,
    NodeSelector,
    NodeUID,
    Operator,
    PoolName,
    Requirement,
    Retain,
    SelectorTerm,
    StaticBlock,
)
from tests.ipam.cases import networks
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import got, v4

GPU = NodeSelector(
    terms=(SelectorTerm(expressions=(Requirement(key="gpu", operator=Operator.EXISTS, values=()),)),)
)


def served(cluster: Cluster) -> list[str]:
    """Who gets something now that nobody new asks, in order."""
    answers = cluster.allocator.decide((), cluster.now)
    return [str(answer.node) for answer in answers if isinstance(answer, Assignment)]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that are decided about."""
    seen: list[str] = []
    decide = Decider.decide

    def counting(self: Decider, node: Any, *rest: Any) -> Any:
        seen.append(str(node.name))
        return decide(self, node, *rest)

    monkeypatch.setattr(Decider, "decide", counting)
    return seen


def test_a_freed_block_costs_no_more_looks_when_more_nodes_wait(looks: list[str]) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.create("holder")
    for i in range(300):
        cluster.register(f"n{i}")
    cluster.turn()
    cluster.delete("holder")
    looks.clear()
    assert served(cluster) == ["n0"]
    assert looks == ["n0", "n1"], "the first gets it, and the second finds nothing"


def test_as_many_are_served_as_blocks_are_free_in_order_of_arrival_over_all_lines(looks: list[str]) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22"), v4("gpu", "10.1.0.0/24", selector=GPU)])
    for i in range(5):
        cluster.create(f"holder-{i}", labels={"gpu": "a"} if i == 0 else {})
    for i in range(200):  # every second one may use both ClusterCIDRs
        cluster.register(f"n{i}", labels={"gpu": "a"} if i % 2 else {})
    cluster.turn()
    for i in (1, 2, 3):
        cluster.delete(f"holder-{i}")
    looks.clear()
    assert served(cluster) == ["n0", "n1", "n2"]
    assert len(looks) == 5, "and the first of each line who gets nothing"


def test_a_node_that_asks_for_less_is_served_though_others_came_before() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", exclude=("10.0.0.0/25",))])
    cluster.create("whole")
    cluster.create("half", annotations={"nodeipam.dev/ipv4-mask-size": "25"})
    assert cluster.nodes[NodeName("whole")].pod_cidrs == ()
    assert cluster.nodes[NodeName("half")].pod_cidrs == got("10.0.0.128/25")


def test_a_node_with_a_static_block_does_not_wait_behind_those_that_have_none() -> None:
    static = (StaticBlock(node=NodeName("edge"), cidrs=networks(["10.0.1.0/24"])),)
    cluster = Cluster([v4("p", "10.0.0.0/23", static=static)])
    cluster.create("holder")
    cluster.create("foreign", pod_cidrs=networks(["10.0.1.0/24"]))
    for name in ("first", "edge"):
        assert cluster.create(name) == ()
    cluster.delete("foreign")
    assert served(cluster) == ["edge"]


def test_a_node_whose_labels_change_leaves_its_line_at_once() -> None:
    cluster = Cluster([v4("gpu", "10.1.0.0/24", selector=GPU)])
    cluster.create("first")
    second = cluster.register("second")
    cluster.turn()
    cluster.observe(replace(second, labels={"gpu": "a"}))
    assert served(cluster) == ["second"]


def test_a_node_that_a_ledger_line_promises_a_block_is_served_though_others_came_before() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.create("holder")
    cluster.create("first")
    promised = cluster.register("promised")
    cluster.turn()
    line = LedgerEntry(
        cidr=networks(["10.9.0.0/24"])[0],
        state=LedgerState.BOUND,
        node=promised.name,
        node_uid=promised.uid,
        cluster_cidr=PoolName("p"),
        addresses=(),
        since_s=1.0,
    )
    cluster.allocator.adopt([line], cluster.now)
    assert served(cluster) == ["promised"]


def test_a_node_whose_predecessor_of_the_same_name_turns_out_to_be_gone_gets_its_block_back() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", reuse_delay_s=60.0, retain=Retain.BY_NAME)])
    line = LedgerEntry(
        cidr=networks(["10.0.0.0/24"])[0],
        state=LedgerState.BOUND,
        node=NodeName("phoenix"),
        node_uid=NodeUID("of-before"),
        cluster_cidr=PoolName("p"),
        addresses=(),
        since_s=1.0,
    )
    cluster.allocator.adopt([line], cluster.now)
    cluster.create("phoenix")
    assert cluster.nodes[NodeName("phoenix")].pod_cidrs == ()
    cluster.allocator.forget(NodeUID("of-before"), cluster.now)
    assert served(cluster) == ["phoenix"]
    assert [woken.early for woken in cluster.allocator.woken()] == [False]


def test_what_a_rest_held_beyond_the_block_it_was_given_up_for_serves_others_at_once() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", reuse_delay_s=60.0)])
    cluster.create("old")
    cluster.delete("old")
    narrow = v4("narrow", "10.0.0.64/26", mask=26, selector=GPU)
    cluster.set_pool(narrow)
    cluster.register("gpu", labels={"gpu": "a"}, annotations={"nodeipam.dev/cluster-cidr": "narrow"})
    assert cluster.decide() == [], "its ClusterCIDR lies within a block that rests and is not its to give up"
    cluster.set_pool(v4("p", "10.0.0.0/24", mask=26, reuse_delay_s=60.0))
    cluster.register("later")
    assert {a.node for a in cluster.decide()} == {"later", "gpu"}


def test_a_node_is_served_when_another_ones_address_leaves_the_range() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    inside = cluster.register(
        "inside", pod_cidrs=got("172.16.0.0/24"), internal_ips=(ip_address("10.0.0.5"),)
    )
    assert cluster.create("waits") == ()
    cluster.observe(replace(inside, internal_ips=(ip_address("192.0.2.1"),)))
    assert cluster.allocator.has_due()
    assert served(cluster) == ["waits"]


def test_what_a_decision_frees_goes_to_who_waits_longest_not_to_the_next_of_the_batch() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", reuse_delay_s=60.0)])
    cluster.create("old")
    cluster.delete("old")
    cluster.set_pool(v4("narrow", "10.0.0.64/26", mask=26))
    pinned = {"nodeipam.dev/cluster-cidr": "narrow"}
    cluster.register("waits", annotations=pinned)
    assert cluster.decide() == []
    cluster.set_pool(v4("p", "10.0.0.0/24", mask=26, selector=GPU, reuse_delay_s=60.0))
    cluster.register("frees", labels={"gpu": "a"})
    cluster.register("later", annotations=pinned)
    assert {a.node for a in cluster.decide()} == {"frees", "waits"}
