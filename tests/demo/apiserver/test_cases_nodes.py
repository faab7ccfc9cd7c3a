"""Acceptance cases about what a kube-apiserver allows in spec.podCIDRs of a Node."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.http import Http, http
from tests.ipam.cases import Case, case_id, of_groups

NODES = "/api/v1/nodes"


@pytest.fixture
async def api() -> AsyncIterator[Http]:
    async with ApiServer() as server, http(server) as client:
        yield client


def spec(pod_cidrs: list[str]) -> dict[str, object]:
    return {"podCIDR": pod_cidrs[0], "podCIDRs": pod_cidrs} if pod_cidrs else {}


@pytest.mark.parametrize("case", of_groups("node_api"), ids=case_id)
async def test_pod_cidrs_are_given_once_and_at_most_one_of_a_family(case: Case, api: Http) -> None:
    given, accepts = case["given"], case["expect"]["api_accepts"]
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n"},
        "spec": spec(given["old_podCIDRs"]),
    }
    assert (await api("POST", NODES, node)).status == 201
    reply = await api.patch(f"{NODES}/n", {"spec": spec(given["new_podCIDRs"])})
    assert reply.status == (200 if accepts else 422)
    after = (await api("GET", f"{NODES}/n")).body["spec"]
    assert after.get("podCIDRs", []) == given["new_podCIDRs" if accepts else "old_podCIDRs"]
