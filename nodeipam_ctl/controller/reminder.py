"""What of nodes that wait for days? They are asked about anew now and then, so that an Event always says why they wait."""

from __future__ import annotations

import asyncio

from nodeipam_ctl.controller.queue import NodeQueue
from nodeipam_ctl.ipam.allocator import Allocator

REMIND_S = 1500.0
"""How often, in seconds: no sooner than the same may be told again (`eventing.py`), and before the API server forgets Events."""


async def remind(allocator: Allocator, queue: NodeQueue, *, every_s: float | None = None) -> None:
    """Puts every node that waits into the queue, for ever; cancel it to stop."""
    while True:
        await asyncio.sleep(REMIND_S if every_s is None else every_s)
        for node, _ in allocator.waiting():
            queue.put(node.uid)
