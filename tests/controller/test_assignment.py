"""One Node registers: what does it get, and what do the others keep?"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import combinations

from tests.controller.harness import POOLS, Cluster, condition, eventually


async def test_a_node_gets_a_block_of_every_family_of_the_pool(cluster: Cluster) -> None:
    await cluster.pool()
    async with cluster.controller():
        await cluster.node("worker-1")
        assert await cluster.served("worker-1") == ["10.244.0.0/24", "fd00:10:244::/64"]
        assert "10.244.0.0/24" in await cluster.told("CIDRAssigned", about="worker-1")


async def test_nodes_that_were_there_before_the_controller_are_served(cluster: Cluster) -> None:
    await cluster.pool()
    for i in range(3):
        await cluster.node(f"worker-{i}")
    async with cluster.controller():
        assert len(await cluster.all_served(3)) == 3


async def test_what_a_node_already_has_is_never_given_to_another(cluster: Cluster) -> None:
    await cluster.pool()
    await cluster.node("old", pod_cidrs=("10.244.0.0/24", "fd00:10:244::/64"))
    async with cluster.controller():
        await cluster.node("new")
        assert await cluster.served("new") == ["10.244.1.0/24", "fd00:10:244:1::/64"]
        assert await cluster.cidrs("old") == ["10.244.0.0/24", "fd00:10:244::/64"]


async def test_a_burst_gets_distinct_blocks(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.0.0.0/12"], "nodeMaskSize": 24})
    async with cluster.controller() as running:
        for i in range(300):
            await cluster.node(f"worker-{i}")
        blocks = [cidrs[0] for cidrs in (await cluster.all_served(300)).values()]
        assert len(set(blocks)) == 300
        assert running.metric("nodeipam_node_patches_total", outcome="bound") == 300


async def test_the_block_of_a_deleted_node_can_be_used_again(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.0.0/24"]
        await cluster.delete("/api/v1/nodes/first")
        await cluster.node("second")
        assert await cluster.served("second") == ["10.244.0.0/24"]


async def test_a_node_with_a_deletion_timestamp_keeps_its_block_until_the_object_is_gone(
    cluster: Cluster,
) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("leaving", finalizers=["example.com/hold"])
        await cluster.served("leaving")
        await cluster.delete("/api/v1/nodes/leaving")
        await cluster.node("waiting")
        await cluster.told("CIDRNotAvailable", about="waiting")
        assert await cluster.cidrs("waiting") == []
        await cluster.patch("/api/v1/nodes/leaving", {"metadata": {"finalizers": None}})
        assert await cluster.served("waiting") == ["10.244.0.0/24"]


async def test_a_selector_decides_which_pool_serves_a_node(cluster: Cluster) -> None:
    east = {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["east"]}]}]
    }
    await cluster.pool("everybody", ipv4={"cidrs": ["10.1.0.0/16"], "nodeMaskSize": 24})
    await cluster.pool("east", ipv4={"cidrs": ["10.2.0.0/16"], "nodeMaskSize": 24}, nodeSelector=east)
    async with cluster.controller():
        await cluster.node("a", labels={"zone": "east"})
        await cluster.node("b", labels={"zone": "west"})
        assert await cluster.served("a") == ["10.2.0.0/24"]
        assert await cluster.served("b") == ["10.1.0.0/24"]


async def test_a_node_that_no_pool_matches_is_served_once_its_labels_do(cluster: Cluster) -> None:
    east = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    await cluster.pool("east", ipv4={"cidrs": ["10.2.0.0/16"], "nodeMaskSize": 24}, nodeSelector=east)
    async with cluster.controller():
        await cluster.node("a")
        assert "no ClusterCIDR matches" in await cluster.told("CIDRNotAvailable", about="a")
        await cluster.patch("/api/v1/nodes/a", {"metadata": {"labels": {"zone": "east"}}})
        assert await cluster.served("a") == ["10.2.0.0/24"]


async def test_a_node_full_of_garbage_does_not_stop_the_others(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    await cluster.node(
        "odd", addresses=("not-an-address",), annotations={"nodeipam.dev/ipv4-mask-size": "wide"}
    )
    async with cluster.controller():
        await cluster.node("fine")
        assert await cluster.served("fine")
        assert "nodeipam.dev/ipv4-mask-size" in await cluster.told("CIDRNotAvailable", about="odd")


async def test_nothing_is_allocated_before_the_pools_are_known(cluster: Cluster) -> None:
    await cluster.node("early")
    async with cluster.controller() as running:
        assert "no ClusterCIDR" in await cluster.told("CIDRNotAvailable", about="early")
        await cluster.pool()
        assert await cluster.served("early")
        assert running.metric("nodeipam_node_patches_total", outcome="bound") == 1


async def test_heartbeats_cause_no_write(cluster: Cluster) -> None:
    await cluster.pool()
    async with cluster.controller() as running:
        await cluster.node("worker-1")
        await cluster.served("worker-1")
        for beat in range(20):
            await cluster.patch(
                "/api/v1/nodes/worker-1/status",
                {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": f"Beat{beat}"}]}},
            )
        await cluster.node("worker-2")
        await cluster.served("worker-2")
        assert running.metric("nodeipam_decisions_total", decision="assigned") == 2


async def test_blocks_of_two_pools_over_the_same_range_never_overlap(cluster: Cluster) -> None:
    await cluster.pool("wide", ipv4={"cidrs": ["10.9.0.0/20"], "nodeMaskSize": 24})
    east = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    await cluster.pool("narrow", ipv4={"cidrs": ["10.9.0.0/22"], "nodeMaskSize": 26}, nodeSelector=east)
    async with cluster.controller():
        for i in range(10):
            await cluster.node(f"w{i}", labels={"zone": "x"} if i % 2 else {})
        found = await cluster.all_served(10)
        nets = [ip_network(cidrs[0]) for cidrs in found.values()]
        assert not any(a.overlaps(b) for a, b in combinations(nets, 2))


async def test_a_deleted_pool_stays_until_its_last_node_is_gone(cluster: Cluster) -> None:
    await cluster.pool()
    async with cluster.controller():
        await cluster.node("worker-1")
        await cluster.served("worker-1")
        await eventually(lambda: _has_finalizer(cluster))
        await cluster.delete(f"{POOLS}/default")
        await eventually(lambda: _terminating(cluster))
        await cluster.node("worker-2")
        await cluster.told("CIDRNotAvailable", about="worker-2")
        assert (await cluster.get(f"{POOLS}/default"))["metadata"]["deletionTimestamp"]
        await cluster.delete("/api/v1/nodes/worker-1")
        await eventually(lambda: _is_gone(cluster), what="the pool to go")


async def _has_finalizer(cluster: Cluster) -> bool:
    return "nodeipam.dev/in-use" in (await cluster.get(f"{POOLS}/default"))["metadata"].get("finalizers", ())


async def _terminating(cluster: Cluster) -> bool:
    return bool(condition(await cluster.status(), "Terminating").get("status") == "True")


async def _is_gone(cluster: Cluster) -> bool:
    return not await cluster.items(POOLS)
