from __future__ import annotations

from dataclasses import replace

import pytest

from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.ipam.explain import explain
from nodeipam_ctl.ipam.forecast import World
from nodeipam_ctl.model import LedgerEntry, LedgerState, Node, NodeName, NodeUID, PoolName, Severity
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import network, networks
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, v4


@pytest.mark.parametrize("giant", ["0.0.0.0/0", "10.0.0.0/8", "8.0.0.0/5", "::/0", "fd00::/8", "fd00::/32"])
def test_a_podcidr_larger_than_any_ledger_page_holds_back_nothing_from_the_others(giant: str) -> None:
    cluster = Cluster([dual("p", "10.0.0.0/22", 24, "fd00::/112", 120)])
    cluster.create("giant", pod_cidrs=networks([giant]))
    (found,) = cluster.findings
    assert (found.severity, found.code, found.subject) == (Severity.ERROR, "ImpossiblePodCIDR", "node/giant")
    assert giant in found.message
    assert "delete and re-create the Node" in found.remedy
    assert cluster.create("n") == networks(["10.0.0.0/24", "fd00::/120"])
    usage = cluster.allocator.usage(PoolName("p")).families
    assert [usage[family].allocated for family in Family] == [1, 1]
    released = cluster.delete("giant")
    assert released is not None
    assert released.blocks == ()


def test_a_node_with_such_a_podcidr_is_served_already_and_gets_nothing_beside_it() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    shown = cluster.register("giant", pod_cidrs=networks(["0.0.0.0/0"]))
    assert cluster.decide() == []
    assert cluster.allocator.decide([shown], cluster.now) == []
    assert cluster.observe(replace(shown, pod_cidrs=())).wants is False, "an old event"
    assert cluster.allocator.lines(shown.uid) == ()
    line = LedgerEntry(
        cidr=network("10.0.0.0/24"), state=LedgerState.BOUND, node=shown.name, node_uid=shown.uid
    )
    assert cluster.allocator.adopt([line], cluster.now) == (line,), "a promise it did not take"


def test_of_two_podcidrs_the_one_that_can_be_one_counts() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/22", 24, "fd00::/112", 120)])
    both = networks(["10.0.0.0/8", "fd00::/120"])
    shown = cluster.register("giant", pod_cidrs=both)
    assert cluster.allocator.held_by(shown.uid) == networks(["fd00::/120"])
    cluster.findings.clear()
    cluster.observe(replace(shown, labels={"a": "b"}))
    assert cluster.findings == [], "told once"
    assert cluster.create("n") == networks(["10.0.0.0/24", "fd00::100/120"])


def test_a_ledger_line_that_no_page_can_hold_is_not_believed() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    line = LedgerEntry(
        cidr=network("10.0.0.0/8"), state=LedgerState.BOUND, node=NodeName("x"), node_uid=NodeUID("x")
    )
    assert cluster.allocator.adopt([line], cluster.now) == (line,)
    assert cluster.create("n") == networks(["10.0.0.0/24"])


@pytest.mark.parametrize(
    ("cidr", "word"),
    [
        pytest.param("127.1.0.0/24", "loopback", id="loopback"),
        pytest.param("169.254.8.0/24", "link-local", id="link-local"),
        pytest.param("239.1.2.0/24", "multicast", id="multicast"),
        pytest.param("0.0.0.0/24", "unspecified", id="this network"),
        pytest.param("::1/128", "loopback", id="loopback, IPv6"),
        pytest.param("fe80:1::/64", "link-local", id="link-local, IPv6"),
        pytest.param("ff02::/64", "multicast", id="multicast, IPv6"),
        pytest.param("::/64", "unspecified", id="unspecified, IPv6"),
    ],
)
def test_a_podcidr_that_is_not_global_unicast_is_an_error_of_its_node(cidr: str, word: str) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    cluster.create("odd", pod_cidrs=networks([cidr]))
    (found,) = cluster.findings
    assert (found.severity, found.code, found.subject) == (Severity.ERROR, "ImpossiblePodCIDR", "node/odd")
    assert f"{cidr} is {word} space" in found.message
    assert cluster.create("n") == networks(["10.0.0.0/24"])


@pytest.mark.parametrize(
    "cidr", ["240.0.0.0/24", "100.64.0.0/24", "192.168.0.0/16", "1.0.0.0/9", "2001:db8::/64"]
)
def test_an_ordinary_podcidr_is_no_trouble(cidr: str) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/22")])
    cluster.create("fine", pod_cidrs=networks([cidr]))
    assert cluster.findings == []


def test_audit_and_explain_name_the_node_and_the_remedy() -> None:
    giant = Node(name=NodeName("giant"), uid=NodeUID("g"), pod_cidrs=networks(["10.0.0.0/8"]))
    waiting = Node(name=NodeName("w"), uid=NodeUID("w"), created_s=1.0)
    world = World(pools=(v4("p", "10.0.0.0/22"),), nodes=(giant, waiting))
    found = audit(world, (), now=2.0)
    assert [(f.code, f.subject, f.severity) for f in found] == [
        ("ImpossiblePodCIDR", "node/giant", Severity.ERROR)
    ]
    assert [f.code for f in explain(world, giant, now=2.0).findings] == ["ImpossiblePodCIDR"]
    assert explain(world, waiting, now=2.0).outcome == "10.0.0.0/24 from ClusterCIDR p"


def test_a_clustercidr_whose_blocks_no_page_holds_is_invalid() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/8", mask=8)])
    assert cluster.create("n") == ()
    (found,) = cluster.allocator.set_pools(cluster.pools.values())
    assert (found.code, found.remedy) == ("InvalidClusterCIDR", "use a nodeMaskSize of 9 or more")
