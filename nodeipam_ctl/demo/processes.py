"""How does the demo run a program? To its end with its output, or in the background with a log."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nodeipam_ctl.errors import NodeIPAMError


class LabError(NodeIPAMError):
    """Something of the demo did not do what it should; the message is for the person watching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a finished program said."""

    code: int
    stdout: str
    stderr: str


async def attempt(
    argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None, timeout_s: float = 30.0
) -> Output:
    """Runs a program to its end, whatever its exit code; a cancelled call kills it.

    Raises:
        LabError: it still ran after the timeout, and was killed.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await process.communicate(stdin.encode())
    except TimeoutError:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Output(
        code=process.returncode,
        stdout=stdout.decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )


async def run(argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """The standard output of a program that succeeded.

    Raises:
        LabError: it failed; the message has the command and its last words.
    """
    output = await attempt(argv, stdin=stdin, env=env)
    if output.code != 0:
        words = " ".join((output.stderr or output.stdout).split()) or "no output"
        raise LabError(f"`{' '.join(argv)}` ended with {output.code}: {words}")
    return output.stdout


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A program in the background; its standard output and error go to `log`."""

    name: str
    log: Path
    process: asyncio.subprocess.Process = field(repr=False)

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.returncode

    def tail(self, lines: int = 12) -> str:
        """The last lines of its log."""
        with self.log.open(errors="replace") as file:
            return "".join(deque(file, maxlen=lines))

    async def stop(self, *, timeout_s: float) -> int:
        """Sends SIGTERM and waits; its exit code.

        Raises:
            LabError: it still ran after the timeout, and was killed.
        """
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise LabError(
                f"{self.name} did not stop within {timeout_s} s of SIGTERM; its log: {self.log}"
            ) from None


async def start(name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Daemon:
    """Starts a program in the background."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=asyncio.subprocess.STDOUT, env=env
        )
    return Daemon(name=name, log=log, process=process)
