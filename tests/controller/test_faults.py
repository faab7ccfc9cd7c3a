"""Writes whose answer is lost, refused or late: one node, one block, always."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodeipam_ctl.controller import retries
from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.controller.harness import Cluster, eventually

ONE_BLOCK = {"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24}


def patch_fault(effect: Effect, **given: Any) -> Fault:
    """A fault of the Node patches."""
    return Fault(effect=effect, verb="patch", resource="nodes", subresource="", **given)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            patch_fault(Effect.CUT_AFTER, times=1), id="it took effect, then the connection was cut"
        ),
        pytest.param(
            patch_fault(Effect.CUT_BEFORE, times=1),
            id="the connection was cut before it took effect",
        ),
        pytest.param(patch_fault(Effect.REFUSE, status=500, times=2), id="an internal error, twice"),
        pytest.param(patch_fault(Effect.REFUSE, status=503, times=1), id="the server was busy"),
        pytest.param(patch_fault(Effect.REFUSE, status=409, times=1), id="the server lost a race of its own"),
    ],
)
async def test_a_lost_patch_neither_leaks_nor_doubles_a_block(cluster: Cluster, fault: Fault) -> None:
    await cluster.pool(ipv4=ONE_BLOCK)
    cluster.api.faults.add(fault)
    async with cluster.controller() as running:
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.0.0/24"]
        await cluster.node("second")
        assert "default" in await cluster.told("CIDRNotAvailable", about="second")
        assert await cluster.cidrs("second") == []
        assert running.metric("nodeipam_node_patches_total", outcome="bound") == 1


async def test_429_is_tried_again_no_sooner_than_the_server_asks(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE_BLOCK)
    cluster.api.faults.add(patch_fault(Effect.REFUSE, status=429, retry_after_s=1, times=1))
    async with cluster.controller():
        began = asyncio.get_running_loop().time()
        await cluster.node("first")
        await cluster.served("first")
        assert asyncio.get_running_loop().time() - began >= 1.0


async def test_while_the_outcome_is_unknown_the_block_stays_reserved(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE_BLOCK)
    cut = cluster.api.faults.add(Fault(effect=Effect.CUT_BEFORE, verb="patch", resource="nodes"))
    read = cluster.api.faults.add(
        Fault(effect=Effect.REFUSE, status=500, verb="get", resource="nodes", name="first")
    )
    async with cluster.controller():
        await cluster.node("first")
        await eventually(lambda: cluster.api.faults.hits(read) >= 2)
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        cluster.api.faults.remove(cut)
        cluster.api.faults.remove(read)
        assert await cluster.served("first") == ["10.244.0.0/24"]
        assert await cluster.cidrs("second") == []


async def test_a_recreated_node_never_gets_the_patch_of_its_predecessor(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24}, reuseDelay="1h")
    late = cluster.api.faults.add(patch_fault(Effect.DELAY, delay_s=0.4, times=1))
    async with cluster.controller():
        await cluster.node("phoenix")
        await eventually(lambda: cluster.api.faults.hits(late) == 1)
        await cluster.delete("/api/v1/nodes/phoenix")
        await cluster.node("phoenix")
        # The first block rests after the first object, whose patch arrives late and must fail.
        assert await cluster.served("phoenix") == ["10.244.1.0/24"]


async def test_a_node_deleted_while_its_patch_waits_gives_its_block_back(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE_BLOCK)
    refused = cluster.api.faults.add(patch_fault(Effect.REFUSE, status=500, name="first"))
    async with cluster.controller():
        await cluster.node("first")
        await eventually(lambda: cluster.api.faults.hits(refused) >= 1)
        await cluster.delete("/api/v1/nodes/first")
        await cluster.node("second")
        assert await cluster.served("second") == ["10.244.0.0/24"]


async def test_podcidrs_set_by_another_allocator_are_adopted_and_reported(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24})
    late = cluster.api.faults.add(patch_fault(Effect.DELAY, delay_s=0.3, times=1))
    async with cluster.controller() as running:
        await cluster.node("contended")
        await eventually(lambda: cluster.api.faults.hits(late) == 1)
        await cluster.patch(
            "/api/v1/nodes/contended", {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}
        )
        await eventually(lambda: running.metric("nodeipam_conflicts_total", code="SecondAllocator") == 1)
        await cluster.node("next")
        assert await cluster.served("next") == ["10.244.0.0/24"]


async def test_a_patch_that_the_server_refuses_is_told_and_keeps_its_block(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE_BLOCK)
    cluster.api.faults.add(patch_fault(Effect.REFUSE, status=422, name="unlucky"))
    async with cluster.controller():
        await cluster.node("unlucky")
        assert "10.244.0.0/24" in await cluster.told("CIDRAssignmentFailed", about="unlucky")
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        assert await cluster.cidrs("second") == []


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_a_node_whose_patch_is_refused_for_a_moment_is_served_soon_and_was_told_once(
    cluster: Cluster, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.05)
    await cluster.pool(ipv4=ONE_BLOCK)
    refused = cluster.api.faults.add(patch_fault(Effect.REFUSE, status=status, name="unlucky", times=4))
    async with cluster.controller() as running:
        await cluster.node("unlucky")
        assert await cluster.served("unlucky", within_s=5) == ["10.244.0.0/24"]
        assert cluster.api.faults.hits(refused) == 4
        assert "webhook" in await cluster.told("CIDRAssignmentFailed", about="unlucky")
        assert [e["count"] for e in await cluster.events("CIDRAssignmentFailed")] == [1]
        assert running.metric("nodeipam_node_patches_total", outcome="refused") == 4


async def test_one_slow_patch_does_not_hold_up_the_others(cluster: Cluster) -> None:
    await cluster.pool()
    cluster.api.faults.add(patch_fault(Effect.HANG, name="slow", times=1))
    async with cluster.controller():
        await cluster.node("slow")
        for i in range(40):
            await cluster.node(f"fast-{i}")
        await cluster.all_served(40)
        assert await cluster.cidrs("slow") == []


async def test_a_watch_that_expires_is_listed_again_and_nothing_is_lost(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/22"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("kept")
        await cluster.node("lost")
        await cluster.all_served(2)
        cluster.api.faults.stall_watches("nodes")
        await cluster.delete("/api/v1/nodes/lost")
        await cluster.node("new-1")
        await cluster.node("new-2")
        cluster.api.store.compact()
        cluster.api.faults.resume_watches("nodes")
        cluster.api.faults.cut_watches("nodes")
        found = await cluster.all_served(3)
        assert len({cidrs[0] for cidrs in found.values()}) == 3
