"""Watches: bookmarks, namespaces, forms, single objects, and the end of history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.apiserver.store import Bucket, Event, Store, Stored
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http

NODES = "/api/v1/nodes"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(bookmark_every_s=0.05) as running:
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Http]:
    async with http(server) as client:
        yield client


def config_map(namespace: str, name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}}


async def test_bookmarks_carry_the_newest_version_of_every_resource(server: ApiServer, api: Http) -> None:
    async with api.watch(
        f"{NODES}?watch=1&allowWatchBookmarks=true&resourceVersion={server.store.rv}"
    ) as events:
        server.create(config_map("default", "other"))
        kind, shown = await events.next()
        while int(shown["metadata"]["resourceVersion"]) < server.store.rv:
            kind, shown = await events.next()
    assert kind == "BOOKMARK"
    assert shown["kind"] == "Node"


async def test_without_permission_no_bookmarks_come(server: ApiServer, api: Http) -> None:
    async with api.watch(f"{NODES}?watch=1&resourceVersion={server.store.rv}") as events:
        assert await events.nothing()


async def test_a_namespaced_watch_sees_its_namespace_only(server: ApiServer, api: Http) -> None:
    path = f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={server.store.rv}"
    async with api.watch(path) as events:
        server.create(config_map("kube-public", "theirs"))
        server.create(config_map("default", "ours"))
        assert (await events.next())[1]["metadata"]["name"] == "ours"


async def test_a_watch_on_a_name_sees_that_object_only(server: ApiServer, api: Http) -> None:
    async with api.watch(f"{NODES}/n2?watch=1&resourceVersion={server.store.rv}") as events:
        server.create(node("n1"))
        server.create(node("n2"))
        assert (await events.next())[1]["metadata"]["name"] == "n2"


@pytest.mark.parametrize(("accept", "kind"), [(TABLE, "Table"), (PARTIAL, "PartialObjectMetadata")])
async def test_a_watch_shows_the_form_that_was_asked_for(server: ApiServer, accept: str, kind: str) -> None:
    server.create(node("n1"))
    headers = {"Authorization": f"Bearer {server.token}", "Accept": accept}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.get(f"{NODES}?watch=1&timeoutSeconds=1") as response,
    ):
        event = json.loads(await response.content.readline())
    assert (event["type"], event["object"]["kind"]) == ("ADDED", kind)


async def test_a_watch_that_falls_behind_the_history_is_told_so(server: ApiServer, api: Http) -> None:
    server.faults.stall_watches()
    async with api.watch(f"{NODES}?watch=1&resourceVersion={server.store.rv}") as events:
        server.create(node("n1"))
        server.store.compact()
        server.faults.resume_watches()
        kind, status = await events.next()
    assert (kind, status["code"]) == ("ERROR", 410)


async def test_many_watches_share_one_stream_of_changes(server: ApiServer, api: Http) -> None:
    async def first_name() -> str:
        async with api.watch(f"{NODES}?watch=1&resourceVersion={version}") as events:
            name: str = (await events.next())[1]["metadata"]["name"]
            return name

    version = server.store.rv
    watching = [asyncio.create_task(first_name()) for _ in range(20)]
    while server.faults.running_watches("nodes") < 20:  # noqa: ASYNC110  (the requests are on their way)
        await asyncio.sleep(0.01)
    server.create(node("n1"))
    assert await asyncio.gather(*watching) == ["n1"] * 20


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("sendInitialEvents=true&allowWatchBookmarks=true", id="without NotOlderThan"),
        pytest.param("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", id="without bookmarks"),
        pytest.param("resourceVersionMatch=NotOlderThan", id="a match without initial events"),
    ],
)
async def test_contradictory_watch_options_are_invalid(api: Http, query: str) -> None:
    assert (await api("GET", f"{NODES}?watch=1&{query}")).status == 422


def stored(name: str, rv: int) -> Stored:
    return Stored(namespace="", name=name, uid=name, rv=rv, raw=b"x" * 10, labels=None, fields=None)


def test_history_forgets_the_oldest_and_says_up_to_which_version() -> None:
    store = Store(max_events=8)
    bucket = store.bucket("nodes")
    for _ in range(20):
        store.put(bucket, stored("n", store.next_rv()))
    assert len(bucket.history) <= 8
    assert bucket.compacted_rv == bucket.history[0].rv - 1
    assert bucket.sequence_after(bucket.compacted_rv) == bucket.first


def test_history_is_bounded_in_bytes_as_well() -> None:
    store = Store(max_bytes=100)
    bucket = store.bucket("nodes")
    for _ in range(50):
        store.put(bucket, stored("n", store.next_rv()))
    assert sum(len(event.new.raw) for event in bucket.history) <= 100


def test_an_older_version_is_rebuilt_by_undoing_changes() -> None:
    bucket, now = Bucket(), 0.0
    first, second, third = stored("a", 1), stored("b", 2), stored("a", 3)
    bucket.objects = {"b": second}
    bucket.history = [
        Event("ADDED", 1, first, None, now),
        Event("ADDED", 2, second, None, now),
        Event("MODIFIED", 3, third, first, now),
        Event("DELETED", 4, third, third, now),
    ]
    assert dict(bucket.at_version(3)) == {"a": third, "b": second}
    assert dict(bucket.at_version(2)) == {"a": first, "b": second}
    assert dict(bucket.at_version(1)) == {"a": first}
    assert dict(bucket.at_version(0)) == {}
