"""How does a line of log come about? structlog, JSON for machines, columns for people, secrets blanked; set up once per process."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from nodeipam_ctl.errors import UsageError

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_FORMATS = ("auto", "json", "console")

_BLANK = "***"
_SECRET_KEYS = re.compile(
    r"token|password|passwd|secret|authorization|credential|private_?key|key_?data", re.IGNORECASE
)
_SECRET_TEXTS = re.compile(
    r"(?P<keep>\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<jwt>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def set_up(*, log_format: str = "auto", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Configures structlog, the standard library's logging and Python's warnings for this process.

    Args:
        log_format: `json`, `console`, or `auto`: console on a terminal, JSON elsewhere.
        log_level: the least that is logged: debug, info, warning or error.
        stream: standard error when None.

    Raises:
        UsageError: an unknown format or level.
    """
    if log_format not in _FORMATS:
        raise UsageError(f"log format {log_format!r} is unknown; use one of {', '.join(_FORMATS)}")
    if log_level not in _LEVELS:
        raise UsageError(f"log level {log_level!r} is unknown; use one of {', '.join(_LEVELS)}")
    out = sys.stderr if stream is None else stream
    as_json = log_format == "json" or (log_format == "auto" and not out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _one_line_errors,
            without_secrets,
            _json_renderer if as_json else _console_renderer(colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[log_level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _route_standard_library(_LEVELS[log_level])
    warnings.showwarning = _show_warning


def without_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blanks what must not be in a log: values under a secret's name, bearer tokens, JWTs and private keys in any text."""
    for key, value in event.items():
        if isinstance(value, str):
            if _SECRET_KEYS.search(key) and value:
                event[key] = _BLANK
            elif len(value) > 8 and ("Bearer" in value or "eyJ" in value or "PRIVATE KEY" in value):
                event[key] = scrubbed(value)
        elif isinstance(value, bytes | bytearray | memoryview):
            event[key] = f"{len(value)} bytes"
        elif isinstance(value, BaseException):
            event[key] = scrubbed(" ".join(str(value).split()) or type(value).__name__)
    return event


def scrubbed(text: str) -> str:
    """A text without the secrets that can be recognised by their looks."""
    return _SECRET_TEXTS.sub(lambda found: (found["keep"] or "") + _BLANK, text)


def _one_line_errors(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """`exc_info` as one line: who needs the traceback runs with --log-level=debug and sees it as `traceback`."""
    exc_info = event.pop("exc_info", None)
    if not exc_info:
        return event
    error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    if error is None:
        return event
    event.setdefault("error", f"{type(error).__name__}: {error}")
    if structlog.get_config()["wrapper_class"] is structlog.make_filtering_bound_logger(_LEVELS["debug"]):
        import traceback

        event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _json_renderer(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    import json

    ordered = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    # ASCII: no character of a hostile name can end the line, or be impossible to write.
    return json.dumps({**ordered, **event}, default=str)


def _console_renderer(*, colors: bool) -> Any:
    return structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=28, sort_keys=False, timestamp_key="time"
    )


class _ToStructlog(logging.Handler):
    """Lines of libraries as lines of ours; a text that repeats is a library's matter, not an operator's."""

    def emit(self, record: logging.LogRecord) -> None:
        # The library's text may hold anything: it is a value, never the event.
        structlog.get_logger(record.name).log(
            max(10, min(record.levelno, 50)),
            "library_said",
            library=record.name.partition(".")[0],
            text=" ".join(record.getMessage().split()),
            **({"exc_info": record.exc_info[1]} if record.exc_info and record.exc_info[1] else {}),
        )


def _route_standard_library(level: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_ToStructlog())
    # Libraries get a word only when it is serious: what matters of their work we say ourselves.
    root.setLevel(max(level, logging.WARNING))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the standard library's signature
    line: str | None = None,  # noqa: ARG001
) -> None:
    structlog.get_logger(__name__).warning(
        "python_warned",
        category=category.__name__,
        text=" ".join(str(message).split()),
        where=f"{filename}:{lineno}",
    )
