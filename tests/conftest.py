"""What holds for every test? Nothing is skipped, nothing is expected to fail, and no task is left behind."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Wall-clock limits say something about the machine, not about the law.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


class NothingSkipped:
    """Makes a run fail in which a test did not really run: a test that cannot run here must say so by failing."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.names.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.names.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.names:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name in self.names:
            terminalreporter.write_line(f"NOT RUN, which counts as a failure: {name}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # under xdist only the process that gathers the reports counts
        config.pluginmanager.register(NothingSkipped(), "nothing-skipped")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that sets logging up, in a program it calls perhaps, leaves no log that writes to its captured output."""
    structured = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    show = warnings.showwarning
    yield
    structlog.configure(**structured)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    warnings.showwarning = show


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Runs an async test with a check that it ended what it began."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _leaving_no_task(item.obj)
    return (yield)


def _leaving_no_task(test: Any) -> Any:
    @functools.wraps(test)
    async def checked(*args: Any, **kwargs: Any) -> None:
        before = asyncio.all_tasks()
        await test(*args, **kwargs)
        left: set[asyncio.Task[Any]] = set()
        for _ in range(20):  # a cancelled task needs a few turns of the loop to end
            left = {task for task in asyncio.all_tasks() - before if not _serves_a_connection(task)}
            if not left:
                return
            await asyncio.sleep(0)
        pytest.fail(f"left tasks running: {sorted(repr(task.get_coro()) for task in left)}")

    return checked


def _serves_a_connection(task: asyncio.Task[Any]) -> bool:
    # aiohttp's server keeps a task for each open connection; a server that a fixture started ends after the test.
    return "RequestHandler" in repr(task.get_coro())
