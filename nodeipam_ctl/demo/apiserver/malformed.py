"""What is said about a request that is no HTTP? One line: a traceback of aiohttp's parser helps nobody at a terminal."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

_MOST = 120


class _OneLine(logging.Filter):
    """What the sender did wrong becomes one line; a mistake of ours keeps its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """For logging."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            reason = " ".join(str(error).removeprefix("400, message:").split())
            record.msg = "API server: refused what is no HTTP: %s"
            record.args = (reason[:_MOST],)
            record.exc_info = record.exc_text = None
        return True


def logger() -> logging.Logger:
    """The logger for aiohttp's server."""
    found = logging.getLogger(__name__)
    found.filters = [_OneLine()]
    return found
