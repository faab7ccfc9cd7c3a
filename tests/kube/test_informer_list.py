"""When does an informer list, and does its store then become what the server has, never less than it?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.deltas import Added, Changed, Delta, Removed
from nodeipam_ctl.kube.informer import Informer, Timing
from nodeipam_ctl.kube.resources import nodes, pod_cidr_slices
from nodeipam_ctl.model import Node
from tests.kube.scripted import Handler, Request, Scripted, answer, cut, end, refusal, stream
from tests.kube.watched_nodes import Watched, event, kinds, listing, running


async def test_lists_page_by_page_then_follows_every_change() -> None:
    async with running() as watched:
        await watched.until(watched.informer.synced.is_set)
        for number in range(8):
            await watched.create(f"n{number}")
        await watched.label("n1", zone="a")
        await watched.delete("n2")
        await watched.until(lambda: isinstance(watched.deltas[-1], Removed) if watched.deltas else False)
        assert watched.names == {f"n{number}" for number in range(8)} - {"n2"}
        assert sum(isinstance(delta, Added) for delta in watched.deltas) == 8
        changed = [delta for delta in watched.deltas if isinstance(delta, Changed)]
        assert [(delta.old.labels.get("zone"), delta.new.labels.get("zone")) for delta in changed] == [
            (None, "a")
        ]
        again = Watched(watched.server, watched.client)
        await again.informer.list_once()
        assert again.names == watched.names
        assert again.informer.store == watched.informer.store


async def test_an_expired_watch_lists_again_and_reports_the_difference() -> None:
    async with running() as watched:
        await watched.create("stays")
        await watched.create("goes")
        await watched.until(lambda: len(watched.names) == 2)
        watched.server.faults.add(Fault(effect=Effect.EXPIRE, verb="watch", resource="nodes", times=1))
        watched.server.faults.stall_watches("nodes")
        await watched.delete("goes")
        await watched.create("comes")
        watched.server.faults.cut_watches("nodes")
        watched.server.faults.resume_watches("nodes")
        await watched.until(lambda: watched.names == {"stays", "comes"})
        assert watched.informer.lists == 2
        assert kinds(watched.deltas[2:]) == "Removed Added"


async def test_a_server_that_comes_back_with_an_older_history_is_listed_again() -> None:
    async with running() as watched:
        for number in range(5):
            await watched.create(f"old{number}")
        await watched.until(lambda: len(watched.names) == 5)
        await watched.server.restart(lose_data=True)
        await watched.create("new")
        await watched.until(lambda: watched.names == {"new"})
        await watched.until(lambda: watched.informer.stale_since_s is None)


@pytest.mark.parametrize(
    "question",
    [
        pytest.param(
            answer(
                b'{"kind":"Status","message":"Too large resource version: 50, current: 3","reason":"Timeout","code":504,'
                b'"details":{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1}}',
                status="504 Gateway Timeout",
            ),
            id="the server is behind us",
        ),
        pytest.param(answer(listing(80, "b", more="x")), id="the server has another object of that age"),
        pytest.param(answer(listing(80)), id="the server has nothing any more"),
        pytest.param(refusal(410, "Expired", "too old"), id="the server has forgotten our version"),
        pytest.param(refusal(400, "BadRequest", "unknown"), id="the server does not know the question"),
    ],
)
async def test_a_server_that_is_not_the_one_we_knew_is_listed_again(question: Handler) -> None:
    handlers = [answer(listing(50, "a")), stream(then=cut), question, answer(listing(3, "b")), stream()]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), timing=Timing(silence_s=0.05), backoff=Backoff(first_s=0.001))
        for _ in range(3):
            await informer.turn()
    assert informer.lists == 2
    assert {node.name for node in informer.store.values()} == {"b"}


async def test_an_event_behind_what_we_know_calls_for_a_list() -> None:
    handlers = [
        answer(listing(50, "a")),
        stream(event("ADDED", "b", 7)),
        answer(listing(8, "b")),
        stream(then=end),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        await informer.turn()
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"b"}


async def test_a_watch_that_never_said_a_word_is_not_trusted() -> None:
    handlers = [answer(listing(50, "a")), stream(), answer(listing(3, "b")), stream(then=end)]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), timing=Timing(silence_s=0.05), backoff=Backoff(first_s=0.001))
        await informer.turn()
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"b"}


async def test_relist_ends_the_watch_and_lists_at_once() -> None:
    async with running() as watched:
        await watched.until(lambda: watched.server.faults.running_watches("nodes") == 1)
        watched.informer.relist()
        await watched.until(lambda: watched.informer.lists == 2)
        await watched.create("n1")
        await watched.until(lambda: watched.names == {"n1"})


async def test_a_server_that_says_slow_down_is_obeyed() -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    handlers = [
        refusal(429, "TooManyRequests", "busy", "Retry-After: 9"),
        answer(listing(5, "a")),
        stream(then=end),
    ]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), sleep=sleep)
        await informer.turn()
        assert waits[0] >= 9
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"a"}


async def test_half_a_list_is_never_taken_for_removals() -> None:
    handlers = [
        answer(listing(5, "a", "b")),
        refusal(410, "Expired", "too old"),
        answer(listing(9, "a", more="next")),
        cut,
        cut,
        answer(listing(9, "a")),
        stream(event("ADDED", "c", 10), then=end),
    ]
    deltas: list[Delta[Node]] = []
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), deltas.append, backoff=Backoff(first_s=0.001))
        await informer.turn()
        assert len(informer.store) == 2
        await informer.turn()
        assert len(informer.store) == 2
        await informer.turn()
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"a", "c"}
    assert kinds(deltas) == "Added Added Removed Added"


async def test_an_error_event_with_410_lists_again() -> None:
    gone = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    handlers = [answer(listing(5, "a")), stream(gone), answer(listing(9, "b")), stream(then=end)]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        await informer.turn()
        await informer.turn()
    assert {node.name for node in informer.store.values()} == {"b"}
    assert informer.lists == 2


async def test_a_fresh_list_asked_for_during_a_list_is_made_after_it() -> None:
    async def asked_again(request: Request, writer: asyncio.StreamWriter) -> bool:
        informer.relist()  # the answer that follows was put together before
        return await answer(listing(5, "a"))(request, writer)

    handlers = [asked_again, answer(listing(9, "b")), stream(then=end)]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=0.001))
        await informer.turn()
        await informer.turn()
    assert informer.lists == 2
    assert ["watch=1" in request.path for request in server.requests] == [False, False, True]


async def test_a_server_whose_own_list_is_too_old_for_it_is_not_asked_in_a_tight_loop() -> None:
    handlers = [answer(listing(5, "a")), refusal(410, "Expired", "too old")] * 5
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), backoff=Backoff(first_s=1.0, uniform=max), sleep=sleep)
        for _ in range(5):
            await informer.turn()
    assert waits == [1, 2, 4, 8, 16]


async def test_a_refused_resource_says_so_once_and_goes_on_trying() -> None:
    async def sleep(_wait_s: float) -> None:
        return

    refused = refusal(403, "Forbidden", "nodes is forbidden")
    async with Scripted(refused) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, nodes(), sleep=sleep)
        with capture_logs() as logs:
            for _ in range(3):
                await informer.turn()
    assert [line["event"] for line in logs] == ["resource_refused"]
    assert "nodes is forbidden" in informer.problem
    assert not informer.synced.is_set()


async def test_an_optional_resource_that_is_missing_is_empty_and_found_when_it_comes() -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    page = b'{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"p"},"page":"10.0.0.0/20"}]}'
    missing = refusal(404, "NotFound", "the server could not find the requested resource")
    handlers = [missing, answer(page), stream(then=end), missing]
    async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
        informer = Informer(client, pod_cidr_slices(), sleep=sleep)
        await informer.turn()
        assert informer.synced.is_set()
        assert informer.stale_since_s is None
        await informer.turn()
        assert set(informer.store) == {"p"}
        await informer.turn()  # the watch says 404
        await informer.turn()
        assert set(informer.store) == {"p"}, "one 404 is not believed"
        await informer.turn()
        await informer.turn()
        assert not informer.store


@given(
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=6),
)
@settings(max_examples=30)
def test_after_any_list_the_store_is_that_list_and_the_deltas_lead_there(lists: list[set[str]]) -> None:
    """The deltas alone, replayed, give the store: no handler ever misses or doubles an object."""
    replayed: set[str] = set()

    def take(delta: Delta[Node]) -> None:
        match delta:
            case Added(new=new):
                assert new.name not in replayed
                replayed.add(new.name)
            case Removed(old=old):
                replayed.remove(old.name)
            case Changed():
                pytest.fail("nothing changed")

    async def main() -> None:
        handlers = [answer(listing(index + 1, *sorted(names))) for index, names in enumerate(lists)]
        async with Scripted(*handlers) as server, Client(Access(server=server.url)) as client:
            informer = Informer(client, nodes(), take)
            for names in lists:
                await informer.list_once()
                assert {node.name for node in informer.store.values()} == names == replayed

    asyncio.run(main())
