"""What is the controller given to do? A pool, Nodes as kubelets register them, their heartbeats; and when was each one served?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Self
from urllib.parse import urlsplit

from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.client import Client, query
from tests.bench.kubelet_node import kubelet_node
from tests.bench.processes import Server

NODES = "/api/v1/nodes"
PAGES = "/apis/nodeipam.dev/v1alpha1/podcidrslices"
POOLS = "/apis/nodeipam.dev/v1alpha1/clustercidrs"
_WATCH = query(NODES, {"watch": "1", "allowWatchBookmarks": "true"})
_CHUNK_MOST_BYTES = 1 << 24


class Watch:
    """When did each Node appear, and when did it show podCIDRs? Seen through a watch of our own.

    Args:
        prompt: each event as it comes, for latencies; else as our client reads a busy stream, up to 10 ms later, which leaves
            more of the cores to those that are measured.
    """

    def __init__(self, api: Server, *, prompt: bool) -> None:
        self._api = api
        self._prompt = prompt
        self._posted: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._open = asyncio.Event()
        self.appeared: dict[str, float] = {}
        self.served: dict[str, float] = {}

    @property
    def latencies_ms(self) -> list[float]:
        """From POST to podCIDRs, the shortest first."""
        return sorted(
            (at - self._posted[name]) * 1000 for name, at in self.served.items() if name in self._posted
        )

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def open(self) -> None:
        """Waits until the watch is there; then it brings what exists."""
        await self._open.wait()

    async def latency_ms(self, name: str) -> float:
        """Posts a Node and waits until it is served."""
        self.posting(name)
        await self._api.client.create(NODES, node(name))
        return (await self.until(self.served, name) - self._posted[name]) * 1000

    async def until(self, seen: dict[str, float], name: str) -> float:
        """When a Node was seen to have appeared, or to be served."""
        while name not in seen:
            self._changed.clear()
            await self._changed.wait()
        return seen[name]

    def posting(self, name: str) -> None:
        """A Node is being posted now."""
        self._posted[name] = time.monotonic()

    async def all_served(self, count: int) -> float:
        """When the last of so many Nodes was served."""
        while len(self.served) < count:
            self._changed.clear()
            await self._changed.wait()
        return max(self.served.values())

    async def _run(self) -> None:
        lines = _prompt_lines(self._api.access) if self._prompt else _lines(self._api.client)
        async for line in lines:
            self._open.set()
            # Only as much of the Node is read as is needed: this process shares the cores.
            start = line.find(b'"name":')
            if start < 0:
                continue
            first = line.index(b'"', start + 7) + 1
            name = line[first : line.index(b'"', first)].decode()
            self.appeared.setdefault(name, time.monotonic())
            if b'"podCIDRs":["' in line or b'"podCIDRs": ["' in line:
                self.served.setdefault(name, time.monotonic())
            self._changed.set()


async def _lines(client: Client) -> AsyncIterator[bytes]:
    async with client.watch(_WATCH, silence_s=600) as lines:
        async for line in lines:
            yield line


async def _prompt_lines(access: Access) -> AsyncIterator[bytes]:
    parts = urlsplit(access.server)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, ssl=access.ssl, limit=_CHUNK_MOST_BYTES
    )
    try:
        token = f"Authorization: Bearer {await access.token.token()}\r\n" if access.token else ""
        writer.write(f"GET {_WATCH} HTTP/1.1\r\nHost: {parts.netloc}\r\n{token}\r\n".encode())
        # The embedded server sends whole lines in each chunk, so that heads of chunks are lines of their own.
        while line := await reader.readline():
            yield line
    finally:
        writer.close()


async def register(api: Server, watch: Watch, count: int) -> None:
    """Posts Nodes, as fast as the server takes them."""
    bodies = iter([(f"node-{i}", node(f"node-{i}")) for i in range(count)])

    async def worker() -> None:
        for name, body in bodies:
            watch.posting(name)
            await api.client.create(NODES, body)

    await asyncio.gather(*(worker() for _ in range(16)))


async def present(api: Server, bodies: Iterable[bytes]) -> None:
    """Creates Nodes that nobody measures."""
    left = iter(bodies)

    async def worker() -> None:
        for body in left:
            await api.client.create(NODES, body)

    await asyncio.gather(*(worker() for _ in range(32)))


async def heartbeats(client: Client, per_s: int, *, seconds: float, names: list[str]) -> int:
    """Heartbeats of random Nodes, evenly spread; how many."""
    body = json.dumps(
        {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}}
    )
    sent = 0
    end_s = time.monotonic() + seconds

    async def worker(number: int) -> None:
        nonlocal sent
        next_s = time.monotonic() + random.random() * 16 / per_s
        while (now_s := time.monotonic()) < end_s:
            if next_s > now_s:
                await asyncio.sleep(next_s - now_s)
            next_s += 16 / per_s
            sent += 1
            beat = body.replace("KubeletReady", f"Beat{sent}").encode()
            await client.patch(f"{NODES}/{random.choice(names)}/status", beat)

    await asyncio.gather(*(worker(i) for i in range(16)))
    return sent


async def pool(client: Client) -> None:
    """A dual-stack pool for more than 100,000 nodes."""
    body = {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "ClusterCIDR",
        "metadata": {"name": "default"},
        "spec": {
            "ipv4": {"cidrs": ["10.0.0.0/8", "11.0.0.0/8"], "nodeMaskSize": 24},
            "ipv6": {"cidrs": ["fd00:10::/40"], "nodeMaskSize": 64},
        },
    }
    await client.create(POOLS, json.dumps(body).encode())


def node(name: str, *, block: int | None = None, small: bool = False) -> bytes:
    """A Node as a kubelet registers it, 6 kB or 1; with podCIDRs when a block is given."""
    body = kubelet_node(int(name.rpartition("-")[2]), images=0 if small else 26)
    body["metadata"]["name"] = name
    if small:
        del body["status"]["conditions"][1:]
    if block is not None:
        cidrs = blocks(block)
        body["spec"] |= {"podCIDR": cidrs[0], "podCIDRs": cidrs}
    return json.dumps(body, separators=(",", ":")).encode()


def blocks(number: int) -> list[str]:
    """One node's blocks of the pool."""
    return [
        f"{10 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24",
        f"fd00:10:{number >> 16:x}:{number & 0xFFFF:x}::/64",
    ]
