"""How does a test act inside a sandbox? It runs one of the scripts in `plays/` there, and reads what it printed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

PLAYS = Path(__file__).parent / "plays"
_OUTER = """
import json, sys
from nodeipam_ctl.cli.main import EXIT_FAILED
from nodeipam_ctl.demo import sandbox
from nodeipam_ctl.errors import NodeIPAMError
try:
    code = sandbox.run([sys.executable, sys.argv[1]], json.loads(sys.argv[2]))
except NodeIPAMError as exc:
    print(exc, file=sys.stderr)
    code = EXIT_FAILED
sys.exit(code)
"""


class Perform(Protocol):
    """Runs a play to its end; what it printed as JSON."""

    def __call__(self, play: str, **request: Any) -> Any: ...


class Began:
    """A process and all its descendants, known by a variable in their environment."""

    def __init__(self, argv: list[str]) -> None:
        self.mark = f"NODEIPAM_TEST_MARK={uuid.uuid4()}"
        self.pins: list[int] = []
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            argv,
            env={**os.environ, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def read_until(self, word: str) -> list[str]:
        """Its lines up to one with `word` in it; fails at the end of its output."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if word in line:
                return lines
        pytest.fail(f"never said {word!r}: {lines}")

    def processes(self) -> list[int]:
        """All processes with the mark, zombies not counted."""
        return [
            pid for pid in _all_pids() if self.mark.encode() in _read(f"/proc/{pid}/environ").split(b"\0")
        ]

    def namespaces(self) -> set[str]:
        """The namespaces of all these processes, other than this test's own.

        They are held open until the test ends: the kernel gives the number of one that is gone to the next that is made.
        """
        ours = set(_namespaces(os.getpid()).values())
        found: set[str] = set()
        for pid in self.processes():
            for path, name in _namespaces(pid).items():
                if name not in ours | found:
                    with contextlib.suppress(OSError):
                        self.pins.append(os.open(path, os.O_RDONLY))
                        found.add(name)
        return found

    def assert_nothing_is_left(self, spaces: set[str], *, within_s: float = 5.0) -> None:
        """No process of it lives, and none of anybody is in its namespaces."""
        deadline = time.monotonic() + within_s
        while True:
            left = self.processes()
            held = [pid for pid in _all_pids() if spaces & set(_namespaces(pid).values())]
            if not left and not held:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"left behind: {[_read(f'/proc/{pid}/cmdline') for pid in {*left, *held}]}")
            time.sleep(0.02)


@pytest.fixture
def perform() -> Perform:
    def run(play: str, **request: Any) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", _OUTER, str(PLAYS / f"{play}.py"), json.dumps(request)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def begin() -> Iterator[Callable[..., Began]]:
    """Starts a play, or any command line; kills what is left of it after the test."""
    with _collected() as begun:

        def start(*argv: str, play: str = "", **request: Any) -> Began:
            outer = [sys.executable, "-c", _OUTER, str(PLAYS / f"{play}.py"), json.dumps(request)]
            begun.append(Began(outer if play else list(argv)))
            return begun[-1]

        yield start


@contextmanager
def _collected() -> Iterator[list[Began]]:
    begun: list[Began] = []
    try:
        yield begun
    finally:
        for one in begun:
            one.process.kill()
            one.process.wait()
            assert one.process.stdout is not None
            one.process.stdout.close()
            for pin in one.pins:
                os.close(pin)


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespaces(pid: int) -> dict[str, str]:
    found = {}
    for kind in ("net", "mnt", "pid", "uts"):
        path = f"/proc/{pid}/ns/{kind}"
        with contextlib.suppress(OSError):  # it ended meanwhile, or is a zombie
            found[path] = str(Path(path).readlink())
    return found


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
