"""What a node that gets nothing is told: the pools, the reason, and a remedy that would help."""

from __future__ import annotations

import pytest

from nodeipam_ctl.model import NodeName, PoolName
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, got, v4

V4, V6 = "nodeipam.dev/ipv4-mask-size", "nodeipam.dev/ipv6-mask-size"


def told(cluster: Cluster, **annotations: str) -> str:
    assert cluster.create("n", annotations={k: v for k, v in annotations.items() if v}) == ()
    return cluster.refusals[NodeName("n")].message


@pytest.mark.parametrize("written", ["20", "/20"])
def test_a_size_that_no_range_holds_is_named_with_its_annotation_and_what_would_fit(written: str) -> None:
    cluster = Cluster([v4("small", "10.0.0.0/24", "10.0.2.0/23"), v4("tiny", "10.9.0.0/26", mask=28)])
    assert told(cluster, **{V4: written}) == (
        "no podCIDR fits: "
        f"small: none of its IPv4 ranges holds a whole /20, which the node's annotation {V4}: 20 asks for (IPv4 3 of 3 free); "
        f"tiny: none of its IPv4 ranges holds a whole /20, which the node's annotation {V4}: 20 asks for (IPv4 4 of 4 free); "
        f"remove the annotation {V4} from the node or set it to 23 or more, "
        "or append a range of at least a /20 to ClusterCIDR small"
    )


def test_the_remedy_works() -> None:
    cluster = Cluster([v4("small", "10.0.0.0/24", "10.0.2.0/23")])
    told(cluster, **{V4: "20"})
    cluster.set_pool(v4("small", "10.0.0.0/24", "10.0.2.0/23", "10.0.16.0/20"))
    cluster.turn()
    assert cluster.nodes[NodeName("n")].pod_cidrs == got("10.0.16.0/20")
    assert cluster.create("other", annotations={V4: "23"}) == got("10.0.2.0/23")


def test_a_size_that_a_range_holds_but_has_no_longer_is_no_reason_to_change_the_annotation() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    cluster.create("first")
    message = told(cluster, **{V4: "23"})
    assert f"no free IPv4 block of /23, which the node's annotation {V4}: 23 asks for" in message
    assert message.endswith("or delete nodes that are gone")


def test_the_second_family_is_named_when_it_is_the_one_that_does_not_fit() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/23", 24, "fd00::/56", 64)])
    message = told(cluster, **{V4: "25", V6: "48"})
    assert f"{V6}: 48 asks for" in message
    assert f"remove the annotation {V6} from the node or set it to 56 or more" in message


def test_a_size_of_a_family_that_nobody_offers_is_taken_no_notice_of() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    assert cluster.create("n", annotations={V6: "48"}) == got("10.0.0.0/24")


def test_a_cluster_cidr_that_makes_no_sense_is_named_instead_of_saying_that_there_is_none() -> None:
    cluster = Cluster()
    cluster.allocator.set_pools(
        [], {PoolName("broken"): "spec.ipv4.cidrs[0]: '10.0.0.1/16' has host bits set"}
    )
    assert told(cluster) == (
        "no ClusterCIDR matches the node: broken: spec.ipv4.cidrs[0]: '10.0.0.1/16' has host bits set; "
        "correct ClusterCIDR broken, or create another"
    )


def test_counts_are_numbers_that_a_person_can_read() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/24", 24, "fd00::/48", 120)])
    cluster.create("holder")
    assert "(IPv4 0 of 1 free, IPv6 ~2^72 of 2^72 free)" in told(cluster)
