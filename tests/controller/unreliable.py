"""A client whose writes are paused, late, lost or done without an answer, by the dice of one seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

from nodeipam_ctl.errors import NodeIPAMError, OutcomeUnknown, Transient
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.client import Client


class UnreliableClient(Client):
    """Does to writes of Nodes and ledger pages what networks and servers do to them.

    Attributes:
        trouble: the share of such writes that something happens to.
    """

    def __init__(self, access: Access, *, dice: random.Random, trouble: float = 0.3, **options: Any) -> None:
        super().__init__(access, **options)
        self.trouble = trouble
        self.happened: dict[str, int] = {}
        self._dice = dice
        self._late: set[asyncio.Task[bytes]] = set()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._late, return_exceptions=True)
        await super().__aexit__(kind, error, trace)

    async def create(self, path: str, body: bytes, **options: Any) -> bytes:
        return await self._tried(path, lambda: Client.create(self, path, body, **options))

    async def replace(self, path: str, body: bytes, **options: Any) -> bytes:
        return await self._tried(path, lambda: Client.replace(self, path, body, **options))

    async def patch(self, path: str, body: bytes, **options: Any) -> bytes:
        return await self._tried(path, lambda: Client.patch(self, path, body, **options))

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **options: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async with super().watch(path, **options) as lines:
            yield self._dawdling(lines)

    async def _dawdling(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A process that is not scheduled for a while sees the past."""
        async for line in lines:
            if self._dice.random() < self.trouble / 3:
                await asyncio.sleep(self._dice.expovariate(1 / 0.03))
            yield line

    async def _tried(self, path: str, send: Callable[[], Awaitable[bytes]]) -> bytes:
        if ("/nodes/" not in path and "podcidrslices" not in path) or self._dice.random() > self.trouble:
            return await send()
        what = self._dice.choice(("paused", "slow answer", "no answer", "late", "never sent", "refused"))
        self.happened[what] = self.happened.get(what, 0) + 1
        pause_s = self._dice.expovariate(1 / 0.03)
        match what:
            case "paused":
                await asyncio.sleep(pause_s)
                return await send()
            case "slow answer":
                answer = await send()
                await asyncio.sleep(pause_s)
                return answer
            case "no answer":
                await send()
                raise OutcomeUnknown(f"{path}: the answer was lost on purpose")
            case "late":
                # The worst: we are told nothing, look, see no effect, and then it takes effect.
                task = asyncio.create_task(self._later(pause_s, send))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                raise OutcomeUnknown(f"{path}: it is still under way, on purpose")
            case "never sent":
                raise OutcomeUnknown(f"{path}: it was lost on purpose")
            case _:
                raise Transient(f"{path}: refused on purpose")

    async def _later(self, pause_s: float, send: Callable[[], Awaitable[bytes]]) -> bytes:
        await asyncio.sleep(pause_s)
        try:
            return await send()
        except NodeIPAMError as exc:
            return str(exc).encode()
