"""How fast is the embedded API server? Node PATCHes and watch events a second, and megabytes for many Nodes.

The server runs in one process; the writer and the watcher in another. CPU seconds are printed beside wall-clock rates,
because a shared machine makes the latter noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.bench.kubelet_node import kubelet_node

_STREAMS = 16


def _serve(pipe: Connection) -> None:
    async def run() -> None:
        async with ApiServer() as server:
            pipe.send((server.url, server.token))
            loop = asyncio.get_running_loop()
            while True:
                await loop.run_in_executor(None, pipe.poll, None)
                if pipe.recv() == "stop":
                    return
                times = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send((times.ru_utime + times.ru_stime, _resident_mb()))

    asyncio.run(run())


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class _Wire:
    """Raw HTTP/1.1 on a few kept connections: the client must not be the bottleneck."""

    def __init__(self, url: str, token: str) -> None:
        self.host, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)
        self.head = f"Host: demo\r\nAuthorization: Bearer {token}\r\nUser-Agent: bench/1\r\n"

    def message(self, method: str, path: str, kind: str, body: bytes) -> bytes:
        start = f"{method} {path} HTTP/1.1\r\n{self.head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return start.encode() + body

    async def send_all(self, messages: list[bytes]) -> float:
        """Send every message, `_STREAMS` at a time; seconds it took."""
        queue = iter(messages)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(_STREAMS):
                group.create_task(self._stream(queue))
        return time.perf_counter() - started

    async def _stream(self, queue: Any) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 20)
        for message in queue:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            if head[9:11] != b"20":
                raise SystemExit(f"the server answered {head[:60]!r}")
            at = head.index(b"Content-Length: ") + 16
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        writer.close()
        await writer.wait_closed()

    async def watch(self, seen: list[int]) -> None:
        """Count the events of a Node watch, from version `seen[1]` on, into `seen[0]`."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 26)
        writer.write(
            f"GET /api/v1/nodes?watch=1&resourceVersion={seen[1]} HTTP/1.1\r\n{self.head}\r\n".encode()
        )
        try:
            while chunk := await reader.read(1 << 20):
                seen[0] += chunk.count(b'{"type":"')
        finally:
            writer.close()


async def _measure(url: str, token: str, pipe: Connection, nodes: int) -> dict[str, float]:
    wire = _Wire(url, token)
    found: dict[str, float] = {}
    creates = [
        wire.message("POST", "/api/v1/nodes", "application/json", json.dumps(kubelet_node(i)).encode())
        for i in range(nodes)
    ]
    found["node_bytes"] = float(len(json.dumps(kubelet_node(1), separators=(",", ":"))))
    found["create_per_s"] = nodes / await wire.send_all(creates)
    seen = [0, nodes]
    watching = asyncio.create_task(wire.watch(seen))
    patches = []
    for index in range(nodes):
        cidr = f"10.{index >> 8}.{index & 255}.0/24"
        body = json.dumps({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}).encode()
        path = f"/api/v1/nodes/node-{index:05}"
        patches.append(wire.message("PATCH", path, "application/merge-patch+json", body))
    await asyncio.sleep(0.5)
    before = seen[0]
    cpu = await _cpu(pipe)
    started = time.perf_counter()
    found["patch_per_s"] = nodes / await wire.send_all(patches)
    while seen[0] - before < nodes:  # noqa: ASYNC110  (the watcher runs in this loop and only counts)
        await asyncio.sleep(0.005)
    found["events_per_s"] = nodes / (time.perf_counter() - started)
    after = await _cpu(pipe)
    found["cpu_us_per_patch"] = (after[0] - cpu[0]) / nodes * 1e6
    found["resident_mb"] = after[1]
    watching.cancel()
    return found


async def _cpu(pipe: Connection) -> tuple[float, float]:
    pipe.send("usage")
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, pipe.poll, None)
    usage: tuple[float, float] = pipe.recv()
    return usage


def run(nodes: int) -> dict[str, float]:
    """Measure with `nodes` Nodes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    url, token = here.recv()
    try:
        return asyncio.run(_measure(url, token, here, nodes))
    finally:
        here.send("stop")
        process.join(10)


def main(arguments: list[str] | None = None) -> None:
    """Print what 5,000 Nodes cost, and what 10,000 weigh."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--many", type=int, default=10_000, help="Nodes for the memory measurement")
    chosen = parser.parse_args(arguments)
    found = run(chosen.nodes)
    print(
        f"embedded API server, {chosen.nodes} Nodes of {found['node_bytes'] / 1000:.1f} kB, one watcher, {_STREAMS} writers"
    )
    print(f"  create   {found['create_per_s']:8.0f} a second")
    print(
        f"  PATCH    {found['patch_per_s']:8.0f} a second, {found['cpu_us_per_patch']:.0f} µs of CPU each, watch included"
    )
    print(f"  events   {found['events_per_s']:8.0f} a second reached the watcher")
    many = run(chosen.many)
    print(
        f"  memory   {many['resident_mb']:8.0f} MB resident with {chosen.many} Nodes, each created and patched"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
