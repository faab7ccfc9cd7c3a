"""How fast is the controller, and what does it cost, with and without the ledger, and which goals does it meet?

    python tests/bench controller nodes=5000 rounds=without,with heartbeats=500 restart=10000 huge=100000

API server, controller and load are processes of their own. Wall times depend on the API server, which is Python as well and
shares the cores; CPU seconds and memory are the controller's. A size of 0 leaves its part out.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from ipaddress import ip_network

from nodeipam_ctl.ipam.ledger import Ledger
from nodeipam_ctl.kube.wire.envelope import decode_metadata
from nodeipam_ctl.kube.wire.slices import encode_slice
from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeName, NodeUID, PoolName
from tests.bench import load
from tests.bench.goals import WITH, WITHOUT, Results
from tests.bench.load import NODES, PAGES, Watch
from tests.bench.processes import Process, Server, controller, server

_QUIET = 200
_QUIET_GAP_S = 0.05
"""Nothing happens for so long before each quiet node."""


def main(arguments: list[str]) -> int:
    """Prints each figure when it is there, then the table and the goals."""
    given = dict(argument.split("=", 1) for argument in arguments)
    sizes = {
        "nodes": int(given.get("nodes", "5000")),
        "heartbeats": int(given.get("heartbeats", "500")),
        "restart": int(given.get("restart", "10000")),
        "huge": int(given.get("huge", "100000")),
    }
    results = Results(sizes)
    columns = [
        WITH if name == "with" else WITHOUT
        for name in filter(None, given.get("rounds", "without,with").split(","))
    ]
    for column in columns if sizes["nodes"] else ():
        asyncio.run(_registration(results, column, nodes=sizes["nodes"], beats_per_s=sizes["heartbeats"]))
        asyncio.run(_waiting(results, column, nodes=sizes["nodes"]))
        asyncio.run(_servers_share(results, column))
    if sizes["restart"]:
        asyncio.run(_restart(results, columns, sizes["restart"]))
    if sizes["huge"]:
        asyncio.run(_huge(results, columns, sizes["huge"]))
    print(f"\n{results.report()}")
    return 0


async def _registration(results: Results, column: str, *, nodes: int, beats_per_s: int) -> None:
    """Quiet nodes one by one in a fresh cluster, then a burst, then heartbeats."""
    async with server() as api, controller(api.kubeconfig, ledger=column == WITH) as process:
        await load.pool(api.client)
        async with Watch(api, prompt=True) as watch:
            quiet = await _one_by_one(watch, "quiet")
        ordered = sorted(quiet)
        results.add(
            column,
            quiet_p50=_at(ordered, 0.50),
            quiet_p99=_at(ordered, 0.99),
            quiet_worst=ordered[-1],
            quiet_first=quiet[0],
        )
        async with Watch(api, prompt=False) as watch:
            await watch.all_served(_QUIET)
            cpu_before, started_s = process.cpu_s(), time.monotonic()
            await load.register(api, watch, nodes)
            took_s = await watch.all_served(nodes + _QUIET) - started_s
            cpu_ms = (process.cpu_s() - cpu_before) * 1000 / nodes
            burst = watch.latencies_ms
        results.add(column, rate=nodes / took_s, rate_p99=_at(burst, 0.99), cpu=cpu_ms, rss=process.rss_mb())
        if beats_per_s:
            await _heartbeats(results, column, api, process, nodes=nodes, per_s=beats_per_s)


async def _heartbeats(
    results: Results, column: str, api: Server, process: Process, *, nodes: int, per_s: int
) -> None:
    names = [f"node-{i}" for i in range(nodes)]
    await asyncio.sleep(2)  # the last status of the burst is written
    cpu_before = process.cpu_s()
    sent = await load.heartbeats(api.client, per_s, seconds=5.0, names=names)
    await asyncio.sleep(0.2)
    # What one costs, times 500 a second: the server may not take as many as were meant.
    results.add(column, heartbeats=(process.cpu_s() - cpu_before) / sent * 500 * 100)
    async with Watch(api, prompt=True) as watch:
        await watch.all_served(nodes + _QUIET)
        beating = asyncio.create_task(load.heartbeats(api.client, per_s, seconds=60.0, names=names))
        found = sorted(await _one_by_one(watch, "busy"))
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    results.add(column, busy_p99=_at(found, 0.99))


async def _waiting(results: Results, column: str, *, nodes: int) -> None:
    """All nodes wait, then a pool comes."""
    async with server() as api:
        await load.present(api, (load.node(f"node-{i}") for i in range(nodes)))
        async with (
            controller(api.kubeconfig, ledger=column == WITH) as process,
            Watch(api, prompt=False) as watch,
        ):
            cpu_before, started_s = process.cpu_s(), time.monotonic()
            await load.pool(api.client)
            took_s = await watch.all_served(nodes) - started_s
            cpu_ms = (process.cpu_s() - cpu_before) * 1000 / nodes
    results.add(column, waiting_rate=nodes / took_s, waiting_cpu=cpu_ms)


async def _servers_share(results: Results, column: str) -> None:
    """The same requests, made by this script, which decides nothing: what the API server and the connections take."""
    found: list[float] = []
    ledger = Ledger()
    async with server() as api, Watch(api, prompt=True) as watch:
        await watch.open()
        for i in range(_QUIET // 2):
            name, blocks = f"node-{i}", load.blocks(i)
            await asyncio.sleep(_QUIET_GAP_S)
            watch.posting(name)
            posted = asyncio.create_task(api.client.create(NODES, load.node(name)))
            await watch.until(watch.appeared, name)
            if column == WITH:
                await _promise(api, ledger, name, blocks)
            spec = {"spec": {"podCIDR": blocks[0], "podCIDRs": blocks}}
            await api.client.patch(f"{NODES}/{name}", json.dumps(spec).encode())
            await watch.until(watch.served, name)
            await posted
        found = watch.latencies_ms
    results.add(column, server_p50=_at(found, 0.50), server_p99=_at(found, 0.99))


async def _promise(api: Server, ledger: Ledger, name: str, blocks: list[str]) -> None:
    for cidr in blocks:
        line = LedgerEntry(
            cidr=ip_network(cidr),
            state=LedgerState.BOUND,
            node=NodeName(name),
            node_uid=NodeUID(f"00000000-0000-4000-8000-{name:>012}"),
            cluster_cidr=PoolName("default"),
            since_s=time.time(),
        )
        assert ledger.want(line)
    while writes := ledger.step(time.time()).writes:
        for write, answer in zip(
            writes, await asyncio.gather(*(_write(api, write.page) for write in writes)), strict=True
        ):
            metadata = decode_metadata(answer)
            assert metadata is not None
            ledger.wrote(write, resource_version=metadata.resourceVersion, uid=metadata.uid)


async def _write(api: Server, page: LedgerPage) -> bytes:
    body = encode_slice(page)
    if page.resource_version:
        return await api.client.replace(f"{PAGES}/{page.name}", body)
    return await api.client.create(PAGES, body)


async def _restart(results: Results, columns: list[str], count: int) -> None:
    """A controller starts where all nodes have podCIDRs: without ledger, with an empty one, with a complete one."""
    async with server() as api:
        await load.pool(api.client)
        await load.present(api, (load.node(f"node-{i}", block=i) for i in range(count)))
        for column in columns:
            for figure in ("first_start", "restart") if column == WITH else ("restart",):
                started_s = time.monotonic()
                async with controller(api.kubeconfig, ledger=column == WITH):
                    results.add(column, **{figure: time.monotonic() - started_s})
                    if figure == "first_start":
                        await _ledger_complete(api)


async def _huge(results: Results, columns: list[str], count: int) -> None:
    """Memory with very many Nodes of about 1 kB, all with podCIDRs, and their whole ledger."""
    async with server() as api:
        await load.pool(api.client)
        await load.present(api, (load.node(f"node-{i}", block=i, small=True) for i in range(count)))
        for column in columns:
            started_s = time.monotonic()
            async with controller(api.kubeconfig, ledger=column == WITH) as process:
                ready_s = time.monotonic() - started_s
                if column == WITH:
                    await _ledger_complete(api)
                else:
                    await asyncio.sleep(5)
                results.add(column, huge_ready=ready_s, huge_rss=process.rss_mb())


async def _ledger_complete(api: Server) -> None:
    """Waits until no page has been added for three seconds."""
    pages = -1
    while pages != (pages := await _pages(api)) or not pages:  # noqa: ASYNC110 - another process writes
        await asyncio.sleep(3)


async def _pages(api: Server) -> int:
    answer = json.loads(await api.client.get(f"{PAGES}?limit=1"))
    return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount", 0))


async def _one_by_one(watch: Watch, prefix: str, *, count: int = _QUIET) -> list[float]:
    """From POST to podCIDRs, in milliseconds, of nodes that come alone; in their order."""
    await watch.open()
    found = []
    for i in range(count):
        await asyncio.sleep(_QUIET_GAP_S)
        found.append(await watch.latency_ms(f"{prefix}-{i}"))
    return found


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
