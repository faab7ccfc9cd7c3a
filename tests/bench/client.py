"""What does one PATCH cost a client of the API server, and one Node heartbeat an informer? Microseconds of CPU.

    python tests/bench client [seconds=6] [per_s=500] [nodes=300]

The other side is a process of its own that answers from memory. Wake-ups are part of the cost: heartbeats come one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.bench.kubelet_node import LONG_AGO, kubelet_node

_HEAD = (
    "HTTP/1.1 200 OK\r\nAudit-Id: 5cbd1f4d-6b6e-4a2a-9d6e-9f4a0f0b1c1e\r\nCache-Control: no-cache, private\r\n"
    "Content-Type: application/json\r\nX-Kubernetes-Pf-Flowschema-Uid: 0e1c7e0a-7d5b-4f4e-8a52-d6f2b1a3c4d5\r\n"
    "X-Kubernetes-Pf-Prioritylevel-Uid: 5b5c1f4d-6b6e-4a2a-9d6e-9f4a0f0b1c1e\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\n"
)
_PATCH = b'{"metadata":{"uid":"u"},"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"]}}'


def main(arguments: list[str]) -> int:
    """Prints one line per measurement."""
    given = dict(argument.split("=", 1) for argument in arguments)
    before_kb = _resident_kb()
    importlib.import_module("httptools")
    print(f"import httptools: {_resident_kb() - before_kb} kB resident")
    per_s, nodes = int(given.get("per_s", "500")), int(given.get("nodes", "300"))
    with _server(per_s, nodes) as url:
        asyncio.run(_measure(url, per_s, nodes, float(given.get("seconds", "6"))))
    return 0


async def _measure(url: str, per_s: int, nodes: int, seconds: float) -> None:
    from nodeipam_ctl.kube import resources
    from nodeipam_ctl.kube.auth import Access
    from nodeipam_ctl.kube.client import Client
    from nodeipam_ctl.kube.informer import Informer, Timing

    async with Client(Access(server=url)) as client:
        for parallel in (1, 32):
            print(f"PATCH, {parallel} at a time: {await _patches(client, parallel):.1f} us each")
        changes: list[object] = []
        informer = Informer(client, resources.nodes(), changes.append, timing=Timing(watch_s=3600))
        async with client.watch("/api/v1/nodes?watch=1", silence_s=60) as lines:
            await informer.list_once()
            changes.clear()
            costs = []
            beats, began_s, until_s = 0, 0.0, time.monotonic() + 10 * nodes / per_s
            async for line in lines:
                informer.take(line)
                beats += 1
                if (
                    time.monotonic() >= until_s
                ):  # the first span is the one in which each Node is read in full once
                    costs.append((time.thread_time() - began_s) * 1e6 / beats)
                    if len(costs) == 4:
                        break
                    beats, began_s, until_s = 0, time.thread_time(), time.monotonic() + seconds / 3
        print(f"Node heartbeat, {per_s}/s: {min(costs[1:]):.1f} us each, {len(changes)} taken for changes")


async def _patches(client: Any, parallel: int, *, count: int = 6000) -> float:
    async def worker() -> None:
        for _ in range(count // parallel):
            await client.patch("/api/v1/nodes/node-1", _PATCH)

    costs = []
    for _ in range(5):
        began_s = time.thread_time()
        await asyncio.gather(*(worker() for _ in range(parallel)))
        costs.append((time.thread_time() - began_s) * 1e6 / count)
    return min(costs)


def _stored(index: int, version: int) -> dict[str, Any]:
    """A Node as the API server keeps it; from one version to the next only what a heartbeat changes is different."""
    node = kubelet_node(index, heartbeat=f"2026-01-01T00:{version // 60 % 60:02}:{version % 60:02}Z")
    node["metadata"] |= {
        "uid": f"5cbd1f4d-6b6e-4a2a-9d6e-{index:012}",
        "resourceVersion": str(version),
        "creationTimestamp": LONG_AGO,
    }
    node["spec"]["podCIDR"] = f"10.{index >> 8}.{index & 255}.0/24"
    return node


class _Answering(asyncio.Protocol):
    """PATCH: a small object. A list: all Nodes. A watch: heartbeats, one packet each, for as long as it is open."""

    def __init__(self, per_s: int, nodes: int) -> None:
        self._per_s, self._nodes = per_s, nodes
        self._transport: Any = None
        self._beating: asyncio.Task[None] | None = None
        self._patched = _answer(
            {"kind": "Node", "metadata": {"name": "n", "resourceVersion": "5"}, "x": "y" * 600}
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._beating is not None:
            self._beating.cancel()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"PATCH"):
            self._transport.write(self._patched)
        elif b"watch=1" in data:
            self._transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        else:
            items = [_stored(index, 1) for index in range(self._nodes)]
            self._transport.write(_answer({"metadata": {"resourceVersion": "1"}, "items": items}))

    async def _beat(self) -> None:
        version, next_s = 1, time.monotonic()
        while True:
            version, next_s = version + 1, next_s + 1 / self._per_s
            event = {"type": "MODIFIED", "object": _stored(version % self._nodes, version)}
            line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            self._transport.write(b"%x\r\n%s\r\n" % (len(line), line))


def _answer(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return f"{_HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _serve(pipe: Connection, per_s: int, nodes: int) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Answering(per_s, nodes), "127.0.0.1", 0
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def _server(per_s: int, nodes: int) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, per_s, nodes), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join(10)


def _resident_kb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
