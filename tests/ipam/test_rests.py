from __future__ import annotations

from dataclasses import replace

from nodeipam_ctl.ipam.outcomes import Waiver
from nodeipam_ctl.model import LedgerEntry, LedgerState, NodeName, NodeUID, PoolName, Retain
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import networks
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, got, v4


def test_a_released_block_rests_and_then_goes_to_another_node() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23", reuse_delay_s=100.0)])
    assert cluster.create("a") == got("10.0.0.0/24")
    released = cluster.delete("a")
    assert released is not None
    assert released.resting_until_s == cluster.now + 100.0
    assert cluster.allocator.usage(PoolName("p")).families[Family.IPV4].resting == 1
    assert cluster.create("b") == got("10.0.1.0/24")
    cluster.now += 100.0
    assert cluster.create("c") == got("10.0.0.0/24")
    assert [w.early for w in cluster.allocator.woken()] == [False]


def test_when_nothing_else_is_left_the_oldest_rest_is_given_up_first() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23", reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.create("b")
    cluster.delete("b")
    cluster.now += 1.0
    cluster.delete("a")
    assert cluster.create("c") == got("10.0.1.0/24"), "b left before a"
    woken = cluster.allocator.woken()
    assert [(w.node, w.early, w.taken_by) for w in woken] == [("b", True, "c")]


def test_smaller_rests_are_given_up_together_for_a_larger_block() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", mask=25, reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.create("b")
    cluster.delete("a")
    cluster.delete("b")
    cluster.set_pool(v4("p", "10.0.0.0/24", mask=24, reuse_delay_s=100.0))
    assert cluster.create("c") == got("10.0.0.0/24")
    assert len(cluster.allocator.woken()) == 2


def test_a_rest_is_not_given_up_for_a_node_that_cannot_have_all_families() -> None:
    cluster = Cluster([replace(dual("p", "10.0.0.0/24", 24, "fd00::/124", 124), reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.delete("a")
    cluster.allocator.set_reserved("servicecidr/x", networks(["fd00::/126"]))
    assert cluster.create("b") == ()
    assert cluster.allocator.usage(PoolName("p")).families[Family.IPV4].resting == 1
    assert cluster.allocator.woken() == []


def test_a_block_of_which_a_node_shows_up_with_a_part_rests_no_longer() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.delete("a")
    cluster.observe(replace(cluster.register("foreign"), pod_cidrs=networks(["10.0.0.0/26"])))
    assert [(w.node, w.waiver) for w in cluster.allocator.woken()] == [("a", Waiver.SHOWN)]


def test_the_end_of_a_rest_serves_a_waiting_node() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.delete("a")
    cluster.set_pool(v4("p", "10.0.0.0/24", reuse_delay_s=100.0, disabled=True))
    assert cluster.create("b") == ()
    cluster.set_pool(v4("p", "10.0.0.0/24", reuse_delay_s=100.0))
    assert cluster.allocator.has_due()
    assert cluster.allocator.next_end_s() == cluster.now - 1.0 + 100.0


def test_a_node_that_comes_back_gets_its_blocks_back_by_name() -> None:
    pool = replace(dual("p", "10.0.0.0/22", 24, "fd00::/118", 120), reuse_delay_s=60.0, retain=Retain.BY_NAME)
    cluster = Cluster([pool])
    first = cluster.create("a")
    cluster.delete("a")
    assert cluster.create("b") != first
    assert cluster.create("a") == first
    assert all(not w.early for w in cluster.allocator.woken())


def test_a_rest_beyond_the_ranges_of_a_clustercidr_is_not_given_up_for_a_smaller_one_inside() -> None:
    cluster = Cluster([v4("wide", "10.0.0.0/20", mask=22, reuse_delay_s=100.0)])
    cluster.create("a")
    cluster.delete("a")
    smaller = LedgerEntry(
        cidr=networks(["10.0.1.64/26"])[0],
        state=LedgerState.RESTING,
        node=NodeName("x"),
        node_uid=NodeUID("x"),
        reusable_at_s=cluster.now + 50.0,
    )
    cluster.allocator.adopt([smaller], cluster.now)
    cluster.delete_pool("wide")
    cluster.set_pool(v4("cut", "10.0.1.0/24", mask=25))
    assert cluster.create("b") == ()
    assert cluster.allocator.woken() == []


def test_of_rests_that_began_together_the_lower_gives_way_first_whatever_came_in_between() -> None:
    for names in ("ab", "ba"):
        cluster = Cluster([v4("p", "10.0.0.0/23", reuse_delay_s=100.0)])
        for name in "ab":
            cluster.create(name)
        for name in names:
            cluster.delete(name)
        assert cluster.create("c") == networks(["10.0.0.0/24"])
