"""Which nodes need a decision, and when do we take them? Each once, in order of arrival, in batches."""

from __future__ import annotations

import asyncio
from itertools import islice

from nodeipam_ctl.model import NodeUID

BATCH_LIMIT = 500
"""Nodes in one batch at most: deciding a batch must not hold up the loop, which also renews the Lease."""


class NodeQueue:
    """Nodes that need a decision, each at most once, first come first served.

    Batches are at least `window_s` apart, so that a burst is decided and written to the ledger together. A node that comes
    after a quiet time does not wait: there is nothing to gather it with, and the rest of a burst comes with the next batch.
    """

    def __init__(self, *, window_s: float) -> None:
        self._window_s = window_s
        self._uids: dict[NodeUID, None] = {}
        self._wanted = asyncio.Event()
        self._not_before_s = 0.0  # of the loop's clock

    def __len__(self) -> int:
        return len(self._uids)

    def put(self, uid: NodeUID) -> None:
        """Adds a node at the end, unless it is in the queue already."""
        self._uids.setdefault(uid)
        self._wanted.set()

    def wake(self) -> None:
        """Asks for a batch even if it is empty: something changed for nodes that were refused before."""
        self._wanted.set()

    def discard(self, uid: NodeUID) -> None:
        """Takes a node out: it is gone or needs nothing any more."""
        self._uids.pop(uid, None)

    def drain(self, limit: int = BATCH_LIMIT) -> tuple[NodeUID, ...]:
        """The first `limit` nodes in the queue; the rest is for the next batch."""
        batch = tuple(islice(self._uids, limit))
        for uid in batch:
            del self._uids[uid]
        if not self._uids:
            self._wanted.clear()
        return batch

    async def batch(self) -> tuple[NodeUID, ...]:
        """The next batch; waits until one is wanted, and until the window after the last one has passed."""
        await self._wanted.wait()
        clock = asyncio.get_running_loop().time
        full = len(self._uids) >= BATCH_LIMIT
        # Even a full batch lets the loop do something else first.
        await asyncio.sleep(0 if full else max(0.0, self._not_before_s - clock()))
        self._not_before_s = clock() + self._window_s
        return self.drain()
