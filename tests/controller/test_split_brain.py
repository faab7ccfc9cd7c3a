"""Two full controllers that both believe they lead, on one API server, with paused, late, lost and unanswered writes.

With the ledger no two Nodes ever have overlapping podCIDRs, at no moment. Without it they soon do, by the same test: so the
test would notice. The pure page scheme is put through many thousands of histories in tests/ipam; here the whole programs are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from ipaddress import ip_network
from typing import Any

import pytest

from nodeipam_ctl.controller.app import Controller
from nodeipam_ctl.errors import AlreadyExists, NotFound
from nodeipam_ctl.kube.client import query
from nodeipam_ctl.settings import ControllerSettings
from nodeipam_ctl.telemetry.metrics import Metrics
from nodeipam_ctl.telemetry.readiness import Readiness
from tests.controller.harness import PAGES, Cluster, eventually
from tests.controller.unreliable import UnreliableClient

NODES = "/api/v1/nodes"


class Observer:
    """Looks at every event of every Node in the server's order, and notes each overlap."""

    def __init__(self, cluster: Cluster) -> None:
        self.overlaps: list[str] = []
        self.assigned = 0
        self._cluster = cluster
        self._held: dict[str, tuple[str, list[Any]]] = {}

    async def run(self) -> None:
        async with self._cluster.client.watch(query(NODES, {"watch": "1"}), silence_s=300) as lines:
            async for line in lines:
                self.see(json.loads(line))

    def see(self, event: dict[str, Any]) -> None:
        node = event["object"]
        uid, name = node["metadata"]["uid"], node["metadata"]["name"]
        if event["type"] == "DELETED":
            self._held.pop(uid, None)
            return
        cidrs = [ip_network(cidr) for cidr in node["spec"].get("podCIDRs") or ()]
        if not cidrs or uid in self._held:
            return
        for other, held in self._held.values():
            for ours in cidrs:
                self.overlaps.extend(
                    f"{name} {ours} / {other} {cidr}" for cidr in held if _overlap(ours, cidr)
                )
        self._held[uid] = (name, cidrs)
        self.assigned += 1


async def _history(cluster: Cluster, *, seed: int, rounds: int, ledger: bool) -> Observer:
    dice = random.Random(seed)
    zone = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "small", "operator": "Exists"}]}]}
    await cluster.pool(
        "large",
        ipv4={"cidrs": ["10.20.0.0/19"], "nodeMaskSize": 24},
        ipv6={"cidrs": ["fd00:20::/57"], "nodeMaskSize": 64},
    )
    await cluster.pool("small", ipv4={"cidrs": ["10.20.0.0/19"], "nodeMaskSize": 27}, nodeSelector=zone)
    await cluster.pool(
        "wide", ipv4={"cidrs": ["10.20.0.0/19"], "nodeMaskSize": 22}, nodeSelector=_has("wide")
    )
    observer = Observer(cluster)
    watch = asyncio.create_task(observer.run())
    try:
        async with _leader(cluster, dice, "one", ledger=ledger), _leader(cluster, dice, "two", ledger=ledger):
            alive: list[str] = []
            for _ in range(rounds):
                for _ in range(dice.randint(1, 3)):
                    name = f"n{dice.randint(0, 30)}"
                    labels = dice.choice([{}, {}, {"small": ""}, {"wide": ""}])
                    with contextlib.suppress(AlreadyExists):
                        await cluster.node(name, labels=labels)
                        alive.append(name)
                while len(alive) > 12 or (alive and dice.random() < 0.3):
                    with contextlib.suppress(NotFound):
                        await cluster.delete(f"{NODES}/{alive.pop(dice.randrange(len(alive)))}")
                await asyncio.sleep(dice.expovariate(1 / 0.01))
                if observer.overlaps and not ledger:
                    break
            if ledger:
                await eventually(
                    lambda: _everybody_is_served(cluster), within_s=30, what="that everybody is served"
                )
                await _ledger_agrees(cluster)
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
    return observer


@contextlib.asynccontextmanager
async def _leader(cluster: Cluster, dice: random.Random, name: str, *, ledger: bool) -> Any:
    settings = ControllerSettings(
        leader_elect=False, metrics_address=None, batch_window_s=0.002, ledger=ledger
    )
    async with UnreliableClient(cluster.access, dice=dice, component=name) as client:
        controller = Controller(
            settings, client, cluster.access, Metrics("controller"), Readiness(), identity=name
        )
        task = asyncio.create_task(controller.run())
        try:
            await eventually(lambda: controller.started.is_set() or task.done())
            yield
            client.trouble = 0.0
            if task.done():
                task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("seed", range(6))
async def test_with_the_ledger_no_two_nodes_ever_overlap(cluster: Cluster, seed: int) -> None:
    observer = await _history(cluster, seed=seed, rounds=120, ledger=True)
    assert observer.assigned > 60
    assert not observer.overlaps


async def test_without_the_ledger_the_same_test_finds_overlaps(cluster: Cluster) -> None:
    assert (await _history(cluster, seed=1, rounds=4000, ledger=False)).overlaps


async def _everybody_is_served(cluster: Cluster) -> bool:
    nodes = await cluster.all_cidrs()
    refused = {e["involvedObject"]["name"] for e in await cluster.events("CIDRNotAvailable")}
    return all(cidrs or name in refused for name, cidrs in nodes.items())


async def _ledger_agrees(cluster: Cluster) -> None:
    """Every Node's blocks are promised to it, and no two lines overlap."""

    async def check() -> bool:
        bound = [
            (entry["cidr"], entry.get("nodeUID"))
            for page in await cluster.items(PAGES)
            for entry in page.get("entries") or ()
            if entry["state"] == "Bound"
        ]
        nodes = await cluster.items(NODES)
        held = {(cidr, n["metadata"]["uid"]) for n in nodes for cidr in n["spec"].get("podCIDRs") or ()}
        return held == set(bound)

    await eventually(check, within_s=20, what="a ledger that says what the Nodes have")


def _has(label: str) -> dict[str, Any]:
    return {"nodeSelectorTerms": [{"matchExpressions": [{"key": label, "operator": "Exists"}]}]}


def _overlap(a: Any, b: Any) -> bool:
    return bool(a.version == b.version and a.overlaps(b))
