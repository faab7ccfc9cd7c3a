from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import permutations

import pytest

from nodeipam_ctl.ipam import decider, eligibility
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.model import Node, NodeName, NodeUID, PoolName, RefusalReason, StaticBlock, Verdict
from tests.ipam.cases import networks, selector
from tests.ipam.cluster import Cluster
from tests.ipam.clustercidrs import dual, got, v4


def test_decisions_do_not_depend_on_the_order_of_nodes_or_pools() -> None:
    pools = [v4("a", "10.0.0.0/23"), v4("b", "10.1.0.0/24"), v4("c", "10.2.0.0/22")]
    nodes = [Node(name=NodeName(f"n{i}"), uid=NodeUID(f"u{i}"), created_s=float(i % 2)) for i in range(4)]
    answers = set()
    for order in permutations(range(4)):
        allocator = Allocator()
        allocator.set_pools([pools[i] for i in order if i < 3])
        answers.add(tuple(allocator.decide([nodes[i] for i in order], now=0.0)))
    assert len(answers) == 1


def test_a_static_block_waits_for_its_node_and_for_no_other() -> None:
    static = (StaticBlock(node=NodeName("edge"), cidrs=networks(["10.0.0.0/24"])),)
    cluster = Cluster([v4("p", "10.0.0.0/23", static=static)])
    assert cluster.create("a") == got("10.0.1.0/24")
    assert cluster.create("b") == ()
    assert cluster.create("edge") == got("10.0.0.0/24")
    cluster.delete("edge")
    cluster.turn()
    assert cluster.nodes[NodeName("b")].pod_cidrs == (), "it is still promised to edge"


def test_a_static_block_that_somebody_holds_is_said_so() -> None:
    static = (StaticBlock(node=NodeName("edge"), cidrs=networks(["10.0.0.0/24"])),)
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    cluster.create("a")
    cluster.set_pool(v4("p", "10.0.0.0/23", static=static))
    assert cluster.create("edge") == ()
    assert "static block 10.0.0.0/24 is held by node a" in cluster.refusals[NodeName("edge")].message


def test_an_exclusion_holds_for_every_pool() -> None:
    cluster = Cluster(
        [v4("a", "10.0.0.0/22", exclude=("10.0.0.0/24",), disabled=True), v4("b", "10.0.0.0/23")]
    )
    assert cluster.create("n") == got("10.0.1.0/24")
    findings = cluster.allocator.set_pools(cluster.pools.values())
    assert {f.code for f in findings} == {"ExcludedElsewhere", "OverlappingClusterCIDRs"}


def test_a_node_address_inside_a_range_is_never_handed_out() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    assert cluster.create("a", internal_ips=(ip_address("10.0.0.7"),)) == got("10.0.1.0/24")
    cluster.delete("a")
    assert cluster.create("b") == got("10.0.0.0/24")


def test_a_shrunk_range_leaves_orphans_that_are_taken_up_again_when_it_returns() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", "10.0.1.0/24")])
    cluster.create("a")
    cluster.create("b")
    b = cluster.nodes[NodeName("b")].uid
    cluster.set_pool(v4("p", "10.0.0.0/24"))
    assert cluster.allocator.pool_of(b) == ""
    assert cluster.allocator.usage(PoolName("p")).nodes == 1
    assert cluster.create("c") == ()
    cluster.set_pool(v4("p", "10.0.0.0/22"))
    assert cluster.allocator.pool_of(b) == "p"
    cluster.turn()
    assert cluster.nodes[NodeName("c")].pod_cidrs == got("10.0.2.0/24")


def test_waiting_nodes_are_served_in_order_of_arrival_as_soon_as_there_is_room() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.create("first")
    for name in ("x", "b", "a"):
        assert cluster.create(name) == ()
    assert [node.name for node, _ in cluster.allocator.waiting()] == ["x", "b", "a"]
    assert cluster.allocator.usage(PoolName("p")).waiting == 3
    assert not cluster.allocator.has_due()
    cluster.set_pool(v4("p", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"))
    cluster.turn()
    assert cluster.nodes[NodeName("x")].pod_cidrs == got("10.0.1.0/24")
    assert cluster.nodes[NodeName("b")].pod_cidrs == got("10.0.2.0/24")
    assert cluster.allocator.usage(PoolName("p")).waiting == 1


def test_a_label_or_annotation_that_changes_makes_a_waiting_node_due() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24", selector=selector([{"key": "a", "operator": "Exists"}]))])
    assert cluster.create("n") == ()
    assert cluster.refusals[NodeName("n")].reason is RefusalReason.NO_MATCH
    cluster.observe(replace(cluster.nodes[NodeName("n")], labels={"a": ""}))
    assert cluster.allocator.has_due()
    cluster.turn()
    assert cluster.nodes[NodeName("n")].pod_cidrs


def test_a_node_re_created_under_its_name_is_another_node() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23")])
    cluster.create("a")
    again = Node(name=NodeName("a"), uid=NodeUID("another"), created_s=cluster.now)
    assert cluster.observe(again).wants, "the deletion was not seen: the new uid says it"
    cluster.turn()
    assert cluster.nodes[NodeName("a")].pod_cidrs == got("10.0.1.0/24")
    assert cluster.used() == set(got("10.0.1.0/24"))


def test_an_old_event_without_pod_cidrs_changes_nothing() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.create("a")
    observed = cluster.allocator.observe(replace(cluster.nodes[NodeName("a")], pod_cidrs=()), cluster.now)
    assert not observed.wants
    assert cluster.used() == set(got("10.0.0.0/24"))


def test_a_node_being_deleted_without_pod_cidrs_is_left_alone() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.register("a", deleting=True)
    assert cluster.decide() == []


@pytest.mark.parametrize(
    ("annotations", "reason", "says"),
    [
        pytest.param(
            {"cluster-cidr": "x"}, RefusalReason.PIN_UNKNOWN, "ClusterCIDR x", id="pinned to a name unknown"
        ),
        pytest.param(
            {"ipv4-mask-size": "no"}, RefusalReason.BAD_ANNOTATION, "'no'", id="a mask size that is no number"
        ),
        pytest.param(
            {"ipv4-mask-size": "31"}, RefusalReason.BAD_ANNOTATION, "9 to 30", id="a mask size out of bounds"
        ),
        pytest.param(
            {"ipv4-mask-size": "8"}, RefusalReason.BAD_ANNOTATION, "9 to 30", id="larger than a page's blocks"
        ),
        pytest.param(
            {"ipv4-mask-size": "20"}, RefusalReason.FULL, "holds a whole /20", id="a block too large"
        ),
        pytest.param(
            {"cluster-cidr": "off"}, RefusalReason.DRAINED, "spec.disabled", id="pinned to a disabled one"
        ),
    ],
)
def test_annotations_that_cannot_be_followed_are_refused_with_the_remedy(
    annotations: dict[str, str], reason: RefusalReason, says: str
) -> None:
    cluster = Cluster([v4("p", "10.0.0.0/23"), v4("off", "10.1.0.0/24", disabled=True)])
    assert cluster.create("n", annotations={f"nodeipam.dev/{k}": v for k, v in annotations.items()}) == ()
    refusal = cluster.refusals[NodeName("n")]
    assert refusal.reason is reason
    assert says in refusal.message
    assert "; " in refusal.message
    assert "\n" not in refusal.message
    assert {looked.pool for looked in refusal.considered} == {"p", "off"}, "explain shows every pool"


def test_a_pin_and_mask_sizes_are_followed() -> None:
    cluster = Cluster([v4("a", "10.0.0.0/24", priority=5), dual("b", "10.1.0.0/16", 24, "fd00::/48", 64)])
    annotations = {
        "nodeipam.dev/cluster-cidr": "b",
        "nodeipam.dev/ipv4-mask-size": "22",
        "nodeipam.dev/ipv6-mask-size": "/60",
    }
    assert cluster.create("n", annotations=annotations) == got("10.1.0.0/22", "fd00::/60")
    assert cluster.create("m", annotations={"nodeipam.dev/cluster-cidr": "b"}) == got(
        "10.1.4.0/24", "fd00:0:0:10::/64"
    )


def test_every_pool_is_named_with_the_rule_that_decided() -> None:
    cluster = Cluster(
        [
            v4("full", "10.0.0.0/24", priority=9),
            v4("chosen", "10.1.0.0/24", priority=5),
            v4("later", "10.2.0.0/24"),
            v4("off", "10.3.0.0/24", disabled=True),
            v4("other", "10.4.0.0/24", selector=selector([{"key": "a", "operator": "Exists"}])),
            v4("broken", "10.5.0.0/24", mask=16),
        ]
    )
    cluster.create("first")
    cluster.register("n")
    (decision,) = cluster.decide()
    assert {c.pool: (c.verdict, c.rule) for c in decision.considered} == {
        "full": (Verdict.FULL, "no free IPv4 block of /24"),
        "chosen": (Verdict.CHOSEN, "higher priority"),
        "later": (Verdict.NOT_REACHED, "last of those that match"),
        "off": (Verdict.DISABLED, "spec.disabled is true"),
        "other": (Verdict.NOT_MATCHING, "selector a does not match"),
        "broken": (
            Verdict.INVALID,
            "a node block of /16 is larger than the range 10.5.0.0/24; use a nodeMaskSize of 24 or more",
        ),
    }


def test_a_refusal_names_the_pools_their_free_blocks_and_the_remedy() -> None:
    cluster = Cluster([dual("p", "10.0.0.0/24", 24, "fd00::/118", 120)])
    cluster.create("a")
    cluster.create("b")
    assert cluster.refusals[NodeName("b")].message == (
        "no podCIDR is free: p: no free IPv4 block of /24 (IPv4 0 of 1 free, IPv6 3 of 4 free); "
        "append a range to ClusterCIDR p, create another that matches the node, or delete nodes that are gone"
    )


def test_a_changed_mask_applies_to_new_nodes_and_the_cursor_goes_on() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/16")])
    cluster.create("a")
    cluster.set_pool(v4("p", "10.0.0.0/16", mask=26))
    assert cluster.create("b") == got("10.0.1.0/26")
    cluster.set_pool(v4("p", "10.0.0.0/16", mask=22))
    assert cluster.create("c") == got("10.0.4.0/22")


def test_next_fit_goes_through_the_ranges_in_the_order_of_the_object() -> None:
    cluster = Cluster([v4("p", "10.9.0.0/24", "10.0.0.0/23", "10.5.0.0/24")])
    assert [cluster.create(n)[0] for n in "abcd"] == [
        *got("10.9.0.0/24", "10.0.0.0/24", "10.0.1.0/24", "10.5.0.0/24")
    ]
    cluster.delete("c")
    cluster.delete("a")
    assert cluster.create("e") == got("10.9.0.0/24"), "it wraps to the first range"


def test_a_status_write_to_a_pool_changes_nothing() -> None:
    cluster = Cluster([v4("p", "10.0.0.0/24")])
    cluster.create("a")
    cluster.create("waits")
    pool, version = cluster.allocator.tenancy.pools[PoolName("p")], cluster.allocator.version
    cluster.set_pool(replace(cluster.pools[PoolName("p")], resource_version="9", finalizers=("x",)))
    cluster.allocator.set_reserved("servicecidr/x", ())
    assert cluster.allocator.tenancy.pools[PoolName("p")] is pool
    assert cluster.allocator.version == version, "no waiting node is looked at again"


def test_a_pool_that_changes_leaves_the_counts_of_the_others_alone() -> None:
    cluster = Cluster([v4("a", "10.0.0.0/22"), v4("b", "10.1.0.0/22")])
    before = cluster.allocator.tenancy.pools[PoolName("a")]
    cluster.set_pool(v4("b", "10.1.0.0/22", disabled=True))
    assert cluster.allocator.tenancy.pools[PoolName("a")] is before


def test_what_is_remembered_of_answers_does_not_grow_with_the_nodes_that_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (eligibility, decider):
        monkeypatch.setattr(module, "MANY_ANSWERS", 5)
    allocator = Allocator()
    allocator.set_pools([v4("p", "10.0.0.0/16", selector=selector([{"key": "k", "operator": "Exists"}]))])
    for i in range(50):
        node = Node(name=NodeName(f"n{i}"), uid=NodeUID(f"u{i}"), labels={"k": str(i)})
        allocator.decide([node], now=0.0)
        allocator.forget(node.uid, now=0.0)
    assert len(allocator._decider._considered) <= 5
    assert len(allocator._decider._eligibility._answers) <= 5
