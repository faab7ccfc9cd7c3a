"""Do users of the cluster hear what stays wrong on a node, once, and not what passes?"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Network

import pytest

from nodeipam_ctl.agent.news import HELD, News
from nodeipam_ctl.agent.reconcile import Snapshot, Turn
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.events import EventRecorder
from nodeipam_ctl.linux.host import Outcome
from nodeipam_ctl.model import Finding, Node, NodeName, NodeUID, Severity
from nodeipam_ctl.plan import Plan, diff
from nodeipam_ctl.routing.desired import Desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.state import HostObject, Key, Route

NODE = Node(name=NodeName("worker-1"), uid=NodeUID("u1"))


def conflict(number: int, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(
        severity=severity, code="RouteConflict", subject=f"route/{number}", message="taken", remedy="free it"
    )


class Newsroom:
    def __init__(self, client: Client) -> None:
        self.now_s = 0.0
        self._client = client
        self._recorder = EventRecorder(client, component="agent", instance="worker-1")
        self._news = News(self._recorder, clock=lambda: self.now_s, jitter=lambda: 0.5)

    async def turn(self, *findings: Finding, at_s: float, held: int = 0) -> float | None:
        """One turn of the agent at a time; what is told reaches the API server."""
        self.now_s = at_s
        routes = (Route(dst=IPv4Network((number << 8, 24)), dev="eth0", metric=100) for number in range(held))
        observed: dict[Key, HostObject] = {route.key: route for route in routes}
        nothing: dict[Key, HostObject] = {}
        wait_s = self._news.turn(
            NODE,
            Turn(
                snapshot=Snapshot(),
                desired=Desired(state=HostState()),
                outcome=Outcome(),
                held=diff(nothing, observed) if held else Plan(),
                findings=findings,
                retry=False,
                present={},
            ),
        )
        while self._recorder.waiting:
            await self._recorder.turn()
        return wait_s

    async def told(self) -> list[tuple[str, str, int]]:
        events = json.loads(await self._client.get("/api/v1/namespaces/default/events"))["items"]
        assert all(event["involvedObject"]["name"] == "worker-1" for event in events)
        return sorted((event["reason"], event["message"], event["count"]) for event in events)


@pytest.fixture
async def room() -> AsyncIterator[Newsroom]:
    async with (
        ApiServer() as server,
        Client(Access(server=server.url, token=StaticToken(server.token))) as client,
    ):
        yield Newsroom(client)


async def test_what_lasts_is_told_once_when_its_time_has_come(room: Newsroom) -> None:
    assert await room.turn(conflict(1), at_s=0) == 4.0
    assert await room.told() == []
    assert await room.turn(conflict(1), at_s=4) is None
    await room.turn(conflict(1), at_s=100)

    assert await room.told() == [("RouteConflict", "route/1: taken; free it", 1)]


async def test_what_passes_or_is_only_a_warning_is_not_told(room: Newsroom) -> None:
    await room.turn(conflict(1), conflict(2, Severity.WARNING), at_s=0)
    await room.turn(conflict(2, Severity.WARNING), at_s=3)
    await room.turn(conflict(1), conflict(2, Severity.WARNING), at_s=5)
    await room.turn(conflict(2, Severity.WARNING), at_s=8)

    assert await room.told() == []


async def test_one_more_of_a_kind_is_told_in_the_same_event(room: Newsroom) -> None:
    await room.turn(conflict(1), at_s=0)
    await room.turn(conflict(1), conflict(2), at_s=4)
    await room.turn(conflict(1), conflict(2), at_s=8)
    await room.turn(conflict(1), at_s=9)

    assert await room.told() == [("RouteConflict", "route/2: taken; free it (and 1 more)", 2)]


async def test_what_still_lasts_is_told_again_before_the_server_forgets(room: Newsroom) -> None:
    for at_s in (0, 4, 3000, 3004):
        await room.turn(conflict(1), at_s=at_s)

    assert await room.told() == [("RouteConflict", "route/1: taken; free it", 2)]


async def test_a_held_mass_removal_is_told(room: Newsroom) -> None:
    await room.turn(at_s=0, held=30)
    await room.turn(at_s=4, held=30)

    ((reason, message, _),) = await room.told()
    assert (reason, message.startswith("30 removals wait")) == (HELD, True)
