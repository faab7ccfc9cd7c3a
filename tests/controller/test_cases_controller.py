"""Acceptance cases that need a whole controller on an API server: garbage on the wire, series of metrics, restarts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from nodeipam_ctl.kube.client import Client
from tests.controller.harness import CRDS, POOLS, Cluster, Object, Running, condition, eventually
from tests.ipam.cases import Case, by_id, case_id, network

NOT_A_NODE = {
    # Go's cache.DeletedFinalStateUnknown, as a confused proxy could send it, around a ConfigMap.
    "DEL-06": {"Key": "test-node", "Obj": {"kind": "ConfigMap", "metadata": {"name": "test-node"}}},
    "DEL-07": "test-node",
}


def spec_of(given: Case) -> Object:
    """A pool of a case in our words; what is no CIDR stays as it is."""
    made: Object = {}
    if given.get("match") is not None:
        made["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": given["match"]}]}
    for field, bits in (("ipv4", 32), ("ipv6", 128)):
        if field in given:
            made[field] = {"cidrs": [given[field]], "nodeMaskSize": bits - given["perNodeHostBits"]}
    return made


class Interjecting(Client):
    """A client whose watch of Nodes brings lines the server never sent, before the next one that it did.

    A controller works with a copy of its client, so `pending` is what both share.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pending: list[bytes] = []

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **options: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async with super().watch(path, **options) as lines:
            yield self._with_pending(lines) if path.startswith("/api/v1/nodes") else lines

    async def _with_pending(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for line in lines:
            while self.pending:
                yield self.pending.pop()
            yield line


@pytest.mark.parametrize("case", by_id("DEL-06", "DEL-07"), ids=case_id)
async def test_a_deletion_of_something_that_is_no_node_is_ignored_and_logged(
    cluster: Cluster, case: Case
) -> None:
    (pool,), node = case["given"]["cluster_cidrs"], case["given"]["node"]
    block = str(network(node["podCIDRs"][0]))
    await cluster.pool(pool["name"], **spec_of(pool))
    await cluster.node(node["name"], labels=node["labels"], pod_cidrs=(block,))
    clients: list[Interjecting] = []

    def client(*args: Any, **options: Any) -> Client:
        clients.append(Interjecting(*args, **options))
        return clients[-1]

    with capture_logs() as logs:
        async with cluster.controller(client_type=client) as running:
            clients[0].pending.append(
                json.dumps({"type": "DELETED", "object": NOT_A_NODE[case["id"]]}).encode()
            )
            await cluster.node("next", labels=node["labels"])
            assert await cluster.served("next") != [block]
            assert not clients[0].pending, "it has been said"
            held = running.controller.reconciler.allocator.tenancy.records.values()
            assert {record.name for record in held} == {node["name"], "next"}
            assert not running.task.done()
    assert [line["resource"] for line in logs if line["event"] == "object_ignored"] == ["nodes"]


def without_rules(folder: Path) -> Path:
    """Our definitions as an API server of Kubernetes 1.30 can have them: it lets everything pass."""
    folder.mkdir()
    for path in CRDS.glob("*.yaml"):
        (folder / path.name).write_text(yaml.safe_dump(_stripped(yaml.safe_load(path.read_text()))))
    return folder


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stripped(v) for k, v in value.items() if k != "x-kubernetes-validations"}
    return [_stripped(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", by_id("SYNC-11", "SYNC-12", "SYNC-13"), ids=case_id)
async def test_a_pool_that_cannot_be_parsed_is_named_not_used_and_never_held(
    tmp_path: Path, case: Case
) -> None:
    given = case["given"]["cluster_cidr"]
    with capture_logs() as logs:
        async with Cluster(tmp_path, crds=without_rules(tmp_path / "crds")) as cluster:
            await cluster.pool(given["name"], **spec_of(given), priority=5)
            await cluster.pool("good", ipv4={"cidrs": ["10.9.0.0/16"], "nodeMaskSize": 24})
            async with cluster.controller() as running:
                await cluster.node("n", labels={"foo": "bar"})
                assert await cluster.served("n") == ["10.9.0.0/24"]
                await eventually(lambda: _ready(cluster, "good"))
                assert case["expect"]["accepted"] == (
                    given["name"] in [v.pool.name for v in running.controller.pool_views()]
                )
                found = (await cluster.get(f"{POOLS}/{given['name']}"))["metadata"]
                assert case["expect"]["finalizer_added"] == bool(found.get("finalizers"))
    (line,) = [line for line in logs if line["event"] == "cluster_cidr_not_understood"]
    assert line["pool"] == given["name"]
    assert "is not a CIDR" in line["problem"]


@pytest.mark.parametrize("case", by_id("METGC-01"), ids=case_id)
async def test_the_series_of_a_deleted_pool_disappear(cluster: Cluster, case: Case) -> None:
    (pool,) = case["given"]["cluster_cidrs"]
    await cluster.pool(pool["name"], **spec_of(pool))
    async with cluster.controller() as running:
        assert _series(running, pool["name"])
        for step in case["expect"]["steps"]:
            if step.get("do") == "delete_clustercidr":
                await cluster.delete(f"{POOLS}/{step['name']}")
                await eventually(lambda: _no_pools(cluster))
            else:
                await eventually(lambda: _series(running, pool["name"]) is False)
                assert step["series_present"] is False


@pytest.mark.parametrize("case", by_id("UPD-07"), ids=case_id)
async def test_a_selector_added_later_is_honoured_at_once_and_after_a_restart(
    cluster: Cluster, case: Case
) -> None:
    assert "honoured_now_and_after_restart" in case["expect"]["one_of"]
    await cluster.pool(**spec_of(case["given"]["old"]))
    change = case["given"]["change"]
    (wanted,) = change["nodeSelector"]["nodeSelectorTerms"][0]["matchExpressions"]
    fits = {wanted["key"]: wanted["values"][0]}
    for time in ("now", "after-restart"):
        async with cluster.controller():
            if time == "now":
                await cluster.node("before")
                kept = await cluster.served("before")
                await cluster.patch(f"{POOLS}/default", {"spec": change})
                await eventually(lambda: _generation(cluster, 2))
            await cluster.node(f"other-{time}")
            await cluster.node(f"fits-{time}", labels=fits)
            assert await cluster.served(f"fits-{time}")
            assert "no ClusterCIDR matches" in await cluster.told("CIDRNotAvailable", about=f"other-{time}")
            assert await cluster.cidrs("before") == kept
            assert condition(await cluster.status(), "Terminating").get("status") != "True"


def _series(running: Running, pool: str) -> bool:
    return any(
        sample.labels.get("pool") == pool
        for metric in running.metrics.registry.collect()
        for sample in metric.samples
    )


async def _no_pools(cluster: Cluster) -> bool:
    return not await cluster.items(POOLS)


async def _ready(cluster: Cluster, pool: str) -> bool:
    return condition(await cluster.status(pool), "Ready").get("status") == "True"


async def _generation(cluster: Cluster, generation: int) -> bool:
    return (await cluster.status()).get("observedGeneration") == generation
