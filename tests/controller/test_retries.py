from __future__ import annotations

import asyncio

import pytest

from nodeipam_ctl.controller import retries
from nodeipam_ctl.controller.retries import CAP_S, FIRST_S, Retries
from nodeipam_ctl.model import NodeUID

A, B, C = NodeUID("a"), NodeUID("b"), NodeUID("c")


def longest(_low_s: float, high_s: float) -> float:
    return high_s


async def test_waits_grow_from_a_second_to_a_cap_and_start_again_after_success() -> None:
    asked = Retries(lambda _: None, uniform=longest)
    waits = [asked.refused(A) for _ in range(9)]
    assert waits == [FIRST_S, 2, 4, 8, 16, 32, 64, CAP_S, CAP_S]
    asked.done(A)
    assert asked.refused(A) == FIRST_S
    asked.stop()


async def test_a_node_is_asked_for_once_at_the_last_time_that_was_set() -> None:
    calls: asyncio.Queue[NodeUID] = asyncio.Queue()
    asked = Retries(calls.put_nowait)
    asked.after(A, 3600.0)
    asked.after(A, 0.0)
    async with asyncio.timeout(5):
        assert await calls.get() == A
    assert (len(asked), calls.qsize()) == (0, 0)


async def test_when_one_that_was_refused_is_served_the_others_wait_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "FIRST_S", 0.01)
    calls: asyncio.Queue[NodeUID] = asyncio.Queue()
    asked = Retries(calls.put_nowait)
    for _ in range(14):
        asked.refused(A)  # by now it waits for the cap
        asked.refused(B)
    asked.done(A)
    async with asyncio.timeout(5):
        assert await calls.get() == B
    assert asked.refused(B) <= 0.01, "and its waits start again from the first"
    asked.stop()


async def test_the_success_of_one_that_was_never_refused_says_nothing_about_the_others() -> None:
    asked = Retries(lambda _: None, uniform=longest)
    for _ in range(5):
        asked.refused(A)
    asked.done(C)
    assert asked.refused(A) == 32 * FIRST_S
    asked.stop()


async def test_a_node_that_is_gone_is_asked_for_no_more() -> None:
    asked = Retries(lambda _: None)
    asked.refused(A)
    asked.forget(A)
    assert len(asked) == 0
