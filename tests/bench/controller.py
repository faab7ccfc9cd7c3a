"""How fast is the controller, and what does it cost? API server, controller and load each in a process of its own.

    python tests/bench controller nodes=2000 rounds=with,without heartbeats=500 restart=10000 huge=100000

Wall times depend on the API server, which is Python as well and shares the cores; CPU seconds and memory are the controller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nodeipam_ctl.kube.auth import load
from nodeipam_ctl.kube.client import Client, query

ROOT = Path(__file__).parents[2]
NODES = "/api/v1/nodes"
PAGES = "/apis/nodeipam.dev/v1alpha1/podcidrslices"
POOLS = "/apis/nodeipam.dev/v1alpha1/clustercidrs"
_QUIET = 200
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(arguments: list[str]) -> int:
    """Prints one line per measurement."""
    if arguments[:1] == ["serve"]:
        return asyncio.run(_serve(Path(arguments[1])))
    given = dict(argument.split("=", 1) for argument in arguments)
    count = int(given.get("nodes", "2000"))
    for ledger in filter(None, given.get("rounds", "without,with").split(",")):
        asyncio.run(_round(count, ledger=ledger == "with", heartbeats=int(given.get("heartbeats", "500"))))
    if (many := int(given.get("restart", "10000"))) > 0:
        asyncio.run(_restart(many))
    if (huge := int(given.get("huge", "100000"))) > 0:
        asyncio.run(_huge(huge))
    return 0


async def _huge(count: int) -> None:
    """Memory with very many Nodes of about 1 kB, all with podCIDRs, and their ledger."""
    async with _cluster() as (client, kubeconfig):
        await _pool(client)
        for first in range(0, count, 500):
            some = range(first, min(first + 500, count))
            await asyncio.gather(*(client.create(NODES, _node(f"node-{i}", block=i, images=0)) for i in some))
        started = time.monotonic()
        async with _controller(kubeconfig, ledger=True) as controller:
            ready_s = time.monotonic() - started
            pages = -1
            while pages != (pages := await _ledger_pages(client)) or not pages:  # noqa: ASYNC110 - another process writes
                await asyncio.sleep(3)
            _print(
                "very many nodes",
                nodes=count,
                ready_after_s=round(ready_s, 1),
                ledger_written_after_s=round(time.monotonic() - started, 1),
                controller_cpu_s=round(_cpu_s(controller), 1),
                rss_mb=_rss_mb(controller),
            )


async def _ledger_pages(client: Client) -> int:
    answer = json.loads(await client.get(f"{PAGES}?limit=1"))
    return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount", 0))


async def _round(count: int, *, ledger: bool, heartbeats: int) -> None:
    label = "with ledger" if ledger else "no ledger"
    async with _cluster() as (client, kubeconfig), _controller(kubeconfig, ledger=ledger) as controller:
        await _pool(client)
        watch = _Watch(client)
        async with watch:
            quiet = []
            for i in range(_QUIET):
                quiet.append(await watch.latency(f"quiet-{i}"))
                await asyncio.sleep(0.01)
            cpu_before = _cpu_s(controller)
            started = time.monotonic()
            await _post_nodes(client, watch, count)
            took_s = await watch.all_served(count + _QUIET) - started
            cpu_ms = (_cpu_s(controller) - cpu_before) * 1000 / count
            burst = sorted(s for name, s in watch.latencies.items() if name.startswith("node-"))
        _print(
            f"registration, {label}",
            nodes=count,
            nodes_per_s=round(count / took_s),
            p50_ms=round(burst[len(burst) // 2] * 1000, 1),
            p99_ms=round(burst[int(len(burst) * 0.99)] * 1000, 1),
            controller_cpu_ms_per_node=round(cpu_ms, 3),
            rss_mb=_rss_mb(controller),
        )
        _print(
            f"one quiet node, {label}",
            p50_ms=round(sorted(quiet)[_QUIET // 2] * 1000, 1),
            p99_ms=round(sorted(quiet)[int(_QUIET * 0.99)] * 1000, 1),
            worst_ms=round(max(quiet) * 1000, 1),
        )
        if heartbeats:
            cpu_before, began = _cpu_s(controller), time.monotonic()
            sent = await _heartbeats(
                client, heartbeats, seconds=4.0, names=[f"node-{i}" for i in range(count)]
            )
            await asyncio.sleep(0.2)
            spent_s = time.monotonic() - began
            per_beat_ms = (_cpu_s(controller) - cpu_before) * 1000 / sent
            _print(
                f"node heartbeats, {label}",
                per_s=round(sent / spent_s),
                controller_cpu_ms_per_heartbeat=round(per_beat_ms, 3),
                share_of_a_core_at_500_per_s=f"{per_beat_ms * 500 / 10:.1f} %",
            )
    async with _cluster() as (client, kubeconfig):
        for first in range(0, count, 200):
            await asyncio.gather(
                *(client.create(NODES, _node(f"node-{i}")) for i in range(first, min(first + 200, count)))
            )
        async with _controller(kubeconfig, ledger=ledger) as controller:
            watch = _Watch(client)
            async with watch:
                cpu_before, started = _cpu_s(controller), time.monotonic()
                await _pool(client)
                took_s = await watch.all_served(count) - started
                cpu_ms = (_cpu_s(controller) - cpu_before) * 1000 / count
            _print(
                f"all waiting when the pool comes, {label}",
                nodes=count,
                nodes_per_s=round(count / took_s),
                controller_cpu_ms_per_node=round(cpu_ms, 3),
                rss_mb=_rss_mb(controller),
            )


async def _restart(count: int) -> None:
    async with _cluster() as (client, kubeconfig):
        await _pool(client)
        for first in range(0, count, 200):
            await asyncio.gather(
                *(
                    client.create(NODES, _node(f"node-{i}", block=i))
                    for i in range(first, min(first + 200, count))
                )
            )
        for label in ("first start, all podCIDRs foreign", "restart"):
            started = time.monotonic()
            async with _controller(kubeconfig, ledger=True) as controller:
                _print(
                    label,
                    nodes=count,
                    ready_after_s=round(time.monotonic() - started, 2),
                    controller_cpu_s=round(_cpu_s(controller), 2),
                    rss_mb=_rss_mb(controller),
                )
                await asyncio.sleep(3)  # the ledger of the first start is written


class _Watch:
    """When did each Node show podCIDRs? Seen through a watch of our own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._posted: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.served: dict[str, float] = {}

    @property
    def latencies(self) -> dict[str, float]:
        return {name: at - self._posted[name] for name, at in self.served.items() if name in self._posted}

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def latency(self, name: str) -> float:
        self.posting(name)
        await self._client.create(NODES, _node(name))
        while name not in self.served:
            self._changed.clear()
            await self._changed.wait()
        return self.latencies[name]

    def posting(self, name: str) -> None:
        self._posted[name] = time.monotonic()

    async def all_served(self, count: int) -> float:
        while len(self.served) < count:
            self._changed.clear()
            await self._changed.wait()
        return max(self.served.values())

    async def _run(self) -> None:
        async with self._client.watch(
            query(NODES, {"watch": "1", "allowWatchBookmarks": "true"}), silence_s=600
        ) as lines:
            async for line in lines:
                # Only as much of the Node is read as is needed: this process shares the cores.
                if b'"podCIDRs":["' in line or b'"podCIDRs": ["' in line:
                    start = line.index(b'"name":') + 7
                    name = line[
                        line.index(b'"', start) + 1 : line.index(b'"', line.index(b'"', start) + 1)
                    ].decode()
                    self.served.setdefault(name, time.monotonic())
                    self._changed.set()


async def _post_nodes(client: Client, watch: _Watch, count: int) -> None:
    bodies = [(f"node-{i}", _node(f"node-{i}")) for i in range(count)]
    at = iter(bodies)

    async def worker() -> None:
        for name, body in at:
            watch.posting(name)
            await client.create(NODES, body)

    await asyncio.gather(*(worker() for _ in range(16)))


async def _heartbeats(client: Client, per_s: int, *, seconds: float, names: list[str]) -> int:
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


async def _pool(client: Client) -> None:
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


def _node(name: str, *, block: int | None = None, images: int = 26) -> bytes:
    """A Node of about 6.5 kB, as kubelets with a few dozen images register them."""
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": "a",
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "status": {
            "addresses": [
                {
                    "type": "InternalIP",
                    "address": f"192.{100 + hash(name) % 60}.{hash(name) % 251}.{hash(name) % 241 + 1}",
                },
                {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [
                {
                    "type": kind,
                    "status": "False",
                    "reason": "KubeletHas",
                    "message": "kubelet has enough of it " * 2,
                }
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
            ],
            "images": [
                {
                    "names": [
                        f"registry.example/team/image-{i}@sha256:{i:064x}",
                        f"registry.example/team/image-{i}:v1.{i}",
                    ],
                    "sizeBytes": 50_000_000 + i,
                }
                for i in range(images)
            ],
            "nodeInfo": {
                "kernelVersion": "6.1",
                "osImage": "Debian",
                "kubeletVersion": "v1.36.1",
                "architecture": "amd64",
            },
        },
    }
    if block is not None:
        v4 = f"{10 + (block >> 16)}.{block >> 8 & 255}.{block & 255}.0/24"
        body["spec"] = {"podCIDR": v4, "podCIDRs": [v4, f"fd00:10:{block >> 16:x}:{block & 0xFFFF:x}::/64"]}
    return json.dumps(body, separators=(",", ":")).encode()


@contextlib.asynccontextmanager
async def _cluster() -> AsyncIterator[tuple[Client, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        server = subprocess.Popen([sys.executable, __file__, "serve", str(kubeconfig)], cwd=ROOT)  # noqa: ASYNC220 - waiting here is the point
        try:
            while not kubeconfig.exists():
                assert server.poll() is None, "the API server ended"
                await asyncio.sleep(0.02)
            async with Client(await load(kubeconfig), component="bench", connections=64) as client:
                yield client, kubeconfig
        finally:
            server.terminate()
            server.wait()


@contextlib.asynccontextmanager
async def _controller(kubeconfig: Path, *, ledger: bool) -> AsyncIterator[int]:
    """A controller process that is ready; its pid."""
    command = [
        *(sys.executable, "-c", "from nodeipam_ctl.cli.main import main; main()", "controller"),
        *("--kubeconfig", str(kubeconfig), "--metrics-address", "127.0.0.1:0", "--log-format", "json"),
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
            yield process.pid
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


async def _serve(kubeconfig: Path) -> int:
    from nodeipam_ctl.demo.apiserver import ApiServer

    async with ApiServer(crd_dir=ROOT / "crds") as api:
        api.write_kubeconfig(kubeconfig)
        await asyncio.Event().wait()
    return 0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_mb(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6, 1)


def _print(what: str, **figures: object) -> None:
    print(f"{what}: " + ", ".join(f"{name}={value}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
