"""Every fault a test can ask for does what it says, once or for good, and can be lifted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from nodeipam_ctl.demo.apiserver import ApiServer, Effect, Fault
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.http import Http, http

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        running.create(node("n1"))
        yield running


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Http]:
    async with http(server) as client:
        yield client


async def test_429_carries_retry_after_and_ends_after_the_given_times(server: ApiServer, api: Http) -> None:
    number = server.faults.add(
        Fault(effect=Effect.REFUSE, verb="patch", resource="nodes", status=429, retry_after_s=7, times=2)
    )
    for _ in range(2):
        refused = await api.patch(f"{NODES}/n1", {"metadata": {"labels": {"a": "b"}}})
        assert (refused.status, refused.headers["Retry-After"]) == (429, "7")
        assert refused.body["reason"] == "TooManyRequests"
    assert (await api.patch(f"{NODES}/n1", {"metadata": {"labels": {"a": "b"}}})).status == 200
    assert server.faults.hits(number) == 2


async def test_500_is_a_status_and_writes_nothing(server: ApiServer, api: Http) -> None:
    version = server.store.rv
    server.faults.add(Fault(effect=Effect.REFUSE, resource="nodes", status=500))
    assert (await api.patch(f"{NODES}/n1", {"spec": {"podCIDR": "10.1.0.0/24"}})).status == 500
    assert server.store.rv == version


async def test_a_fault_leaves_other_verbs_and_resources_alone(server: ApiServer, api: Http) -> None:
    server.faults.add(
        Fault(effect=Effect.REFUSE, verb="patch", resource="nodes", name="n1", subresource="status")
    )
    assert (await api("GET", f"{NODES}/n1")).status == 200
    assert (await api.patch(f"{NODES}/n1", {"metadata": {"labels": {"a": "b"}}})).status == 200
    assert (await api.patch(f"{NODES}/n1/status", {"status": {}})).status == 500


async def test_a_fault_can_let_the_first_requests_pass(server: ApiServer, api: Http) -> None:
    server.faults.add(Fault(effect=Effect.REFUSE, verb="get", skip=1))
    assert [(await api("GET", f"{NODES}/n1")).status for _ in range(3)] == [200, 500, 500]


async def test_a_connection_cut_before_the_write_leaves_no_trace(server: ApiServer, api: Http) -> None:
    version = server.store.rv
    server.faults.add(Fault(effect=Effect.CUT_BEFORE, verb="patch"))
    with pytest.raises(aiohttp.ClientError):
        await api.patch(f"{NODES}/n1", {"spec": {"podCIDR": "10.1.0.0/24"}})
    assert server.store.rv == version


async def test_a_lost_reply_leaves_the_write_in_place(server: ApiServer, api: Http) -> None:
    server.faults.add(Fault(effect=Effect.CUT_AFTER, verb="patch"))
    with pytest.raises(aiohttp.ClientError):
        await api.patch(f"{NODES}/n1", {"spec": {"podCIDR": "10.1.0.0/24"}})
    assert (await api("GET", f"{NODES}/n1")).body["spec"]["podCIDR"] == "10.1.0.0/24"


async def test_a_delay_answers_late_and_a_hang_not_at_all(server: ApiServer, api: Http) -> None:
    number = server.faults.add(Fault(effect=Effect.DELAY, verb="get", delay_s=0.2))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await api("GET", f"{NODES}/n1")
    assert loop.time() - started >= 0.2
    server.faults.remove(number)
    server.faults.add(Fault(effect=Effect.HANG, verb="get"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await api("GET", f"{NODES}/n1")


async def test_a_cut_watch_ends_in_an_error_not_in_order(server: ApiServer, api: Http) -> None:
    async with api.watch(f"{NODES}?watch=1") as events:
        await events.next()
        assert server.faults.cut_watches("nodes") == 1
        with pytest.raises(aiohttp.ClientError):
            await events.next()


async def test_a_stalled_watch_is_silent_and_resumes_without_a_gap(server: ApiServer, api: Http) -> None:
    async with api.watch(f"{NODES}?watch=1") as events:
        await events.next()
        server.faults.stall_watches("nodes")
        server.create(node("n2"))
        assert await events.nothing()


async def test_a_resumed_watch_continues_where_it_stopped(server: ApiServer, api: Http) -> None:
    server.faults.stall_watches("nodes")
    async with api.watch(f"{NODES}?watch=1&resourceVersion={server.store.rv}") as events:
        server.create(node("n2"))
        server.create(node("n3"))
        server.faults.resume_watches("nodes")
        assert [(await events.next())[1]["metadata"]["name"] for _ in range(2)] == ["n2", "n3"]


async def test_lagging_watches_and_cached_reads_see_the_past(server: ApiServer, api: Http) -> None:
    server.faults.lag_watches(3600)
    async with api.watch(f"{NODES}?watch=1&resourceVersion={server.store.rv}") as events:
        server.create(node("n2"))
        cached = await api("GET", f"{NODES}?resourceVersion=0")
        consistent = await api("GET", NODES)
        assert "n2" not in [item["metadata"]["name"] for item in cached.body["items"]]
        assert "n2" in [item["metadata"]["name"] for item in consistent.body["items"]]
        server.faults.lag_watches(0)
        assert (await events.next())[1]["metadata"]["name"] == "n2"


async def test_compaction_expires_watches_and_continue_tokens(server: ApiServer, api: Http) -> None:
    server.create(node("n2"))
    token = (await api("GET", f"{NODES}?limit=1")).body["metadata"]["continue"]
    server.create(node("n3"))
    server.store.compact()
    assert (await api("GET", f"{NODES}?limit=1&continue={token}")).status == 410
    async with api.watch(f"{NODES}?watch=1&resourceVersion=2") as events:
        kind, status = await events.next()
        assert (kind, status["code"]) == ("ERROR", 410)


async def test_an_expired_list_can_be_asked_for_without_compaction(server: ApiServer, api: Http) -> None:
    server.faults.add(Fault(effect=Effect.EXPIRE, verb="watch", resource="nodes", times=1))
    assert (await api("GET", f"{NODES}?watch=1&resourceVersion={server.store.rv}")).status == 410


async def test_a_skewed_clock_shifts_the_times_of_leases(server: ApiServer, api: Http) -> None:
    server.faults.lease_skew_s = -60.0
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:01:00.500000Z"}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": spec}
    await api("POST", LEASES, body)
    assert (await api("GET", f"{LEASES}/l")).body["spec"]["renewTime"] == "2026-01-01T00:00:00.500000Z"


async def test_a_restart_keeps_the_port_and_the_data(server: ApiServer, api: Http) -> None:
    url, version = server.url, server.store.rv
    await server.restart()
    assert server.url == url
    assert (await api("GET", NODES)).body["metadata"]["resourceVersion"] == str(version)


async def test_a_restart_may_lose_everything_but_the_installed_definitions(tmp_path: Path) -> None:
    async with ApiServer() as server, http(server) as api:
        server.create(node("n1"))
        for index in range(20):
            server.create(node(f"m{index}"))
        version = server.store.rv
        await server.restart(lose_data=True)
        listed = (await api("GET", NODES)).body
        assert listed["items"] == []
        assert int(listed["metadata"]["resourceVersion"]) < version
        assert (await api("GET", "/api/v1/namespaces/default")).status == 200


async def test_a_watch_from_a_lost_history_is_told_to_start_again(server: ApiServer, api: Http) -> None:
    server.create(node("n2"))
    old = server.store.rv
    await server.restart(lose_data=True)
    path = f"{NODES}?watch=1&timeoutSeconds=1&resourceVersion={old + 100}"
    async with api.watch(path) as events:
        assert (await events.next())[0] == "END"


async def test_the_admin_endpoint_orders_and_lifts_faults(server: ApiServer, api: Http) -> None:
    added = await api(
        "POST", "/_faults", {"action": "add", "fault": {"effect": "refuse", "verb": "get", "status": 503}}
    )
    refused = await api("GET", f"{NODES}/n1")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    shown = (await api("GET", "/_faults")).body
    assert shown["faults"][str(added.body["number"])]["hits"] == 1
    await api("POST", "/_faults", {"action": "clear"})
    assert (await api("GET", f"{NODES}/n1")).status == 200


@pytest.mark.parametrize(
    "order",
    [
        pytest.param("{", id="not JSON"),
        pytest.param('{"action": "explode"}', id="an unknown action"),
        pytest.param('{"action": "add", "fault": {"effect": "boom"}}', id="an unknown effect"),
        pytest.param('{"action": "add", "fault": {"effect": "delay", "wait": 1}}', id="an unknown field"),
        pytest.param('{"action": "lag-watches"}', id="a number is missing"),
    ],
)
async def test_the_admin_endpoint_refuses_orders_it_cannot_carry_out(api: Http, order: str) -> None:
    refused = await api("POST", "/_faults", order)
    assert (refused.status, refused.body["reason"]) == (400, "BadRequest")
    assert "/_faults" in refused.body["message"]


async def test_the_admin_endpoint_restarts_the_server(server: ApiServer, api: Http) -> None:
    await api("POST", "/_faults", {"action": "restart", "loseData": True})
    async with asyncio.timeout(10):
        while "n1" in server.store.bucket("nodes").objects:  # noqa: ASYNC110  (the restart follows the answer)
            await asyncio.sleep(0.01)
        while True:
            try:
                assert (await api("GET", f"{NODES}/n1")).status == 404
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
