"""No space left: who is told what, and who is served first when there is space again?"""

from __future__ import annotations

import asyncio

import pytest

from nodeipam_ctl.controller import eventing, reminder
from tests.controller.harness import POOLS, Cluster, condition, eventually

ONE = {"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24}


async def test_the_event_names_the_pool_and_the_status_says_who_waits(cluster: Cluster) -> None:
    await cluster.pool("tiny", ipv4=ONE)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.node("second")
        assert "tiny" in await cluster.told("CIDRNotAvailable", about="second")
        status = await eventually(lambda: _status(cluster, "tiny", waitingNodes=1))
        assert condition(status, "Exhausted")["status"] == "True"
        assert condition(status, "Ready")["reason"] == "Exhausted"
        assert status["ipv4"] == {
            "capacity": 1, "allocated": 1, "resting": 0, "excluded": 0, "free": 0, "usage": "1/1"
        }  # fmt: skip


async def test_a_waiting_node_is_served_at_once_when_a_range_is_appended(cluster: Cluster) -> None:
    await cluster.pool("tiny", ipv4=ONE)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        await cluster.patch(f"{POOLS}/tiny", {"spec": {"ipv4": {"cidrs": ["10.244.0.0/24", "10.9.0.0/24"]}}})
        assert await cluster.served("second", within_s=3) == ["10.9.0.0/24"]


async def test_waiting_nodes_are_served_in_order_of_arrival(cluster: Cluster) -> None:
    await cluster.pool("tiny", ipv4=ONE)
    async with cluster.controller():
        await cluster.node("holder")
        await cluster.served("holder")
        for name in ("zulu", "mike", "alfa"):
            await cluster.node(name)
            await cluster.told("CIDRNotAvailable", about=name)
            await asyncio.sleep(
                1.01
            )  # creationTimestamp, by which the order is kept over restarts, has seconds
        for leaving, served in (("holder", "zulu"), ("zulu", "mike"), ("mike", "alfa")):
            await cluster.delete(f"/api/v1/nodes/{leaving}")
            assert await cluster.served(served) == ["10.244.0.0/24"]


async def test_a_refusal_is_told_once_however_often_it_is_decided(cluster: Cluster) -> None:
    await cluster.pool("tiny", ipv4=ONE)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        for priority in range(1, 6):
            await cluster.patch(f"{POOLS}/tiny", {"spec": {"priority": priority}})
        await eventually(lambda: _generation(cluster, "tiny", 6))
        assert [e["count"] for e in await cluster.events("CIDRNotAvailable")] == [1]


async def test_dual_stack_gets_both_families_or_none(cluster: Cluster) -> None:
    await cluster.pool(
        ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24},
        ipv6={"cidrs": ["fd00::/64"], "nodeMaskSize": 64},
    )
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.node("second")
        assert "IPv6" in await cluster.told("CIDRNotAvailable", about="second")
        assert await cluster.cidrs("second") == []
        status = await eventually(lambda: _status(cluster, "default", waitingNodes=1))
        assert status["ipv4"]["allocated"] == 1


async def test_a_resting_block_is_given_early_when_nothing_else_is_left_and_that_is_told(
    cluster: Cluster,
) -> None:
    await cluster.pool(ipv4=ONE, reuseDelay="1h")
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.delete("/api/v1/nodes/first")
        await cluster.node("second")
        assert await cluster.served("second") == ["10.244.0.0/24"]
        assert "first" in await cluster.told("CIDRReusedEarly", about="second")


@pytest.mark.parametrize(
    ("before", "promised"),
    [
        pytest.param(24, "10.244.0.0/26", id="a part of a block that rests"),
        pytest.param(26, "10.244.0.0/24", id="a block of which parts rest"),
    ],
)
async def test_a_static_block_does_not_wait_for_a_rest_of_another_size(
    cluster: Cluster, before: int, promised: str
) -> None:
    mask = int(promised.partition("/")[2])
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": before}, reuseDelay="1h")
    async with cluster.controller():
        for name in ("first", "second"):
            await cluster.node(name)
            await cluster.served(name)
        for name in ("first", "second"):
            await cluster.delete(f"/api/v1/nodes/{name}")
        await eventually(lambda: _resting(cluster, 2))
        spec = {"ipv4": {"nodeMaskSize": mask}, "static": [{"node": "edge", "ipv4": promised}]}
        await cluster.patch(f"{POOLS}/default", {"spec": spec})
        await eventually(lambda: _generation(cluster, "default", 2))
        await cluster.node("edge")
        assert await cluster.served("edge") == [promised]
        assert "spec.static" in await cluster.told("CIDRReusedEarly", about="edge")


async def test_a_block_rests_for_the_delay_of_its_pool(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24}, reuseDelay="1h")
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.delete("/api/v1/nodes/first")
        await eventually(lambda: _resting(cluster, 1))
        assert (await cluster.status())["ipv4"]["free"] == 1
        await cluster.node("second")
        assert await cluster.served("second") == ["10.244.1.0/24"]


async def _status(cluster: Cluster, pool: str, **wanted: int) -> dict[str, object]:
    status = await cluster.status(pool)
    return status if all(status.get(key) == value for key, value in wanted.items()) else {}


async def _resting(cluster: Cluster, blocks: int) -> bool:
    return bool((await cluster.status()).get("ipv4", {}).get("resting") == blocks)


async def _generation(cluster: Cluster, pool: str, generation: int) -> bool:
    return (await cluster.status(pool)).get("observedGeneration") == generation


async def test_a_node_that_waits_for_long_is_told_again_before_its_event_is_forgotten(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert eventing.TELL_AGAIN_S < reminder.REMIND_S
    assert reminder.REMIND_S + eventing.TELL_AGAIN_S < 3600, "the API server's --event-ttl"
    monkeypatch.setattr(eventing, "TELL_AGAIN_S", 0.4)
    monkeypatch.setattr(reminder, "REMIND_S", 0.5)
    async with cluster.controller():
        await cluster.node("waits")
        await cluster.told("CIDRNotAvailable", about="waits")
        await eventually(lambda: _told_again(cluster), what="the same Event, counted up")


async def _told_again(cluster: Cluster) -> bool:
    return any(event.get("count", 1) > 1 for event in await cluster.events("CIDRNotAvailable"))
