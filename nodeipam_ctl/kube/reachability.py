"""Does the API server answer at present? Said in the log once when it stops and once when it is back, whoever asked."""

from __future__ import annotations

import time
from collections.abc import Callable

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
