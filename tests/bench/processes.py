"""How are the API server and the controller run for a measurement, and what do they cost? Each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from nodeipam_ctl.kube.auth import Access, load
from nodeipam_ctl.kube.client import Client

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SERVE = "import asyncio, sys; from tests.bench.processes import serve; asyncio.run(serve(sys.argv[1]))"
_CONTROLLER = "from nodeipam_ctl.cli.main import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An API server that runs, and a client of it."""

    client: Client
    access: Access
    kubeconfig: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process whose use of the machine is looked at from outside."""

    pid: int

    def cpu_s(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_mb(self) -> float:
        """Resident memory, 10^6 bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE / 1e6


async def serve(kubeconfig: str) -> None:
    """The API server process."""
    from nodeipam_ctl.demo.apiserver import ApiServer

    async with ApiServer(crd_dir=ROOT / "crds") as api:
        gc.collect()
        gc.freeze()  # else it stops for 40 ms now and then, to walk what it loaded
        api.write_kubeconfig(Path(kubeconfig))
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """A fresh API server with our CRDs."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        process = subprocess.Popen([sys.executable, "-c", _SERVE, str(kubeconfig)], cwd=ROOT)  # noqa: ASYNC220 - waiting here is the point
        try:
            while not kubeconfig.exists():
                assert process.poll() is None, "the API server ended"
                await asyncio.sleep(0.02)
            access = await load(kubeconfig)
            async with Client(access, component="bench", connections=64) as client:
                yield Server(client=client, access=access, kubeconfig=kubeconfig)
        finally:
            process.terminate()
            process.wait()


@contextlib.asynccontextmanager
async def controller(kubeconfig: Path, *, ledger: bool) -> AsyncIterator[Process]:
    """A controller process that is ready."""
    command = [
        *(sys.executable, "-c", _CONTROLLER, "controller", "--kubeconfig", str(kubeconfig)),
        *("--metrics-address", "127.0.0.1:0", "--log-format", "json"),
        "--ledger" if ledger else "--no-ledger",
    ]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=ROOT, stderr=output)  # noqa: ASYNC220
        try:
            address = ""
            while not address or not await _ready(address):
                assert process.poll() is None, "the controller ended"
                output.seek(0)
                address = next((json.loads(o)["address"] for o in output if '"telemetry_served"' in o), "")
                await asyncio.sleep(0.01)
            yield Process(pid=process.pid)
        finally:
            process.terminate()
            process.wait()


async def _ready(address: str) -> bool:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.startswith(b"HTTP/1.1 200")
