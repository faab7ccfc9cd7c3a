from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import permutations

import pytest

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    FamilySpec,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    RefusalReason,
    Retain,
    StaticBlock,
    Verdict,
)
from nodeipam_ctl.prefixes import Family, Network
from tests.ipam.cases import network, networks, selector
from tests.ipam.cluster import Cluster


def v4(
    name: str, *cidrs: str, mask: int = 24, exclude: tuple[str, ...] = (), **fields: object
) -> ClusterCIDR:
    spec = FamilySpec(cidrs=networks(cidrs), node_mask_size=mask, exclude=networks(exclude))
    made = ClusterCIDR(name=PoolName(name), families={Family.IPV4: spec}, reuse_delay_s=0.0)
    return replace(made, **fields)  # type: ignore[arg-type]  # fields by name


def dual(name: str, four: str, mask4: int, six: str, mask6: int) -> ClusterCIDR:
    families = {
        Family.IPV4: FamilySpec(cidrs=networks([four]), node_mask_size=mask4),
        Family.IPV6: FamilySpec(cidrs=networks([six]), node_mask_size=mask6),
    }
    return ClusterCIDR(name=PoolName(name), families=families, reuse_delay_s=0.0)


def got(*texts: str) -> tuple[Network, ...]:
    return networks(texts)


def test_decisions_do_not_depend_on_the_order_of_nodes_or_pools() -> None:
    pools = [v4("a", "10.0.0.0/23"), v4("b", "10.1.0.0/24"), v4("c", "10.2.0.0/22")]
    nodes = [Node(name=NodeName(f"n{i}"), uid=NodeUID(f"u{i}"), created_s=float(i % 2)) for i in range(4)]
    answers = set()
    for order in permutations(range(4)):
        allocator = Allocator()
        allocator.set_pools([pools[i] for i in order if i < 3])
        answers.add(tuple(allocator.decide([nodes[i] for i in order], now=0.0)))
    assert len(answers) == 1


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
            {"ipv4-mask-size": "20"}, RefusalReason.FULL, "no free IPv4 block of /20", id="a block too large"
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
