"""Does the API server answer at present, and may what was read from it be trusted?

Said in the log once when it stops and once when it is back, whoever asked. Between a lost connection and the proof that the
server is still the one we knew (`history`), or a fresh list, its data are in doubt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)


class Reachability:
    """What all informers of one Client know together about their server.

    Attributes:
        lost_since_s: since when (the clock's seconds) the server has not answered; None while it does.
        reason: the last failure, one line.
    """

    def __init__(self, server: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self.lost_since_s: float | None = None
        self.reason = ""
        self._doubted: set[str] = set()
        self._followers: dict[str, Callable[[], None]] = {}
        self._when_replaced: list[Callable[[], None]] = []
        self._certain = asyncio.Event()
        self._certain.set()

    def failed(self, reason: str) -> None:
        """An attempt to come back failed as well: it was no passing cut."""
        self.reason = reason
        if self.lost_since_s is None:
            self.lost_since_s = self._clock()
            log.warning("api_server_lost", server=self._server, reason=reason)

    def answered(self) -> None:
        """The server answered."""
        if self.lost_since_s is not None:
            away_s = round(self._clock() - self.lost_since_s, 1)
            self.lost_since_s = None
            self.reason = ""
            log.info("api_server_back", server=self._server, away_s=away_s)

    @property
    def doubted(self) -> tuple[str, ...]:
        """Whose data may be those of a server that is no more."""
        return tuple(sorted(self._doubted))

    def doubt(self, name: str) -> None:
        """A reader's connection was lost: until `trust`, what it has read is in doubt."""
        self._doubted.add(name)
        self._certain.clear()

    def trust(self, name: str) -> None:
        """A reader knows again that what it has is the server's; those that follow must now look as well."""
        if name not in self._doubted:
            return
        self._doubted.discard(name)
        if name not in self._followers:
            for follower, look in self._followers.items():
                self._doubted.add(follower)
                look()
        if not self._doubted:
            self._certain.set()

    def follow(self, name: str, look: Callable[[], None]) -> None:
        """Has `look` called whenever a reader is back; `name` is in doubt from then on until it says `trust`."""
        self._followers[name] = look

    @contextmanager
    def when_replaced(self, relist: Callable[[], None]) -> Iterator[None]:
        """Has `relist` called when somebody found that the server is not the one we knew."""
        self._when_replaced.append(relist)
        try:
            yield
        finally:
            self._when_replaced.remove(relist)

    def replaced(self) -> None:
        """Somebody found that the server's data are not those we knew: everybody lists again."""
        for relist in self._when_replaced:
            relist()

    async def certain(self) -> None:
        """Waits until nobody's data are in doubt."""
        await self._certain.wait()
