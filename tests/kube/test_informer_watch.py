"""Does an informer follow every change, and go on where it was when the connection is not well?"""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.deltas import Delta, Removed
from nodeipam_ctl.kube.informer import Informer, Timing
from nodeipam_ctl.kube.resources import nodes
from nodeipam_ctl.model import Node
from tests.kube.scripted import Handler, Scripted, answer, cut, end, refusal, stream
from tests.kube.watched_nodes import IMPATIENT, event, kinds, listing, running


async def test_a_heartbeat_is_not_delivered() -> None:
    async with running() as watched:
        await watched.create("n1")
        await watched.until(lambda: watched.names == {"n1"})
        body = b'{"status":{"conditions":[{"type":"Ready","status":"True","lastHeartbeatTime":"2026-11-20T17:00:00Z"}]}}'
        await watched.client.patch("/api/v1/nodes/n1/status", body)
        await watched.create("n2")
        await watched.until(lambda: watched.names == {"n1", "n2"})
        assert kinds(watched.deltas) == "Added Added"


async def test_a_recreated_node_is_removed_and_added_not_changed() -> None:
    async with running() as watched:
        await watched.create("n1")
        await watched.delete("n1")
        await watched.create("n1")
        await watched.until(lambda: len(watched.deltas) == 3)
        assert kinds(watched.deltas) == "Added Removed Added"


async def test_a_cut_watch_continues_without_a_new_list() -> None:
    async with running() as watched:
        await watched.until(watched.informer.synced.is_set)
        await watched.until(lambda: watched.server.faults.running_watches("nodes") == 1)
        watched.server.faults.cut_watches("nodes")
        await watched.create("n1")
        await watched.until(lambda: watched.names == {"n1"})
        assert watched.informer.lists == 1


async def test_a_silently_stalled_watch_is_noticed() -> None:
    async with running(IMPATIENT) as watched:
        await watched.until(lambda: watched.server.faults.running_watches("nodes") == 1)
        watched.server.faults.stall_watches("nodes")
        await watched.create("n1")
        await watched.until(lambda: watched.informer.stale_since_s is not None)
        assert "silent" in watched.informer.problem
        watched.server.faults.resume_watches("nodes")
        await watched.until(lambda: watched.names == {"n1"})
        await watched.until(lambda: watched.informer.stale_since_s is None)


async def test_a_server_away_is_logged_once_and_the_store_stays() -> None:
    async with running() as watched:
        await watched.create("n1")
        await watched.until(lambda: watched.names == {"n1"})
        with capture_logs() as logs:
            await watched.server.restart(down_s=1.0)
            await watched.until(lambda: watched.informer.stale_since_s is None)
            assert watched.names == {"n1"}
            await watched.create("n2")
            await watched.until(lambda: watched.names == {"n1", "n2"})
        events = [line["event"] for line in logs]
        assert events.count("api_server_lost") == 1
        assert events.count("api_server_back") == 1
        assert not any(isinstance(delta, Removed) for delta in watched.deltas)


async def test_a_watch_that_was_cut_asks_for_the_history_before_it_goes_on() -> None:
    handlers = [
        answer(listing(50, "a")),
        stream(then=cut),
        answer(listing(51, "a", more="x")),
        stream(event("ADDED", "b", 52), then=end),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        await informer.turn()
        assert client.reachability.doubted == ("nodes",)
        await informer.turn()
        assert client.reachability.doubted == ("nodes",), "the second watch was ended long before its time"
    question = server.requests[2].path
    assert question == (
        "/api/v1/nodes?fieldSelector=metadata.name%3Da&limit=1&resourceVersion=50&resourceVersionMatch=NotOlderThan"
    )
    assert informer.lists == 1
    assert {node.name for node in informer.store.values()} == {"a", "b"}


@pytest.mark.parametrize(
    ("last", "restored", "other"),
    [
        pytest.param(event("ADDED", "b", 52), listing(90), True, id="its creation was lost"),
        pytest.param(event("MODIFIED", "a", 52), listing(90, "a"), True, id="its change was lost"),
        pytest.param(event("DELETED", "a", 52), listing(90, "a"), True, id="its deletion was lost"),
        pytest.param(
            event("MODIFIED", "a", 1, labels={"x": "y"}),
            listing(90, "a"),
            True,
            id="another object of the same version",
        ),
        pytest.param(event("MODIFIED", "a", 1), listing(90, "a"), False, id="what it was"),
    ],
)
async def test_a_restored_server_that_has_overtaken_us_is_known_by_the_last_change(
    last: bytes, restored: bytes, *, other: bool
) -> None:
    handlers = [
        answer(listing(1, "a")),
        stream(last, then=cut),
        answer(restored),
        stream(then=cut) if not other else answer(restored),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        replaced = asyncio.Event()
        with client.reachability.when_replaced(replaced.set):
            await informer.turn()
            await informer.turn()
    name = "b" if b'"b"' in last else "a"
    assert f"fieldSelector=metadata.name%3D{name}&" in server.requests[2].path
    assert replaced.is_set() is other


def _item(version: int, x: str = "y") -> bytes:
    metadata = {"name": "a", "uid": "uid-a", "resourceVersion": str(version), "labels": {"x": x}}
    return json.dumps({"metadata": {"resourceVersion": "95"}, "items": [{"metadata": metadata}]}).encode()


CHANGED = event("MODIFIED", "a", 52, labels={"x": "y"})
DELETED = event("DELETED", "a", 52)
AGAIN = _item(90)
GONE = refusal(410, "Expired", "The resourceVersion for the provided list is too old.")


@pytest.mark.parametrize(
    ("last", "now", "then", "other", "lists"),
    [
        pytest.param(CHANGED, AGAIN, answer(_item(52)), False, 1, id="it was what we knew"),
        pytest.param(CHANGED, AGAIN, answer(listing(52, "a")), True, 2, id="its change was lost"),
        pytest.param(CHANGED, AGAIN, answer(listing(52)), True, 2, id="it is of another history"),
        pytest.param(
            CHANGED, AGAIN, answer(_item(52, x="z")), True, 2, id="another change of the same version"
        ),
        pytest.param(CHANGED, AGAIN, GONE, False, 2, id="nobody remembers, so our kind is listed"),
        pytest.param(DELETED, listing(90), answer(listing(52)), False, 1, id="it was deleted"),
        pytest.param(
            DELETED,
            listing(90),
            answer(listing(52, "a")),
            True,
            2,
            id="its deletion was lost and it was deleted again",
        ),
        pytest.param(DELETED, AGAIN, answer(listing(52)), False, 1, id="it was deleted, and is a new one"),
        pytest.param(
            DELETED, AGAIN, answer(listing(52, "a")), True, 2, id="its deletion was lost and it changed again"
        ),
    ],
)
async def test_when_what_changed_last_has_changed_again_it_is_asked_for_as_it_was(
    last: bytes, now: bytes, then: Handler, *, other: bool, lists: int
) -> None:
    handlers = [
        answer(listing(1, "a")),
        stream(last, then=cut),
        answer(now),
        then,
        stream(then=cut) if lists == 1 else answer(listing(95, "a")),
        stream(then=cut),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        replaced = asyncio.Event()
        with client.reachability.when_replaced(replaced.set):
            for _ in range(1 + lists):
                await informer.turn()
    assert server.requests[3].path == (
        "/api/v1/nodes?fieldSelector=metadata.name%3Da&limit=1&resourceVersion=52&resourceVersionMatch=Exact"
    )
    assert replaced.is_set() is other
    assert informer.lists == lists


async def test_a_new_object_where_there_was_none_is_no_other_history() -> None:
    handlers = [
        answer(listing(50)),
        stream(then=cut),
        answer(_item(90)),
        answer(listing(50)),
        stream(event("ADDED", "a", 90), then=cut),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        await informer.turn()
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"a"}
    assert informer.lists == 1


async def test_a_watch_that_ends_in_its_time_goes_on_without_a_question() -> None:
    handlers = [answer(listing(50, "a")), stream(then=end)]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), timing=Timing(watch_s=1), backoff=Backoff(first_s=0.001))
        for _ in range(4):
            await informer.turn()
    assert ["limit=1&" in request.path for request in server.requests] == [False] * 5


async def test_a_bookmark_moves_the_place_to_continue_from() -> None:
    handlers = [answer(listing(5, "a")), stream(event("BOOKMARK", "", 77), then=end), stream(then=end)]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(
            client, nodes(), timing=Timing(watch_s=1), backoff=Backoff(first_s=0.001)
        )  # so short that its end is no surprise
        await informer.turn()
        await informer.turn()
    again = server.requests[-1].path
    assert "resourceVersion=77" in again
    assert "allowWatchBookmarks=true" in again


async def test_an_object_without_a_name_stops_nobody() -> None:
    handlers = [
        answer(
            b'{"metadata":{"resourceVersion":"5"},"items":[7,{},{"metadata":{"name":"a","uid":"a"}},null]}'
        ),
        stream(b'{"type":"ADDED","object":{"metadata":{}}}\n', event("ADDED", "b", 9), then=end),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        with capture_logs() as logs:
            await informer.turn()
    assert {node.name for node in informer.store.values()} == {"a", "b"}
    assert [line["event"] for line in logs].count("object_ignored") == 1


def test_a_bug_in_a_handler_is_not_swallowed() -> None:
    def broken(_delta: Delta[Node]) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with Scripted(answer(listing(1, "a"))) as server, Client(Access(server=server.url)) as client:
            await Informer(client, nodes(), broken).run()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())
