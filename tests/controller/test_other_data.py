"""The API server is gone and another one answers in its place: nothing of the old one is believed, or given out."""

from __future__ import annotations

import pytest

from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.controller.harness import PAGES, POOLS, Cluster, Object, Running, eventually


def pool(name: str, cidr: str) -> Object:
    return {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name},
        "spec": {"reuseDelay": "0s", "ipv4": {"cidrs": [cidr], "nodeMaskSize": 24}},
    }


def node(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def known_pools(running: Running) -> list[str]:
    return [view.pool.name for view in running.controller.pool_views()]


async def old_life(cluster: Cluster) -> None:
    await cluster.create(POOLS, pool("old", "10.1.0.0/16"))
    for number in range(6):
        await cluster.node(f"old-{number}")
    await cluster.all_served(6)


async def other_server(cluster: Cluster, *, writes: int) -> None:
    """Another cluster at the same address, which was there for so many writes before anybody asked."""
    await cluster.api.restart(lose_data=True, down_s=0.3)
    cluster.api.create(pool("new", "10.2.0.0/16"))
    for number in range(writes):
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns-{number}"}})
    cluster.api.create(node("fresh"))


@pytest.mark.parametrize(
    "writes", [pytest.param(0, id="its history is behind ours"), pytest.param(200, id="it has overtaken us")]
)
async def test_serves_only_what_the_new_server_has(cluster: Cluster, writes: int) -> None:
    async with cluster.controller() as running:
        await old_life(cluster)
        await other_server(cluster, writes=writes)
        assert await cluster.served("fresh") == ["10.2.0.0/24"]
        await eventually(lambda: running.readiness.ready, what="readiness")
        assert known_pools(running) == ["new"]
        lines = [entry for page in await cluster.items(PAGES) for entry in page["entries"]]
        assert {line["node"] for line in lines if line.get("node")} == {"fresh"}
        assert (await eventually(lambda: used(cluster)))["usage"] == "1/256"


async def test_a_pool_made_later_on_the_new_server_is_noticed_at_once(cluster: Cluster) -> None:
    async with cluster.controller() as running:
        await old_life(cluster)
        await other_server(cluster, writes=0)
        await cluster.served("fresh")
        cluster.api.create(pool("later", "10.3.0.0/16"))
        await eventually(lambda: known_pools(running) == ["new", "later"], within_s=5)


async def test_nothing_is_given_out_before_every_list_is_fresh_and_readyz_says_why(cluster: Cluster) -> None:
    async with cluster.controller() as running:
        await old_life(cluster)
        refuse = Fault(effect=Effect.REFUSE, verb="list", resource="clustercidrs", status=503)
        number = cluster.api.faults.add(refuse)
        await other_server(cluster, writes=0)
        await eventually(lambda: known_nodes(running) == {"fresh"}, what="the new server's nodes")
        await eventually(lambda: "to be as it has them now: clustercidrs" in running.readiness.report())
        assert not running.readiness.ready
        assert await cluster.cidrs("fresh") == []
        cluster.api.faults.remove(number)
        assert await cluster.served("fresh", within_s=15) == ["10.2.0.0/24"]


async def test_a_server_that_comes_back_as_it_was_is_not_listed_anew(cluster: Cluster) -> None:
    async with cluster.controller() as running:
        await old_life(cluster)
        await cluster.api.restart(down_s=0.3)
        await cluster.node("late")
        assert (await cluster.served("late"))[0].startswith("10.1.")
        assert running.controller._nodes.lists == 1


def known_nodes(running: Running) -> set[str]:
    return {found.name for found in running.controller._nodes.store.values()}


async def used(cluster: Cluster) -> Object:
    found = (await cluster.status("new")).get("ipv4") or {}
    return found if found.get("allocated") else {}
