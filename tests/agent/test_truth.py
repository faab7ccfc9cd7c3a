"""Does the Node say what is so while nothing can be known of its host, and afterwards?"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodeipam_ctl.agent.reconcile import Snapshot, Turn
from nodeipam_ctl.agent.truth import Truth
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import STRATEGIC_PATCH, Client
from nodeipam_ctl.kube.wire.nodes import decode_node
from nodeipam_ctl.linux.host import Outcome
from nodeipam_ctl.plan import Plan
from nodeipam_ctl.routing.desired import Desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.settings import AgentSettings
from tests.agent.cluster import Cluster, until

READY = ("False", "NodeIPAMRoutesReady")
BLIND = ("True", "HostUnreadable")
TAINT = "node.kubernetes.io/network-unavailable"


class World:
    """Node n1, and what its agent says of it."""

    def __init__(self, client: Client) -> None:
        self.now_s = 1000.0
        self._client = client
        settings = AgentSettings(node_name="n1", backend="host-gw", cni_conf_dir=Path("/nowhere"), taint=True)
        self._truth = Truth(client, settings, clock=lambda: self.now_s)

    async def turn(self, waiting: str = "") -> bool:
        turn = Turn(
            snapshot=Snapshot(lists=1),
            desired=Desired(state=HostState(), waiting=waiting),
            outcome=Outcome(),
            held=Plan(),
            findings=(),
            retry=False,
            present={},
        )
        return await self._truth.turn(decode_node(await self._get()), turn)

    async def overwrite(self) -> None:
        condition = {"type": "NetworkUnavailable", "status": "True", "reason": "Foreign"}
        body = json.dumps({"status": {"conditions": [condition]}}).encode()
        await self._client.patch("/api/v1/nodes/n1/status", body, kind=STRATEGIC_PATCH)

    async def no_turn(self) -> None:
        assert await self._truth.no_turn(decode_node(await self._get()), "nft: no such program")

    async def condition(self) -> tuple[str, str]:
        (found,) = json.loads(await self._get())["status"]["conditions"]
        return found["status"], found["reason"]

    async def taints(self) -> list[Any]:
        taints = json.loads(await self._get())["spec"].get("taints") or []
        return [t["key"] for t in taints if t["key"] == TAINT]

    async def _get(self) -> Any:
        return await self._client.get("/api/v1/nodes/n1")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer() as server,
        Client(Access(server=server.url, token=StaticToken(server.token))) as client,
    ):
        await client.create(
            "/api/v1/nodes", b'{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}'
        )
        yield World(client)


async def test_a_host_that_cannot_be_read_for_a_moment_changes_nothing(world: World) -> None:
    await world.turn()
    await world.no_turn()
    world.now_s += 9
    await world.no_turn()
    assert (await world.condition(), await world.taints()) == (READY, [])


async def test_a_host_that_stays_unreadable_takes_no_new_pods_until_it_is_read_again(world: World) -> None:
    await world.turn()
    await world.no_turn()
    world.now_s += 10
    await world.no_turn()
    assert await world.condition() == BLIND
    assert await world.taints() == [TAINT]
    await world.turn()
    assert (await world.condition(), await world.taints()) == (READY, [])


async def test_moments_with_turns_between_them_do_not_add_up(world: World) -> None:
    for _ in range(5):
        await world.turn()
        await world.no_turn()
        world.now_s += 6
    await world.no_turn()
    assert await world.condition() == READY


async def test_a_condition_that_somebody_else_writes_as_well_is_not_fought_over_without_end(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.turn()
    written = 0
    for _ in range(50):
        world.now_s += 0.5
        await world.overwrite()
        await world.turn()
        written += await world.condition() == READY
    assert written == 5, "once in five seconds"
    assert capsys.readouterr().out.count("condition_contested") == 1
    await world.turn("WaitingForPodCIDR: none yet")
    assert await world.condition() == ("True", "WaitingForPodCIDR"), "what is new is said at once"


@pytest.mark.kernel
def test_says_so_of_a_real_host_and_takes_it_back(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1")
    until(lambda: cluster.condition("n1") == READY, "it is ready")
    agent.stop()
    agent.conflist.unlink()
    agent.conflist.mkdir()  # nothing that could be read as a file
    again = cluster.start_agent(host, "n1")
    until(lambda: str(agent.conflist) in again.get("/readyz")[1], "readiness names it")
    assert again.get("/readyz")[0] == 503
    assert cluster.condition("n1") == READY, "a moment is no reason"
    took_s = until(lambda: cluster.condition("n1") == BLIND, "the condition says so", timeout_s=25)
    assert took_s > 5
    assert len(again.lines("host_unreadable")) == 1
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    until(lambda: "10.244.2.0/24" in str(host.routes()), "routes are kept up all the same")
    agent.conflist.rmdir()
    until(lambda: cluster.condition("n1") == READY, "the condition is taken back")
    until(lambda: again.get("/readyz")[0] == 200, "it is ready again")
    assert agent.conflist.is_file()
