"""Does at most one candidate lead at any time, whatever the network does, and does a leader stop in time?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from nodeipam_ctl.demo.apiserver import ApiServer, Effect, Fault
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.lease import Elector, leadership
from nodeipam_ctl.kube.wire.leases import lease_path
from nodeipam_ctl.settings import LeaseSettings

SETTINGS = LeaseSettings(request_timeout_s=5.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield
    structlog.reset_defaults()


class World:
    """One API server, one monotonic clock that only the test moves, and any number of candidates."""

    def __init__(self, server: ApiServer, client: Client) -> None:
        self.server = server
        self.client = client
        self.now_s = 1000.0

    async def sleep(self, wait_s: float) -> None:
        self.now_s += wait_s
        await asyncio.sleep(0)

    def candidate(self, identity: str, *, wall_skew_s: float = 0.0, timeout_s: float = 5.0) -> Elector:
        return Elector(
            self.client,
            replace(SETTINGS, request_timeout_s=timeout_s),
            identity=identity,
            clock=lambda: self.now_s,
            wall_clock=lambda: 1_800_000_000 + self.now_s + wall_skew_s,
            sleep=self.sleep,
        )

    async def lease(self) -> dict[str, Any]:
        body = await self.client.get(lease_path(SETTINGS.namespace, SETTINGS.name))
        spec: dict[str, Any] = json.loads(body)["spec"]
        return spec


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with (
        ApiServer() as server,
        Client(Access(server=server.url, token=StaticToken(server.token))) as client,
    ):
        yield World(server, client)


def fault(effect: Effect, *, verb: str = "update", times: int | None = 1) -> Fault:
    return Fault(effect=effect, verb=verb, resource="leases", times=times)


async def test_the_first_candidate_leads_for_the_renew_deadline() -> None:
    async with world() as w:
        a = w.candidate("a")
        assert await a.try_acquire()
        assert a.leading()
        assert a.leads_for_s() == SETTINGS.renew_deadline_s
        lease = await w.lease()
        assert (lease["holderIdentity"], lease["leaseDurationSeconds"], lease["leaseTransitions"]) == (
            "a",
            15,
            0,
        )
        w.now_s += SETTINGS.renew_deadline_s
        assert not a.leading()


async def test_another_candidate_waits_the_whole_duration_by_its_own_clock() -> None:
    async with world() as w:
        a, b = w.candidate("a"), w.candidate("b")
        await a.try_acquire()
        w.now_s += 14.9
        assert not await b.try_acquire(), "b saw the Lease for the first time just now"
        w.now_s += 14.9
        assert not await b.try_acquire()
        w.now_s += 0.2
        assert await b.try_acquire()
        assert (await w.lease())["leaseTransitions"] == 1
        assert b.holder == "b"


@pytest.mark.parametrize("skew_s", [-86_400.0, 86_400.0])
async def test_a_holder_with_a_wrong_clock_is_neither_robbed_nor_kept_for_ever(skew_s: float) -> None:
    async with world() as w:
        w.server.faults.lease_skew_s = skew_s
        a, b = w.candidate("a", wall_skew_s=skew_s), w.candidate("b")
        await a.try_acquire()
        for _ in range(10):
            assert not await b.try_acquire()
            w.now_s += 2
            assert await a.renew()
        await b.try_acquire()
        w.now_s += 15
        assert await b.try_acquire()


async def test_a_holder_that_cannot_renew_stops_before_anybody_else_may_start() -> None:
    async with world() as w:
        a, b = w.candidate("a"), w.candidate("b")
        await a.try_acquire()
        await b.try_acquire()
        w.server.faults.add(fault(Effect.REFUSE, times=None))
        started_s = w.now_s
        await a.hold()
        assert not a.leading()
        assert w.now_s - started_s <= SETTINGS.renew_deadline_s + 0.001
        w.server.faults.clear()
        assert not await b.try_acquire(), "the rest of the duration is for writes that were on their way"


@pytest.mark.parametrize("effect", [Effect.CUT_AFTER, Effect.CUT_BEFORE, Effect.HANG])
async def test_one_lost_renewal_does_no_harm(effect: Effect) -> None:
    async with world() as w:
        a = w.candidate("a", timeout_s=1.0 if effect is Effect.HANG else 5.0)
        await a.try_acquire()
        w.server.faults.add(fault(effect))
        w.now_s += 2
        await a.renew()
        w.now_s += 2
        assert await a.renew()
        assert a.leads_for_s() == SETTINGS.renew_deadline_s


async def test_a_lost_first_write_is_recognised_as_ones_own() -> None:
    async with world() as w:
        a = w.candidate("a")
        w.server.faults.add(fault(Effect.CUT_AFTER, verb="create"))
        assert not await a.try_acquire()
        assert not a.leading(), "no answer, no right"
        assert await a.try_acquire()


async def test_a_holder_that_was_replaced_stops_at_once() -> None:
    async with world() as w:
        a, b = w.candidate("a"), w.candidate("b")
        await a.try_acquire()
        body = json.dumps({"spec": {"holderIdentity": "b"}}).encode()
        await w.client.patch(lease_path(SETTINGS.namespace, SETTINGS.name), body)
        w.now_s += 2
        assert not await a.renew()
        assert not a.leading()
        assert a.holder == "b"
        assert await b.try_acquire(), "b finds its own name"


async def test_a_deleted_lease_ends_the_leadership() -> None:
    async with world() as w:
        a = w.candidate("a")
        await a.try_acquire()
        await w.client.delete(lease_path(SETTINGS.namespace, SETTINGS.name))
        w.now_s += 2
        assert not await a.renew()
        assert not a.leading()


async def test_of_many_candidates_exactly_one_leads() -> None:
    async with world() as w:
        candidates = [w.candidate(f"c{number}") for number in range(8)]
        assert sum(await asyncio.gather(*(c.try_acquire() for c in candidates))) == 1
        w.now_s += 20
        await asyncio.gather(*(c.try_acquire() for c in candidates))
        w.now_s += 20
        assert sum(await asyncio.gather(*(c.try_acquire() for c in candidates))) == 1


async def test_a_clean_stop_lets_the_next_one_start_at_once() -> None:
    async with world() as w:
        a, b = w.candidate("a"), w.candidate("b")
        lost: list[bool] = []
        async with leadership(a, lost=lambda: lost.append(True)):
            assert not await b.try_acquire()
        assert not a.leading()
        assert await b.try_acquire()
        assert not lost
        await a.release()
        assert (await w.lease())["holderIdentity"] == "b", "who does not lead releases nothing"


async def test_losing_the_lease_calls_the_hard_exit() -> None:
    async with world() as w:
        a = w.candidate("a")
        lost = asyncio.Event()
        w.server.faults.add(fault(Effect.REFUSE, times=None))
        async with leadership(a, lost=lost.set):
            async with asyncio.timeout(30):
                await lost.wait()
        assert not a.leading()


async def test_a_bug_while_holding_calls_the_hard_exit_too() -> None:
    async with world() as w:
        a = w.candidate("a")
        lost = asyncio.Event()

        async def broken(_wait_s: float) -> None:
            raise ZeroDivisionError

        a._sleep = broken
        async with leadership(a, lost=lost.set), asyncio.timeout(30):
            await lost.wait()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.5, 2.0, 4.0, 9.0, 16.0]),
        st.sampled_from([None, None, Effect.CUT_AFTER, Effect.CUT_BEFORE, Effect.REFUSE]),
        st.sampled_from(["update", "create", "get"]),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_two_candidates_never_lead_at_the_same_time(
    steps: list[tuple[str, float, Effect | None, str]],
) -> None:
    async def main() -> None:
        async with world() as w:
            candidates = {"a": w.candidate("a", wall_skew_s=-500), "b": w.candidate("b", wall_skew_s=900)}
            for who, wait_s, effect, verb in steps:
                w.now_s += wait_s
                w.server.faults.clear()
                if effect is not None:
                    w.server.faults.add(fault(effect, verb=verb))
                candidate = candidates[who]
                if candidate.leading():
                    await candidate.renew()
                else:
                    await candidate.try_acquire()
                assert not (candidates["a"].leading() and candidates["b"].leading())

    asyncio.run(main())
