"""Does the taint follow what is so, both ways, and leave other taints alone?"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nodeipam_ctl.agent.taint import TaintWriter
from nodeipam_ctl.demo.apiserver import ApiServer, Effect, Fault
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import MERGE_PATCH, Client
from nodeipam_ctl.model import Node, NodeName, NodeUID
from tests.agent.cluster import Cluster, until

OURS = {"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}
OTHER = {"key": "example.com/gpu", "value": "a100", "effect": "NoExecute"}
SAME_KEY = {"key": "node.kubernetes.io/network-unavailable", "effect": "NoExecute"}


class World:
    def __init__(self, server: ApiServer, client: Client, uid: str) -> None:
        self.server = server
        self.node = Node(name=NodeName("n1"), uid=NodeUID(uid))
        self.now_s = 0.0
        self._client = client
        self.writer = TaintWriter(client, "n1", clock=lambda: self.now_s)

    async def put(self, *taints: dict[str, str]) -> None:
        await self._client.patch(
            "/api/v1/nodes/n1", json.dumps({"spec": {"taints": taints or None}}).encode(), kind=MERGE_PATCH
        )

    async def taints(self) -> list[Any]:
        found = json.loads(await self._client.get("/api/v1/nodes/n1"))["spec"].get("taints") or []
        return [{key: value for key, value in taint.items() if key != "timeAdded"} for taint in found]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer() as server,
        Client(Access(server=server.url, token=StaticToken(server.token))) as client,
    ):
        made = await client.create(
            "/api/v1/nodes", b'{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}'
        )
        yield World(server, client, json.loads(made)["metadata"]["uid"])


@pytest.mark.parametrize(
    ("before", "unavailable", "after"),
    [
        pytest.param([OTHER], True, [OTHER, OURS], id="added beside another"),
        pytest.param([], True, [OURS], id="added alone"),
        pytest.param([OURS, OTHER], False, [OTHER], id="removed from before another"),
        pytest.param([OURS], False, [], id="the last one removed"),
        pytest.param([OTHER, OURS], True, [OTHER, OURS], id="there already"),
        pytest.param([SAME_KEY], False, [SAME_KEY], id="another effect of our key is not ours"),
    ],
)
async def test_changes_its_own_entry_only(
    world: World, before: list[dict[str, str]], unavailable: bool, after: list[dict[str, str]]
) -> None:
    await world.put(*before)

    assert await world.writer.tell(world.node, unavailable=unavailable)
    assert await world.taints() == after


async def test_a_refused_write_is_tried_again_and_a_done_one_is_not(world: World) -> None:
    await world.put()
    world.server.faults.add(Fault(effect=Effect.CUT_BEFORE, verb="patch", resource="nodes", times=1))

    assert not await world.writer.tell(world.node, unavailable=True)
    assert not await world.writer.tell(world.node, unavailable=True), "not at once"
    world.now_s = 2.0
    assert await world.writer.tell(world.node, unavailable=True)
    await world.put(OTHER)
    assert await world.writer.tell(world.node, unavailable=True)
    assert await world.taints() == [OTHER], "what others decide later is theirs"
    assert await world.writer.tell(world.node, unavailable=False)
    assert await world.taints() == [OTHER]


@pytest.mark.kernel
def test_the_agent_keeps_pods_away_until_it_can_serve_them(cluster: Cluster) -> None:
    cluster.add("n1", addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--taint", "--no-network-unavailable")

    def tainted() -> bool:
        return OURS["key"] in [taint["key"] for taint in cluster.read("n1")["spec"].get("taints", [])]

    until(tainted, "the node has no podCIDR, so it is tainted")
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    until(lambda: agent.conflist.exists() and not tainted(), "it can serve, and is not tainted")
    assert cluster.condition("n1") is None
