"""Laws of what an operator is told beforehand: previews, takeovers, groups, shortages."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.ipam.forecast import WhatIf, World, allocator_of, arrival_rate, outlooks, what_if
from nodeipam_ctl.ipam.groups import groups
from nodeipam_ctl.ipam.preview import preview
from nodeipam_ctl.ipam.takeover import ours, same_spec, takeover, without_services
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    FamilySpec,
    Node,
    NodeName,
    NodeSelector,
    NodeUID,
    Operator,
    PoolName,
    Requirement,
    SelectorTerm,
)
from nodeipam_ctl.prefixes import Family, overlaps

NOW = 100_000.0
RANGES = [ip_network(text) for text in ("10.0.0.0/28", "10.0.0.16/28", "10.0.0.0/27", "10.1.0.0/28")]
BLOCKS = [ip_network(f"10.0.0.{4 * i}/30") for i in range(8)] + [ip_network("10.1.0.0/29")]
LABEL = NodeSelector(terms=(SelectorTerm(expressions=(Requirement(key="x", operator=Operator.EXISTS),)),))


def a_pool(name: str, ranges: list[int], mask: int, *, picky: bool, disabled: bool) -> ClusterCIDR:
    spec = FamilySpec(cidrs=tuple(RANGES[i] for i in ranges), node_mask_size=mask)
    return ClusterCIDR(
        name=PoolName(name),
        families={Family.IPV4: spec},
        selector=LABEL if picky else None,
        disabled=disabled,
        reuse_delay_s=0.0,
    )


@st.composite
def pools(draw: st.DrawFn) -> tuple[ClusterCIDR, ...]:
    names = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
    return tuple(
        a_pool(
            name,
            draw(st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True)),
            draw(st.sampled_from([29, 30])),
            picky=draw(st.booleans()),
            disabled=draw(st.booleans()),
        )
        for name in names
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    held = draw(st.lists(st.none() | st.sampled_from(BLOCKS), max_size=6))
    nodes = tuple(
        Node(
            name=NodeName(f"n{i}"),
            uid=NodeUID(f"u{i}"),
            created_s=float(i),
            labels={"x": ""} if draw(st.booleans()) else {},
            pod_cidrs=(block,) if block is not None else (),
        )
        for i, block in enumerate(held)
    )
    return World(pools=draw(pools()), nodes=nodes)


@given(worlds())
def test_applying_what_is_there_changes_nothing(world: World) -> None:
    seen = preview(world, world.pools, None, NOW)
    assert not seen.changes
    assert (seen.appearing, seen.vanishing) == ((), ())
    assert replace(seen.effect, outlooks=()) == WhatIf()
    assert seen.before == seen.effect.outlooks


@given(worlds(), pools())
def test_a_change_and_its_reverse_tell_opposite_things(world: World, wanted: tuple[ClusterCIDR, ...]) -> None:
    there = what_if(world, wanted, NOW)
    back = what_if(replace(world, pools=wanted), world.pools, NOW)
    assert there.orphaned == back.adopted
    assert there.adopted == back.orphaned
    assert {d.node for d in there.served} == set(back.stranded)


@given(worlds(), pools())
def test_what_can_be_taken_over_is_without_conflict_and_there_the_second_time(
    world: World, wanted: tuple[ClusterCIDR, ...]
) -> None:
    found = takeover(replace(world, pools=()), wanted, NOW)
    after = replace(world, pools=tuple(sorted(found.create, key=lambda pool: pool.name)))
    if not found.refusals:
        assert not [f for f in audit(after, None, NOW) if f.code in {"CIDRConflict", "OutsideEveryRange"}]
        assert found.fitting == sum(1 for node in world.nodes if node.pod_cidrs)
    again = takeover(after, wanted, NOW)
    assert not again.create
    assert set(again.present) == {pool.name for pool in wanted}


@given(worlds())
def test_as_many_nodes_of_a_group_fit_as_it_says(world: World) -> None:
    allocator = allocator_of(world, NOW)
    allocator.decide([node for node in world.nodes if not node.pod_cidrs], NOW)
    fits = {outlook.pool: outlook.fits for outlook in outlooks(world, NOW)}
    for group in groups(allocator, world.nodes, fits):
        example = next(node for node in world.nodes if node.name == group.example)
        served = _fill(world, example)
        assert served == group.fits if group.exact else served <= group.fits


@given(worlds())
def test_a_waiting_node_is_named_exactly_when_it_gets_nothing(world: World) -> None:
    wanting = [node for node in world.nodes if not node.pod_cidrs]
    refused = [d for d in allocator_of(world, NOW).decide(wanting, NOW) if not isinstance(d, Assignment)]
    codes = {finding.code for finding in audit(world, None, NOW)}
    assert ("NodeWaiting" in codes) == bool(refused)
    assert ("NotServed" in codes) == (len(refused) < len(wanting))


def test_a_rate_needs_two_nodes_and_an_hour() -> None:
    assert arrival_rate([NOW - 7200], NOW) == 0
    assert arrival_rate([NOW - 60, NOW - 30], NOW) == 0
    assert arrival_rate([NOW - 7200, NOW - 30], NOW) == 1 / 7200
    assert arrival_rate([NOW - 7200, NOW - 30], NOW, window_s=3600) == 0


def test_only_service_ranges_that_reach_into_a_range_are_excluded() -> None:
    inside, outside = ip_network("10.0.0.8/29"), ip_network("10.96.0.0/12")
    made = without_services(a_pool("a", [0], 30, picky=False, disabled=False), [inside, outside])
    assert made.families[Family.IPV4].exclude == (inside,)
    assert not overlaps(outside, RANGES[0])


def test_an_upstream_object_keeps_all_but_its_prefix() -> None:
    upstream = a_pool("networking.x-k8s.io/a", [0], 30, picky=True, disabled=False)
    assert ours(upstream).name == "a"
    assert same_spec(
        replace(ours(upstream), reuse_delay_s=0.0), replace(upstream, name=PoolName("a"), uid="u")
    )


def _fill(world: World, example: Node) -> int:
    """How many more nodes like this one an allocator really serves."""
    allocator: Allocator = allocator_of(world, NOW)
    allocator.decide([node for node in world.nodes if not node.pod_cidrs], NOW)
    for served in range(100):
        more = replace(
            example,
            name=NodeName(f"m{served}"),
            uid=NodeUID(f"v{served}"),
            created_s=NOW + served,
            pod_cidrs=(),
        )
        decisions = [d for d in allocator.decide([more], NOW) if d.uid == more.uid]
        if not isinstance(decisions[0], Assignment):
            return served
    raise AssertionError("ranges of /27 hold no hundred blocks")
