"""A controller as a process of its own, as it runs in a Pod."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.controller.harness import eventually


class Process:
    """A running `nodeipam-ctl controller` and what it has logged so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.other.append(line.decode())

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    async def says(self, event: str, *, within_s: float = 20.0) -> dict[str, Any]:
        """The last log line of an event, once there is one."""
        found: list[dict[str, Any]] = await eventually(
            lambda: self.said(event), within_s=within_s, what=f"log line {event} in {self.lines} {self.other}"
        )
        return found[-1]

    async def answer(self, path: str) -> tuple[int, str]:
        """Status and body of /metrics, /healthz or /readyz."""
        address = (await self.says("telemetry_served"))["address"]
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return int(head.split()[1]), body

    async def ready(self) -> bool:
        """Whether /readyz answers 200."""
        return (await self.answer("/readyz"))[0] == 200

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    async def ends(self, *, within_s: float = 10.0) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
            await self._reader
        return code


@contextlib.asynccontextmanager
async def controller_process(kubeconfig: Path, *flags: str) -> AsyncIterator[Process]:
    """Starts a controller; kills it at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from nodeipam_ctl.cli.main import main; main()", "controller"),
        *(
            "--kubeconfig",
            str(kubeconfig),
            "--metrics-address",
            "127.0.0.1:0",
            "--log-format",
            "json",
            *flags,
        ),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    running = Process(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ends()
