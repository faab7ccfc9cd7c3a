"""`nodeipam-ctl explain`: the state, the order, the rules, and what would happen now; and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.cli.conftest import GPU, Operator
from tests.controller.harness import PAGES, POOLS, condition, eventually
from tests.ipam.cases import Case, case_id, of_groups

Golden = Callable[[str, str], None]


async def test_shows_state_order_rules_and_outcome(operator: Operator, golden: Golden) -> None:
    await operator.cluster.pool()
    await operator.cluster.pool("gpu", ipv4={"cidrs": ["10.9.0.0/24"], "nodeMaskSize": 24}, nodeSelector=GPU)
    await operator.serve("gpu-1", "gpu-2", labels={"gpu": "a100"})
    said = await operator("explain", "gpu-2")
    assert (said.code, said.err) == (0, "")
    golden("explain", said.out)


async def test_data_says_what_the_table_says(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.serve("worker-1")
    as_json = json.loads((await operator("explain", "worker-1", "-o", "json")).out)
    assert yaml.safe_load((await operator("explain", "worker-1", "-o", "yaml")).out) == as_json
    assert as_json["podCIDRs"] == ["10.244.0.0/24", "fd00:10:244::/64"]
    assert as_json["clusterCIDR"] == "default"
    assert [line["state"] for line in as_json["ledger"]] == ["Bound", "Bound"]
    assert as_json["now"]["keeps"] is True
    assert as_json["considered"][0] | {"free": ""} == {
        "order": 1,
        "clusterCIDR": "default",
        "placedBy": "the only one that matches",
        "verdict": "chosen",
        "rule": "the only one that matches",
        "free": "",
    }


async def test_a_waiting_node_learns_why_and_what_to_do(operator: Operator) -> None:
    await operator.cluster.pool(nodeSelector=GPU)
    await operator.cluster.node("worker-1")
    answer = json.loads((await operator("explain", "worker-1", "-o", "json")).out)
    assert answer["now"]["wouldGet"] == []
    assert "no ClusterCIDR matches the node" in answer["now"]["outcome"]
    assert "label the node" in answer["now"]["outcome"]


async def test_a_node_being_deleted_learns_what_it_would_get_when_it_comes_back(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24})
    await operator.cluster.node("worker-1", pod_cidrs=("10.244.0.0/24",), finalizers=["example.com/drain"])
    await operator.cluster.delete("/api/v1/nodes/worker-1")
    said = await operator("explain", "worker-1")
    assert "registered again it would get 10.244.0.0/24 from ClusterCIDR default" in said.out


async def test_nodes_that_came_earlier_are_served_first(operator: Operator) -> None:
    await operator.cluster.pool(ipv4={"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24})
    await operator.cluster.node("first")
    await operator.cluster.node("second")
    outcome = {
        name: json.loads((await operator("explain", name, "-o", "json")).out)["now"]["wouldGet"]
        for name in ("first", "second")
    }
    assert outcome == {"first": ["10.244.0.0/24"], "second": []}


async def test_beside_another_allocator_it_is_said_that_ours_gives_nothing(operator: Operator) -> None:
    cluster = operator.cluster
    await cluster.pool()
    await cluster.node("waiting")
    await cluster.node("served", pod_cidrs=("10.244.7.0/24", "fd00:10:244:7::/64"))
    async with cluster.controller(allocate=False):
        ready = await eventually(lambda: _ready(operator))
        assert (ready["status"], ready["reason"]) == ("False", "NotAllocating")
    said = (await operator("explain", "waiting")).out
    assert "the controller runs with --no-allocate" in said
    assert "it gets" not in said
    assert "if the controller allocated, it would get 10.244.0.0/24, fd00:10:244::/64" in said
    said = (await operator("explain", "served")).out
    assert "it keeps its podCIDRs" in said
    assert "if the controller allocated, registered again it would get" in said
    answer = json.loads((await operator("explain", "waiting", "-o", "json")).out)
    assert answer["now"]["allocates"] is False
    remedies = {
        f["code"]: f["remedy"] for f in json.loads((await operator("audit", "-o", "json")).out)["findings"]
    }
    assert "see to the allocator that does serve nodes" in remedies["NotServed"]
    async with cluster.controller():
        await cluster.served("waiting")
        await eventually(lambda: _ready(operator, holds="True"))
    assert json.loads((await operator("explain", "waiting", "-o", "json")).out)["now"]["allocates"] is True


async def test_an_unknown_node_is_one_line_with_near_matches(operator: Operator) -> None:
    await operator.cluster.node("worker-1")
    said = await operator("explain", "wroker-1")
    assert (said.code, said.out) == (1, "")
    assert said.err == "nodeipam-ctl: node 'wroker-1' does not exist; did you mean worker-1?\n"


async def test_reads_only(operator: Operator) -> None:
    await operator.cluster.pool()
    await operator.cluster.node("worker-1")
    before = [await operator.cluster.get(path) for path in ("/api/v1/nodes", POOLS, PAGES)]
    for command in (["explain", "worker-1"], ["audit"], ["plan"], ["import", "--cluster-cidr=10.244.0.0/16"]):
        await operator(*command)
    assert [await operator.cluster.get(path) for path in ("/api/v1/nodes", POOLS, PAGES)] == before


async def test_hostile_text_cannot_command_the_terminal(operator: Operator) -> None:
    await operator.cluster.pool()
    evil = "x\x1b]0;owned\x07\u202e\r\nerror: all is well"
    await operator.cluster.node("worker-1", annotations={"nodeipam.dev/cluster-cidr": evil})
    for form in ("table", "json", "yaml"):
        said = await operator("explain", "worker-1", "-o", form)
        assert not {c for c in said.out if not c.isprintable()} - {"\n"}
        assert "\nerror: all is well" not in said.out
    assert "x\\x1b]0;owned\\x07\\u202e\\x0d\\x0aerror" in (await operator("explain", "worker-1")).out


@pytest.mark.parametrize("case", of_groups("selection_order"), ids=case_id)
async def test_the_order_is_the_one_of_the_acceptance_cases(operator: Operator, case: Case) -> None:
    given = case["given"]
    for one in given["cluster_cidrs"]:
        await operator.cluster.pool(one["name"], **_spec(one))
    await operator.cluster.node("worker-1", labels=given["node"].get("labels") or {})
    answer = json.loads((await operator("explain", "worker-1", "-o", "json")).out)
    placed = [one["clusterCIDR"] for one in answer["considered"] if one["order"]]
    assert placed == case["expect"]["order"]


async def _ready(operator: Operator, *, holds: str = "") -> Case:
    found = condition(await operator.cluster.status(), "Ready")
    return found if not holds or found.get("status") == holds else {}


def _spec(given: Case) -> Case:
    spec: dict[str, Any] = {}
    for field, bits in (("ipv4", 32), ("ipv6", 128)):
        if given.get(field):
            spec[field] = {"cidrs": [given[field]], "nodeMaskSize": bits - given["perNodeHostBits"]}
    if "priority" in given:
        spec["priority"] = given["priority"]
    if given.get("match") is not None:
        spec["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": given["match"]}]}
    return spec
