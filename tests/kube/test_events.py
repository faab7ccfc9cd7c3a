"""Do users see what happened, once, counted, without our ever waiting for it?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from structlog.testing import capture_logs

from nodeipam_ctl.demo.apiserver import ApiServer, Effect, Fault
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.events import EventRecorder, Target
from nodeipam_ctl.kube.wire.events import EventType, encode_event, event_name
from nodeipam_ctl.model import Node, NodeName, NodeUID

NODE = Target.node(Node(name=NodeName("worker-1"), uid=NodeUID("u1")))
OTHER = Target.node(Node(name=NodeName("worker-2"), uid=NodeUID("u2")))


class World:
    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client
        self.now_s = 0.0
        self.slept: list[float] = []

    async def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s

    def recorder(self, **options: Any) -> EventRecorder:
        return EventRecorder(
            self.client,
            component="nodeipam-ctl-controller",
            instance="pod-1",
            wall_clock=lambda: 1_800_000_000 + self.now_s,
            clock=lambda: self.now_s,
            sleep=self.sleep,
            **options,
        )

    async def events(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(await self.client.get("/api/v1/events"))["items"]
        return items


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer() as server,
        Client(Access(server=server.url, token=StaticToken(server.token))) as client,
    ):
        yield World(server, client)


async def test_an_event_is_where_kubectl_looks_for_it() -> None:
    async with world() as w:
        recorder = w.recorder()
        recorder.warning(NODE, "CIDRNotAvailable", "no block is left")
        await recorder.turn()
        (event,) = await w.events()
    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("worker-1.")
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "worker-1", "uid": "u1"}
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "CIDRNotAvailable",
        "no block is left",
    )
    assert (event["source"]["component"], event["count"]) == ("nodeipam-ctl-controller", 1)


async def test_the_same_again_is_counted_on_the_same_event_with_the_newest_message() -> None:
    async with world() as w:
        recorder = w.recorder()
        recorder.warning(NODE, "CIDRNotAvailable", "0 of 4 free")
        recorder.warning(NODE, "CIDRNotAvailable", "0 of 5 free")
        await recorder.turn()
        w.now_s += 60
        recorder.warning(NODE, "CIDRNotAvailable", "0 of 6 free")
        recorder.warning(OTHER, "CIDRNotAvailable", "0 of 6 free")
        await recorder.turn()
        await recorder.turn()
        events = {event["involvedObject"]["name"]: event for event in await w.events()}
    assert (events["worker-1"]["count"], events["worker-1"]["message"]) == (3, "0 of 6 free")
    assert events["worker-1"]["firstTimestamp"] < events["worker-1"]["lastTimestamp"]
    assert events["worker-2"]["count"] == 1


async def test_what_is_another_topic_is_another_event_and_covers_nothing() -> None:
    async with world() as w:
        recorder = w.recorder()
        for message in ("it overlaps worker-2", "somebody else set it", "it overlaps worker-2"):
            recorder.warning(NODE, "CIDRConflict", message, topic=message)
        await recorder.turn()
        await recorder.turn()
        told = {event["message"]: event["count"] for event in await w.events()}
    assert told == {"it overlaps worker-2": 2, "somebody else set it": 1}


async def test_an_event_that_the_server_forgot_is_made_anew() -> None:
    async with world() as w:
        recorder = w.recorder()
        recorder.normal(NODE, "CIDRAssigned", "one")
        await recorder.turn()
        (event,) = await w.events()
        await w.client.delete(f"/api/v1/namespaces/default/events/{event['metadata']['name']}")
        recorder.normal(NODE, "CIDRAssigned", "two")
        await recorder.turn()
        (event,) = await w.events()
    assert (event["message"], event["count"]) == ("two", 1)


async def test_a_refused_event_is_lost_quietly_and_the_next_one_is_sent() -> None:
    async with world() as w:
        recorder = w.recorder()
        w.server.faults.add(Fault(effect=Effect.REFUSE, resource="events", status=403, times=2))
        with capture_logs() as logs:
            for reason in ("A", "B", "C"):
                recorder.normal(NODE, reason, "x")
                await recorder.turn()
        assert [event["reason"] for event in await w.events()] == ["C"]
    assert recorder.lost == 2
    assert [line["event"] for line in logs] == ["event_lost"]


async def test_a_server_too_busy_is_tried_again_a_few_times() -> None:
    async with world() as w:
        recorder = w.recorder()
        busy = Fault(effect=Effect.REFUSE, resource="events", status=429, retry_after_s=5, times=2)
        w.server.faults.add(busy)
        recorder.normal(NODE, "A", "x")
        for _ in range(3):
            await recorder.turn()
        assert len(await w.events()) == 1
        assert max(w.slept) >= 5
        w.server.faults.add(Fault(effect=Effect.REFUSE, resource="events", status=429, times=3))
        recorder.normal(NODE, "B", "x")
        for _ in range(3):
            await recorder.turn()
    assert (recorder.lost, recorder.waiting) == (1, 0)


async def test_requests_are_limited_and_what_waits_is_bounded() -> None:
    async with world() as w:
        recorder = w.recorder(per_second=10.0, burst=3, most_waiting=20)
        for number in range(50):
            recorder.normal(
                Target(api_version="v1", kind="Node", name=f"n{number}", uid=f"u{number}"), "A", "x"
            )
        assert (recorder.waiting, recorder.lost) == (20, 30)
        while recorder.waiting:
            await recorder.turn()
        assert len(await w.events()) == 20
    assert 1.6 <= w.now_s <= 1.8


async def test_a_recorder_waits_for_events_without_asking_the_server() -> None:
    async with world() as w:
        recorder = w.recorder()
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(0)
        recorder.normal(NODE, "A", "x")
        async with asyncio.timeout(30):
            while not await w.events():  # noqa: ASYNC110 - the server's events, not ours
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_messages_and_names_fit_the_api() -> None:
    assert len(event_name(Target(api_version="v1", kind="Node", name="n" * 253, uid="u"), 2**63)) <= 253
    body = encode_event(
        NODE,
        name="n",
        kind=EventType.NORMAL,
        reason="R",
        message="ü" * 2000,
        component="c",
        instance="i",
        count=1,
        first_s=0,
        last_s=0,
    )
    message = json.loads(body)["message"]
    assert len(message.encode()) <= 1024
    assert message.endswith("ü…")
