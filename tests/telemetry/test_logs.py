"""Is a line of log one line, readable by machine or person, and free of secrets and tracebacks?"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.telemetry.logs import scrubbed, set_up

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, shown = root.handlers[:], root.level, warnings.showwarning
    yield
    root.handlers[:], warnings.showwarning = handlers, shown
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_carry_time_level_event_and_facts() -> None:
    stream = io.StringIO()
    set_up(log_format="auto", stream=stream)
    structlog.get_logger().info("pod_cidr_assigned", node="n1", pod_cidrs=["10.0.0.0/24"])
    structlog.get_logger().debug("never shown")
    (line,) = lines(stream)
    assert list(line)[:3] == ["time", "level", "event"]
    assert (line["level"], line["event"], line["node"]) == ("info", "pod_cidr_assigned", "n1")


def test_console_lines_are_for_people() -> None:
    stream = io.StringIO()
    set_up(log_format="console", log_level="debug", stream=stream)
    structlog.get_logger().debug("route_added", dst="10.0.0.0/24")
    assert "route_added" in stream.getvalue()
    assert "dst=10.0.0.0/24" in stream.getvalue()


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"token": JWT}, id="a key that says so"),
        pytest.param({"reason": f"401 for Authorization: Bearer {JWT}"}, id="a bearer token in a text"),
        pytest.param({"reason": f"got {JWT}."}, id="a JWT in a text"),
        pytest.param({"client_key_data": "abcdefgh"}, id="key data"),
        pytest.param(
            {"x": "-----BEGIN EC PRIVATE KEY-----\nabcdefgh\n-----END EC PRIVATE KEY-----"},
            id="a private key",
        ),
        pytest.param({"exc": ValueError(f"Bearer {JWT}")}, id="an exception"),
        pytest.param({"body": b"abcdefgh" + JWT.encode()}, id="bytes"),
    ],
)
def test_secrets_are_blanked(facts: dict[str, object]) -> None:
    stream = io.StringIO()
    set_up(log_format="json", stream=stream)
    structlog.get_logger().warning("x", **facts)
    assert JWT not in stream.getvalue()
    assert "abcdefgh" not in stream.getvalue()


def test_an_ordinary_text_stays() -> None:
    assert scrubbed("the Bearer of news; node a-b.c:10") == "the Bearer of news; node a-b.c:10"


def test_an_exception_is_one_line_and_a_traceback_only_for_debug() -> None:
    for level in ("info", "debug"):
        stream = io.StringIO()
        set_up(log_format="json", log_level=level, stream=stream)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            structlog.get_logger().error("turn_failed", exc_info=True)
        (line,) = lines(stream)
        assert line["error"] == "ZeroDivisionError: division by zero"
        assert ("traceback" in line) is (level == "debug")


def test_warnings_of_libraries_and_python_are_lines_of_ours() -> None:
    stream = io.StringIO()
    set_up(log_format="json", stream=stream)
    logging.getLogger("asyncio").warning("slow\ncallback")
    logging.getLogger("noisy.lib").info("never shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up(log_format="json", stream=stream)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    first, second = lines(stream)
    assert (first["event"], first["library"], first["text"]) == ("library_said", "asyncio", "slow callback")
    assert (second["event"], second["text"]) == ("python_warned", "old thing")


@pytest.mark.parametrize(("log_format", "log_level"), [("xml", "info"), ("json", "loud")])
def test_an_unknown_choice_is_refused(log_format: str, log_level: str) -> None:
    with pytest.raises(UsageError, match="use one of"):
        set_up(log_format=log_format, log_level=log_level)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.binary() | st.none()))
def test_whatever_is_logged_is_one_line_of_json(facts: dict[str, object]) -> None:
    stream = io.StringIO()
    set_up(log_format="json", stream=stream)
    structlog.get_logger().bind(**facts).info("x") if "event" not in facts else None
    assert stream.getvalue().count("\n") <= 1
    assert len(lines(stream)) <= 1
