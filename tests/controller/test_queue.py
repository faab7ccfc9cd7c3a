"""The queue: each node once, in order of arrival, in batches of bearable size."""

from __future__ import annotations

import asyncio

from nodeipam_ctl.controller.queue import BATCH_LIMIT, NodeQueue
from nodeipam_ctl.model import NodeUID

A, B, C = NodeUID("a"), NodeUID("b"), NodeUID("c")


async def test_a_node_is_in_the_queue_once_and_keeps_its_place() -> None:
    queue = NodeQueue(window_s=0)
    for uid in (B, A, B, C):
        queue.put(uid)
    assert await queue.batch() == (B, A, C)


async def test_a_node_that_needs_nothing_any_more_is_left_out() -> None:
    queue = NodeQueue(window_s=0)
    queue.put(A)
    queue.put(B)
    queue.discard(A)
    queue.discard(C)
    assert await queue.batch() == (B,)


async def test_a_wake_brings_an_empty_batch() -> None:
    queue = NodeQueue(window_s=0)
    queue.wake()
    assert await queue.batch() == ()
    waiting = asyncio.create_task(queue.batch())
    await asyncio.sleep(0)
    assert not waiting.done(), "one wake is one batch"
    queue.put(A)
    assert await waiting == (A,)


async def test_what_is_too_much_for_one_batch_comes_with_the_next() -> None:
    queue = NodeQueue(window_s=0)
    uids = tuple(NodeUID(str(i)) for i in range(BATCH_LIMIT + 3))
    for uid in uids:
        queue.put(uid)
    assert await queue.batch() == uids[:BATCH_LIMIT]
    assert await queue.batch() == uids[BATCH_LIMIT:]


async def test_a_node_after_a_quiet_time_does_not_wait() -> None:
    queue = NodeQueue(window_s=3600)
    queue.put(A)
    assert await asyncio.wait_for(queue.batch(), 10) == (A,)


async def test_after_a_batch_nodes_gather_for_a_window() -> None:
    queue = NodeQueue(window_s=3600)
    queue.put(A)
    await queue.batch()
    queue.put(B)
    waiting = asyncio.create_task(queue.batch())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_full_batch_does_not_wait_for_the_window_but_lets_others_run() -> None:
    queue = NodeQueue(window_s=3600)
    for i in range(2 * BATCH_LIMIT):
        queue.put(NodeUID(str(i)))
    for _ in range(2):
        turns = asyncio.create_task(_turns())
        assert len(await asyncio.wait_for(queue.batch(), 10)) == BATCH_LIMIT
        assert turns.done(), "the loop was free in between"
        await turns


async def _turns() -> None:
    """Done when the loop has come by once."""
