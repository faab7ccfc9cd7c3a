from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.ipam.explain import explain
from nodeipam_ctl.ipam.forecast import World
from nodeipam_ctl.model import Node, NodeName, NodeUID, PoolName, RefusalReason, Severity
from tests.ipam.cases import networks
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, v4

GIANT = Node(name=NodeName("giant"), uid=NodeUID("g"), pod_cidrs=networks(["10.128.0.0/9"]))
WAITING = Node(name=NodeName("w"), uid=NodeUID("w"), created_s=1.0)
WHY = "all of 10.244.0.0/16 lies in 10.128.0.0/9 of node giant"


def test_a_refusal_names_the_node_that_fills_the_pool() -> None:
    cluster = Cluster([v4("p", "10.244.0.0/16")], [GIANT])
    assert cluster.create("w") == ()
    assert cluster.refusals[NodeName("w")].message == (
        f"no podCIDR is free: p: no free IPv4 block of /24: {WHY} (IPv4 0 of 256 free); "
        "delete and re-create Node giant, or append a range elsewhere to ClusterCIDR p"
    )
    cluster.delete("giant")
    assert cluster.decide()


def test_the_node_itself_is_told_when_it_appears() -> None:
    cluster = Cluster([v4("p", "10.244.0.0/16")], [GIANT])
    (found,) = cluster.findings
    assert (found.severity, found.code, found.subject) == (Severity.ERROR, "CoversClusterCIDR", "node/giant")
    assert "its podCIDR 10.128.0.0/9 covers all of 10.244.0.0/16 of ClusterCIDR p" in found.message
    assert "delete and re-create the Node" in found.remedy


def test_audit_files_it_as_an_error_of_the_node_and_of_the_pool() -> None:
    world = World(pools=(v4("p", "10.244.0.0/16"),), nodes=(GIANT, WAITING))
    found = {(f.code, f.subject): f for f in audit(world, None, now=2.0)}
    assert set(found) == {
        ("CoversClusterCIDR", "node/giant"),
        ("Exhausted", "clustercidr/p"),
        ("NodeWaiting", "node/w"),
    }
    assert {f.severity for f in found.values()} == {Severity.ERROR}
    assert WHY in found["Exhausted", "clustercidr/p"].message
    assert "Node giant" in found["Exhausted", "clustercidr/p"].remedy
    assert "Node giant" in found["NodeWaiting", "node/w"].remedy


def test_explain_names_it_for_those_that_wait_and_for_itself() -> None:
    world = World(pools=(v4("p", "10.244.0.0/16"),), nodes=(GIANT, WAITING))
    asked = explain(world, WAITING, now=2.0)
    assert WHY in asked.outcome
    assert WHY in asked.looked[0].rule
    assert [f.code for f in explain(world, GIANT, now=2.0).findings] == ["CoversClusterCIDR"]


@pytest.mark.parametrize(
    ("mine", "filled"),
    [
        pytest.param("10.244.0.0/16", True, id="the whole range"),
        pytest.param("10.244.0.0/17", False, id="half of it"),
        pytest.param("10.244.1.0/24", False, id="one block of it"),
        pytest.param("10.245.0.0/16", False, id="beside it"),
        pytest.param("10.0.0.0/9", False, id="beside it, and large"),
    ],
)
def test_only_a_block_over_a_whole_range_fills_it(mine: str, filled: bool) -> None:
    cluster = Cluster([v4("p", "10.244.0.0/16")])
    cluster.create("n", pod_cidrs=networks([mine]))
    assert bool(cluster.allocator.usage(PoolName("p")).filled) is filled
    assert bool(cluster.findings) is filled


def test_a_pool_of_one_block_is_not_filled_by_the_node_it_serves() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    assert cluster.create("n") == networks(["10.0.0.0/24"])
    assert cluster.allocator.usage(PoolName("p")).filled == ()
    assert cluster.findings == []


def test_many_filled_ranges_make_no_long_message() -> None:
    cluster = Cluster([v4("p", *(f"10.{i}.0.0/16" for i in range(128, 192)))], [GIANT])
    cluster.create("w")
    message = cluster.refusals[NodeName("w")].message
    assert "of node giant (and 63 more ranges like it)" in message
    assert len(message) < 400
    (found,) = cluster.findings
    assert "covers all of 10.128.0.0/16 and 63 more ranges of ClusterCIDR p" in found.message


def test_the_family_that_is_filled_is_the_one_that_is_named() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/22", 24, "fd00::/112", 120)])
    cluster.create("giant", pod_cidrs=networks(["fd00::/64"]))
    cluster.create("w")
    assert "all of fd00::/112 lies in fd00::/64 of node giant" in cluster.refusals[NodeName("w")].message


@pytest.mark.parametrize(
    ("exclude", "reserved", "says"),
    [
        pytest.param(
            ("10.0.0.0/22",), (), "the exclusion 10.0.0.0/22 of ClusterCIDR p", id="its own exclusion"
        ),
        pytest.param((), ("10.0.0.0/16",), "servicecidr/kubernetes 10.0.0.0/16", id="a service range"),
    ],
)
def test_what_is_kept_back_whole_is_named_as_well(
    exclude: tuple[str, ...], reserved: tuple[str, ...], says: str
) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22", exclude=exclude)])
    cluster.allocator.set_reserved("servicecidr/kubernetes", networks(reserved))
    cluster.create("w")
    message = cluster.refusals[NodeName("w")].message
    assert f"all of 10.0.0.0/22 lies in {says}" in message
    assert "separate the range from it" in message


def test_for_a_pool_being_deleted_the_remedy_is_one_that_helps() -> None:
    cluster = Cluster([v4("small", "10.0.0.0/24")])
    cluster.create("holder")
    cluster.delete_pool("small")
    cluster.create("w")
    refusal = cluster.refusals[NodeName("w")]
    assert refusal.reason is RefusalReason.DRAINED
    assert "spec.disabled" not in refusal.message
    assert refusal.message.endswith(
        "; create another that matches the node (it may have the ranges of small, under another name)"
    )
