"""Nodes whose podCIDRs collide: when one of them goes, the others get the lines that agents route by."""

from __future__ import annotations

from typing import Any

import pytest

from tests.controller.harness import PAGES, Cluster, eventually


async def _holders(cluster: Cluster) -> dict[str, str]:
    """The node of each Bound line, by block."""
    return {
        entry["cidr"]: entry["node"]
        for page in await cluster.items(PAGES)
        for entry in page.get("entries") or ()
        if entry["state"] == "Bound"
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("10.244.3.0/24", "10.244.3.0/24", id="the same block"),
        pytest.param("10.244.3.0/24", "10.244.3.128/25", id="the one that is left is a part of it"),
        pytest.param("10.244.3.128/25", "10.244.3.0/24", id="the one that is left contains it"),
    ],
)
@pytest.mark.parametrize("options", [{"reuseDelay": "0s"}, {"reuseDelay": "1h"}], ids=str)
async def test_who_is_left_of_a_collision_gets_the_line(
    cluster: Cluster, first: str, second: str, options: dict[str, Any]
) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}, **options)
    async with cluster.controller():
        await cluster.node("early", pod_cidrs=(first,))
        await eventually(lambda: _says(cluster, {first: "early"}))
        await cluster.node("late", pod_cidrs=(second,))
        assert await cluster.told("CIDRConflict", about="late")
        await cluster.delete("/api/v1/nodes/early")
        await eventually(lambda: _says(cluster, {second: "late"}), what="a line for the one that is left")


@pytest.mark.parametrize("allocate", [True, False], ids=["we allocate", "somebody else does, we mirror"])
@pytest.mark.parametrize("again", ["10.244.3.0/24", "10.244.3.128/25", "10.244.2.0/23"])
async def test_a_podcidr_that_rests_is_its_new_nodes_at_once_when_somebody_else_hands_it_out_again(
    cluster: Cluster, again: str, *, allocate: bool
) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}, reuseDelay="1h")
    async with cluster.controller(allocate=allocate):
        await cluster.node("gone", pod_cidrs=("10.244.3.0/24",))
        await eventually(lambda: _says(cluster, {"10.244.3.0/24": "gone"}))
        await cluster.delete("/api/v1/nodes/gone")
        await eventually(lambda: _says(cluster, {}))
        await cluster.node("new", pod_cidrs=(again,))
        await eventually(lambda: _says(cluster, {again: "new"}))
        assert await cluster.told("CIDRReusedEarly", about="new")
        events = await cluster.items("/apis/events.k8s.io/v1/events")
        assert not [event for event in events if event["reason"] == "CIDRConflict"]


async def _says(cluster: Cluster, wanted: dict[str, str]) -> bool:
    return await _holders(cluster) == wanted


@pytest.mark.parametrize("known", [True, False], ids=["range first", "node first"])
async def test_a_node_inside_a_service_range_is_told_whichever_comes_first(
    cluster: Cluster, known: bool
) -> None:
    service = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "late"},
        "spec": {"cidrs": ["10.244.3.0/25"]},
    }
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    async with cluster.controller() as running:
        if known:
            await cluster.create("/apis/networking.k8s.io/v1/servicecidrs", service)
            await eventually(lambda: _excluded(cluster))
        await cluster.node("inside", pod_cidrs=("10.244.3.0/24",))
        await eventually(lambda: _says(cluster, {"10.244.3.0/24": "inside"}))
        if not known:
            await cluster.create("/apis/networking.k8s.io/v1/servicecidrs", service)
        message = await cluster.told("CIDRConflict", about="inside")
        assert "servicecidr/late 10.244.3.0/25" in message
        assert running.metric("nodeipam_conflicts_total", code="CIDRConflict") == 1


async def test_a_node_inside_a_service_range_is_told_after_a_restart(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    await cluster.node("inside", pod_cidrs=("10.96.1.0/24",))
    async with cluster.controller():
        assert "servicecidr/kubernetes 10.96.0.0/16" in await cluster.told("CIDRConflict", about="inside")


async def _excluded(cluster: Cluster) -> bool:
    return ((await cluster.status()).get("ipv4") or {}).get("excluded") == 1
