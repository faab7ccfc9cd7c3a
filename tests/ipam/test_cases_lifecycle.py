"""Acceptance cases in several steps, driven through the allocator with a fake clock and a cluster in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.pools import overlapping, unusable
from nodeipam_ctl.ipam.window import Window
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, NodeName, PoolName, RefusalReason, Retain
from nodeipam_ctl.prefixes import Family, Network, family_of, merged
from tests.ipam.cases import Case, by_id, case_id, network, networks, node, of_groups, pool
from tests.ipam.cluster import Cluster
from tests.ipam.replica import Replica
from tests.ipam.server import Server


def cluster_of(given: Case) -> Cluster:
    options = given.get("options") or {}
    sticky_s = options.get("stickySeconds", 0.0)
    retain = Retain.BY_NAME if sticky_s else Retain.NONE
    pools = [pool(data, reuse_delay_s=sticky_s, retain=retain) for data in given.get("cluster_cidrs") or ()]
    return Cluster(
        pools, (node(data, created_s=float(i)) for i, data in enumerate(given.get("existing_nodes") or ()))
    )


@pytest.mark.parametrize("case", of_groups("lifecycle", but=["RACE-04"]), ids=case_id)
def test_a_story_ends_as_it_should(case: Case) -> None:
    cluster = cluster_of(case["given"])
    for step in case["expect"]["steps"]:
        if "do" in step:
            do(cluster, step)
        else:
            expect(cluster, step)


def do(cluster: Cluster, step: Case) -> None:
    match step["do"]:
        case "start_controller":
            cluster.turn()
        case "create_node":
            got = cluster.create(step["name"], labels=step.get("labels") or {})
            if step.get("error"):
                assert step["error"] == "no_cidr_available"
                assert got == ()
                assert cluster.refusals[NodeName(step["name"])].message
            else:
                assert got == networks(step["podCIDRs"])
        case "create_nodes":
            got_all: set[Network] = set()
            for i in range(step["n"]):
                got_all.update(cluster.create(f"many-{i}"))
            assert got_all == set(networks(step["podCIDRs_set"]))
        case "retry":
            for _ in range(step["times"]):
                cluster.turn()
        case "delete_node":
            cluster.delete(step["name"])
            cluster.let_pools_go()
            cluster.turn()
        case "label_node":
            cluster.observe(replace(cluster.nodes[NodeName(step["name"])], labels=step["labels"]))
        case "reserve":
            cluster.register(step["name"])
            assert [a.pod_cidrs for a in cluster.decide()] == [networks([step["cidr"]])]
        case "foreign_patch":
            observed = cluster.observe(
                replace(cluster.nodes[NodeName(step["name"])], pod_cidrs=networks(step["podCIDRs"]))
            )
            assert observed.returned, "the proposal is given back, and its ledger line can go"
        case "patch":
            patch(cluster, step)
        case "create_clustercidr":
            cluster.set_pool(pool(step["spec"]))
            cluster.turn()
        case "delete_clustercidr":
            cluster.delete_pool(step["name"])
            cluster.turn()
        case "create_servicecidr":
            cluster.allocator.set_reserved("servicecidr/added", networks(step["cidrs"]))
        case other:
            raise AssertionError(other)


def patch(cluster: Cluster, step: Case) -> None:
    present = cluster.nodes[NodeName(step["name"])]
    match step["error"]:
        case "forbidden_immutable":  # a definite failure; the Node was read again before
            cluster.allocator.release(present.uid)
        case "timeout_but_applied":  # nobody knows, so nobody tells the allocator; the Node shows it later
            promised = cluster.allocator.held_by(present.uid)
            cluster.nodes[present.name] = replace(present, pod_cidrs=promised)
        case other:
            raise AssertionError(other)


def expect(cluster: Cluster, step: Case) -> None:
    match next(iter(step)):
        case "expect_clustercidr":
            state = step["expect_clustercidr"]
            assert {
                "gone": not cluster.pools,
                "terminating": all(p.terminating for p in cluster.pools.values()),
            }[state]
            assert state == "gone" or cluster.pools
        case "expect_node":
            assert cluster.nodes[NodeName(step["expect_node"])].pod_cidrs == networks(step["podCIDRs"])
        case "expect_used":
            count = {Family.IPV4: 0, Family.IPV6: 0}
            for block in cluster.used():
                count[family_of(block)] += 1
            assert count == {
                Family.IPV4: step["expect_used"]["ipv4"],
                Family.IPV6: step["expect_used"]["ipv6"],
            }
        case "expect_used_blocks":
            assert cluster.used() == set(networks(step["expect_used_blocks"]))
        case "expect_overlap_report":
            for first, second, block in step["expect_overlap_report"]:
                assert any(
                    f.code == "CIDRConflict"
                    and f.subject == f"node/{second}"
                    and first in f.message
                    and block in f.message
                    for f in cluster.findings
                )
        case "expect_tracked":
            for name, owner in step["expect_tracked"].items():
                assert cluster.allocator.pool_of(cluster.nodes[NodeName(name)].uid) == owner
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("case", by_id("RACE-04"), ids=case_id)
def test_two_replicas_during_a_hand_over_never_give_one_block_to_two_nodes(case: Case) -> None:
    pools = [pool(data) for data in case["given"]["cluster_cidrs"]]
    server = Server()
    old = Replica(server, ledger_on=True, pools=pools)
    old.start(0.0)
    server.create("a", 0.0)
    old.hear(0.0)
    old.decide(0.0)  # reserved in memory; then the leader is paused
    new = Replica(server, ledger_on=True, pools=pools)
    new.start(1.0)
    server.create("b", 1.0)
    for replica in (new, old):  # the new leader serves both nodes, then the old one goes on where it stopped
        for _ in range(60):
            for flight in list(replica.flights):
                assert flight.run is not None
                flight.answer(flight.run())
                replica.flights.remove(flight)
            replica.hear(2.0)
            if replica is new:
                replica.decide(2.0)
            replica.write_pages(2.0)
            replica.patch()
    assert {n.name for n in server.nodes.values() if n.pod_cidrs} == {"a", "b"}
    assert server.overlap() is None, case["expect"]["invariant"]


# DEL-06 and DEL-07 are no Nodes at all: tests/controller has a server send them.
@pytest.mark.parametrize("case", of_groups("node_delete", but=["DEL-06", "DEL-07"]), ids=case_id)
def test_a_block_is_released_only_when_its_node_is_gone(case: Case) -> None:
    given, wanted = case["given"], case["expect"]
    cluster = cluster_of({**given, "existing_nodes": [given["node"]]})
    name = NodeName(given["node"]["name"])
    if "deletionTimestamp" in given["state"]:
        cluster.observe(replace(cluster.nodes[name], deleting=True))
    else:
        cluster.delete(name)
    released = wanted.get("block_released", wanted.get("outcome") == "released")
    assert cluster.used() == (set() if released else set(networks(given["node"]["podCIDRs"])))
    if "next_allocation" in wanted:
        assert cluster.create("next") == networks([wanted["next_allocation"]])


@pytest.mark.parametrize("case", of_groups("startup_occupy"), ids=case_id)
def test_nodes_that_are_there_at_start_are_occupied_whatever_they_have(case: Case) -> None:
    given = case["given"]
    cluster = cluster_of(given)
    assert case["expect"]["startup"] == "ok"
    for data in given["existing_nodes"]:
        uid = cluster.nodes[NodeName(data["name"])].uid
        assert cluster.allocator.held_by(uid) == networks(data.get("podCIDRs") or ())
        if "tracked_in" in case["expect"]:
            assert cluster.allocator.pool_of(uid) == case["expect"]["tracked_in"]
    existing = {cidr for data in given["existing_nodes"] for cidr in networks(data.get("podCIDRs") or ())}
    fresh = cluster.create("fresh", labels={"testLabel-0": "node0"})
    assert fresh
    assert not any(a.overlaps(b) for a in fresh for b in existing if a.version == b.version)


# SYNC-11 to SYNC-13 cannot be parsed, so they never become a ClusterCIDR: tests/controller has a server send them.
@pytest.mark.parametrize(
    "case", of_groups("reconcile_clustercidr", but=["SYNC-11", "SYNC-12", "SYNC-13"]), ids=case_id
)
def test_a_cluster_cidr_that_makes_sense_is_accepted(case: Case) -> None:
    assert case["expect"]["accepted"] == (unusable(pool(case["given"]["cluster_cidr"])) is None)


@pytest.mark.parametrize("case", by_id("STATUS-01"), ids=case_id)
def test_capacity_used_and_free_are_counted_per_family(case: Case) -> None:
    cluster = cluster_of(case["given"])
    wanted = case["expect"]["status"]
    usage = cluster.allocator.usage(PoolName("s"))
    for family, field in ((Family.IPV4, "ipv4"), (Family.IPV6, "ipv6")):
        got = usage.families[family]
        assert {"total": got.capacity, "used": got.allocated, "free": got.free} == wanted[field]
    assert min(u.free for u in usage.families.values()) == wanted["allocatableNodes"]
    assert overlapping(cluster.pools.values()) == {}


@pytest.mark.parametrize("case", by_id("STATUS-02"), ids=case_id)
def test_overlap_is_reported_on_both_and_counted_once(case: Case) -> None:
    cluster = cluster_of(case["given"])
    assert overlapping(cluster.pools.values()) == {
        PoolName("x"): (PoolName("y"),),
        PoolName("y"): (PoolName("x"),),
    }
    assert free_union(cluster.allocator, Family.IPV4, 24) == case["expect"]["free_blocks_union"]


def free_union(allocator: Allocator, family: Family, length: int) -> int:
    """Free blocks of one length in all ClusterCIDRs together; where they overlap, each block counts once."""
    ranges = [
        cidr
        for pool in allocator.tenancy.pools.values()
        for f, spec in pool.spec.families.items()
        if f is family
        for cidr in spec.cidrs
    ]
    keys = tuple(key_of(cidr) for cidr in merged(ranges) if cidr.prefixlen <= length)
    window = Window(allocator.tenancy.occupancies[family].space, family, keys, length, PoolName(""))
    return window.usage().free


def test_no_cluster_cidr_is_its_own_reason() -> None:
    cluster = Cluster()
    assert cluster.create("n") == ()
    assert cluster.refusals[NodeName("n")].reason is RefusalReason.NO_POOL
    families = {Family.IPV4: FamilySpec(cidrs=(network("10.0.0.0/24"),), node_mask_size=24)}
    cluster.set_pool(ClusterCIDR(name=PoolName("late"), families=families))
    cluster.turn()
    assert cluster.nodes[NodeName("n")].pod_cidrs == networks(["10.0.0.0/24"])
