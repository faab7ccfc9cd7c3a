from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from nodeipam_ctl.cli.main import run
from tests.controller.harness import Cluster

GOLDEN = Path(__file__).parent / "golden"
UPSTREAM_CRD = Path(__file__).parents[1] / "data" / "networking.x-k8s.io_clustercidrs.yaml"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
GPU = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}

SOME_UID = "8d3f6a52-1c0e-4b7a-9e42-5b0f6d1c7a90"
"""Stands for every uid in golden files."""

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Clock:
    """The API server's clock: nodes registered while it shows a time seem to be of that time."""

    def __init__(self) -> None:
        self.at = LONG_AGO

    def __call__(self) -> datetime:
        return self.at

    def now_s(self) -> float:
        """The same in seconds since the epoch."""
        return self.at.timestamp()

    def ago(self, seconds: float) -> None:
        """So long before the present."""
        self.at = datetime.fromtimestamp(time.time() - seconds, UTC)


class Operator:
    """Somebody at a shell, with $KUBECONFIG set."""

    def __init__(self, cluster: Cluster, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster = cluster
        self.clock = clock
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> Said:
        self._capsys.readouterr()
        with _own_logging():
            code = await asyncio.to_thread(run, list(arguments))
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        return Said(code=code, out=said.out, err=said.err)

    async def serve(self, *names: str, **metadata: object) -> None:
        """Nodes register and get podCIDRs from a controller, one after the other."""
        async with self.cluster.controller(clock=self.clock.now_s):
            for name in names:
                await self.cluster.node(name, **metadata)  # type: ignore[arg-type]  # by name
                await self.cluster.served(name)


@contextmanager
def _own_logging() -> Iterator[None]:
    """A command sets up logging for its process; this process has other tests to run."""
    structlog_before, shown = structlog.get_config(), warnings.showwarning
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        yield
    finally:
        structlog.configure(**structlog_before)
        warnings.showwarning = shown
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@pytest.fixture
async def operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Operator]:
    clock = Clock()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    async with Cluster(tmp_path, now=clock) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        yield Operator(cluster, clock, capsys)


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares a text with the one kept under a name; UPDATE_GOLDEN=1 keeps it anew."""

    def compare(name: str, text: str) -> None:
        text = _UID.sub(SOME_UID, text)
        kept = GOLDEN / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            kept.write_text(text)
        assert text == kept.read_text()

    return compare
