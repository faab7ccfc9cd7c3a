"""The ledger over time: a released block rests through restarts, comes back to its name, and is kept for a static promise."""

from __future__ import annotations

import time

from tests.controller.harness import Cluster, eventually
from tests.controller.test_ledger import TWO, line, no_line


async def test_a_rest_survives_a_restart_and_ends_in_time(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO, reuseDelay="1h")
    async with cluster.controller():
        await cluster.node("gone")
        await cluster.served("gone")
        await cluster.delete("/api/v1/nodes/gone")
        await line(cluster, "10.244.0.0/24", "Resting")
    async with cluster.controller():
        await eventually(lambda: _resting(cluster, 1))
        assert await line(cluster, "10.244.0.0/24", "Resting")
    async with cluster.controller(clock=lambda: time.time() + 3700):
        await no_line(cluster, "10.244.0.0/24", "Resting")
        await eventually(lambda: _resting(cluster, 0))


async def test_a_short_rest_ends_by_itself_and_a_waiting_node_gets_the_block(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24}, reuseDelay="1s")
    async with cluster.controller():
        await cluster.node("kept")
        await cluster.node("gone")
        await cluster.all_served(2)
        gone = (await cluster.cidrs("gone"))[0]
        await cluster.delete("/api/v1/nodes/gone")
        await line(cluster, gone, "Resting")
        await no_line(cluster, gone, "Resting")
        assert (await cluster.status())["ipv4"]["allocated"] == 1


async def test_retain_by_name_gives_the_block_back(cluster: Cluster) -> None:
    await cluster.pool(
        ipv4={"cidrs": ["10.244.0.0/20"], "nodeMaskSize": 24}, reuseDelay="1h", retain="ByName"
    )
    async with cluster.controller():
        for name in ("a", "b"):
            await cluster.node(name)
            await cluster.served(name)
        before = await cluster.cidrs("a")
        await cluster.delete("/api/v1/nodes/a")
        await line(cluster, before[0], "Resting")
    async with cluster.controller():
        await cluster.node("c")
        assert await cluster.served("c") != before
        await cluster.node("a")
        assert await cluster.served("a") == before
        await no_line(cluster, before[0], "Resting")


async def test_a_static_block_is_kept_for_its_node(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO, static=[{"node": "edge", "ipv4": "10.244.0.0/24"}])
    async with cluster.controller():
        await cluster.node("other")
        assert await cluster.served("other") == ["10.244.1.0/24"]
        await cluster.node("edge")
        assert await cluster.served("edge") == ["10.244.0.0/24"]


async def _resting(cluster: Cluster, blocks: int) -> bool:
    return bool((await cluster.status()).get("ipv4", {}).get("resting") == blocks)
