"""Acceptance cases about which ClusterCIDR serves a node, and with which block."""

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.eligibility import rank
from nodeipam_ctl.ipam.selectors import canonical, matched_requirements
from nodeipam_ctl.model import (
    Assignment,
    NodeSelector,
    Operator,
    PoolName,
    Requirement,
    SelectorTerm,
)
from nodeipam_ctl.prefixes import family_of
from tests.ipam.cases import Case, case_id, network, networks, node, of_groups, pool, term


def candidate(data: Case) -> tuple[object, ...]:
    """The rank of a candidate that comes with its match count and its selector's text."""
    spec = pool({**data, "match": None})
    made = Requirement(
        key=data["selector"], operator=Operator.EXISTS
    )  # the text of `Exists` is the key itself
    with_text = type(spec)(
        name=spec.name,
        families=spec.families,
        selector=NodeSelector(terms=(SelectorTerm(expressions=(made,)),)),
    )
    assert canonical(with_text.selector) == data["selector"]
    return rank(with_text, data["label_match_count"])


@pytest.mark.parametrize("case", of_groups("priority_pick"), ids=case_id)
def test_candidates_are_ordered(case: Case) -> None:
    ranked = sorted(case["given"]["candidates"], key=candidate)
    assert [c["name"] for c in ranked] == case["expect"]["order"]
    assert ranked[0]["name"] == case["expect"]["winner"]


@pytest.mark.parametrize("case", of_groups("priority_less"), ids=case_id)
def test_one_candidate_comes_before_another(case: Case) -> None:
    given = case["given"]
    assert (candidate(given["a"]) < candidate(given["b"])) == case["expect"]["a_before_b"]


@pytest.mark.parametrize("case", of_groups("selection_order"), ids=case_id)
def test_cluster_cidrs_are_tried_in_order(case: Case) -> None:
    allocator = Allocator()
    allocator.set_pools(pool(data) for data in case["given"]["cluster_cidrs"])
    order = allocator.order(node(case["given"]["node"]))
    assert [place.pool for place in order.places] == case["expect"]["order"]


@pytest.mark.parametrize("case", of_groups("selector_match"), ids=case_id)
def test_a_node_selector_matches_as_core_v1_says(case: Case) -> None:
    given = case["given"]
    selector = NodeSelector(terms=tuple(term(t) for t in given["nodeSelectorTerms"]))
    candidate_node = node(given["node"])
    matched = matched_requirements(selector, name=candidate_node.name, labels=candidate_node.labels)
    assert bool(matched) == case["expect"]["matches"]


@pytest.mark.parametrize("case", of_groups("allocate"), ids=case_id)
def test_a_node_gets_its_pod_cidrs(case: Case) -> None:
    given, expect = case["given"], case["expect"]
    allocator = Allocator()
    allocator.set_pools(pool(data) for data in given["cluster_cidrs"])
    allocator.set_reserved("servicecidr/kubernetes", networks(given.get("service_cidrs") or ()))
    for data in given.get("existing_nodes") or ():
        allocator.observe(node(data), now=0.0)
    for used in given.get("already_used") or ():
        cidr = network(used["cidr"])
        window = allocator.tenancy.pools[PoolName(used["cluster_cidr"])].window(family_of(cidr))
        assert window is not None
        assert window.contains(key_of(cidr))
        allocator.observe(node({"name": f"user-of-{cidr}", "podCIDRs": [str(cidr)]}), now=0.0)
    decisions = allocator.decide([node(given["node"])], now=1.0)
    assert len(decisions) == 1
    assert isinstance(decisions[0], Assignment)
    assert decisions[0].pod_cidrs == networks(expect["podCIDRs"])
    assert expect.get("podCIDR", expect["podCIDRs"][0]) == str(decisions[0].pod_cidrs[0])
    assert decisions[0].pool == expect.get("from_cluster_cidr", decisions[0].pool)
