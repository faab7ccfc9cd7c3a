"""ClusterCIDRs and what surrounds them: changes while nodes run, other groups, service ranges, status."""

from __future__ import annotations

import asyncio
import shutil
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from nodeipam_ctl.controller import pools as pools_module
from nodeipam_ctl.controller.status import FINALIZER
from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.controller.harness import CRDS, POOLS, Cluster, Object, condition, eventually

X_POOLS = "/apis/networking.x-k8s.io/v1/clustercidrs"
X_CRD = Path(__file__).parents[1] / "data" / "networking.x-k8s.io_clustercidrs.yaml"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def test_a_pool_that_comes_later_serves_who_waits(cluster: Cluster) -> None:
    async with cluster.controller():
        await cluster.node("early")
        await cluster.told("CIDRNotAvailable", about="early")
        await cluster.pool()
        assert await cluster.served("early", within_s=3)


async def test_a_disabled_pool_gives_nothing_new_and_keeps_what_it_gave(cluster: Cluster) -> None:
    await cluster.pool()
    async with cluster.controller():
        await cluster.node("first")
        before = await cluster.served("first")
        await cluster.patch(f"{POOLS}/default", {"spec": {"disabled": True}})
        await eventually(lambda: _condition(cluster, "Ready", reason="Disabled"))
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        assert await cluster.cidrs("first") == before
        await cluster.patch(f"{POOLS}/default", {"spec": {"disabled": False}})
        await cluster.served("second", within_s=3)


async def test_conditions_tell_when_a_pool_fills(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/22"], "nodeMaskSize": 24})
    async with cluster.controller():
        for i in range(4):
            await cluster.node(f"n{i}")
        await cluster.all_served(4)
        await eventually(lambda: _condition(cluster, "NearlyExhausted", status="True"))
        exhausted = await eventually(lambda: _condition(cluster, "Exhausted", status="True"))
        assert "spec.ipv4.cidrs" in exhausted["message"]


async def test_a_condition_keeps_its_time_while_it_does_not_change(cluster: Cluster) -> None:
    await cluster.pool()
    async with cluster.controller():
        before = await eventually(lambda: _condition(cluster, "Ready", status="True"))
    await asyncio.sleep(1.1)  # conditions are timed in whole seconds
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await eventually(lambda: _nodes(cluster, 1))
        after = await _condition(cluster, "Ready", status="True")
        assert after["lastTransitionTime"] == before["lastTransitionTime"]


async def test_the_status_is_written_at_most_once_a_second_and_is_exact_in_the_end(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.0.0.0/12"], "nodeMaskSize": 24})
    async with cluster.controller():
        versions: set[str] = set()
        began_s = asyncio.get_running_loop().time()
        for i in range(150):
            await cluster.node(f"n{i}")
            versions.add((await cluster.get(f"{POOLS}/default"))["metadata"]["resourceVersion"])
        await cluster.all_served(150)
        await eventually(lambda: _nodes(cluster, 150))
        took_s = asyncio.get_running_loop().time() - began_s
        assert len(versions) <= took_s + 3, "one for each second, the finalizer, the first status"
        assert (await cluster.status())["ipv4"]["usage"] == "150/4096"


async def test_a_status_that_was_refused_is_written_again_though_nothing_else_happens(
    cluster: Cluster,
) -> None:
    await cluster.pool()
    async with cluster.controller():
        await eventually(lambda: _condition(cluster, "Ready", status="True"))
        fault = Fault(
            effect=Effect.REFUSE,
            verb="patch",
            resource="clustercidrs",
            subresource="status",
            status=409,
            times=3,
        )
        cluster.api.faults.add(fault)
        await cluster.node("first")
        await cluster.served("first")
        await eventually(lambda: _nodes(cluster, 1), within_s=20)


async def test_a_status_that_somebody_else_wrote_is_put_right_though_nothing_else_happens(
    cluster: Cluster,
) -> None:
    await cluster.pool()
    async with cluster.controller():
        await cluster.node("a")
        await cluster.served("a")
        await eventually(lambda: _nodes(cluster, 1))
        right = await cluster.status()
        late: Object = {"nodes": 7, "waitingNodes": 3, "ipv4": None, "conditions": []}
        await cluster.patch(f"{POOLS}/default/status", {"status": late})
        await eventually(lambda: _nodes(cluster, 1), what="the right count again")
        again = await cluster.status()
        assert _timeless(again) == _timeless(right)
        version = (await cluster.get(f"{POOLS}/default"))["metadata"]["resourceVersion"]
        await asyncio.sleep(1.2)  # one round more: our own write is nobody else's
        assert (await cluster.get(f"{POOLS}/default"))["metadata"]["resourceVersion"] == version


async def test_a_finalizer_of_others_is_left_alone(cluster: Cluster) -> None:
    await cluster.pool()
    await cluster.patch(f"{POOLS}/default", {"metadata": {"finalizers": ["example.com/theirs"]}})
    async with cluster.controller():
        await eventually(lambda: _finalizers(cluster, ["example.com/theirs", FINALIZER]))
        await cluster.delete(f"{POOLS}/default")
        await eventually(lambda: _finalizers(cluster, ["example.com/theirs"]))


async def test_pools_of_the_upstream_group_are_read_and_left_as_they_are(cluster: Cluster) -> None:
    await cluster.create(CRD_PATH, yaml.safe_load(X_CRD.read_text()))
    body = _x_pool("legacy", "10.33.0.0/16")
    body["metadata"]["finalizers"] = ["networking.kubernetes.io/cluster-cidr-finalizer"]
    before = await cluster.create(X_POOLS, body)
    async with cluster.controller():
        await cluster.node("first")
        assert await cluster.served("first") == ["10.33.0.0/24"]
        after = await cluster.get(f"{X_POOLS}/legacy")
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_upstream_pools_are_noticed_when_their_crd_comes_later(
    cluster: Cluster, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pools_module, "LIST_EVERY_S", 0.1)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.told("CIDRNotAvailable", about="first")
        await cluster.create(CRD_PATH, yaml.safe_load(X_CRD.read_text()))
        await cluster.create(X_POOLS, _x_pool("legacy", "10.33.0.0/16"))
        assert await cluster.served("first") == ["10.33.0.0/24"]
        await asyncio.sleep(0.3)
        await cluster.create(X_POOLS, _x_pool("other", "10.34.0.0/16"))


async def test_a_pool_that_vanished_while_kopf_was_cut_off_is_noticed(
    cluster: Cluster, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pools_module, "LIST_EVERY_S", 0.1)
    await cluster.pool("one", ipv4={"cidrs": ["10.1.0.0/16"], "nodeMaskSize": 24})
    async with cluster.controller() as running:
        await eventually(lambda: _finalizers(cluster, [FINALIZER], "one"))
        cluster.api.faults.stall_watches("clustercidrs")
        await cluster.patch(f"{POOLS}/one", {"metadata": {"finalizers": None}})
        await cluster.delete(f"{POOLS}/one")
        await eventually(lambda: not list(running.controller.pool_views()))
        await cluster.node("late")
        await cluster.told("CIDRNotAvailable", about="late")


async def test_service_ranges_are_never_handed_out(cluster: Cluster) -> None:
    # The default ServiceCIDR of the API server is 10.96.0.0/16; the flag adds another.
    await cluster.pool(ipv4={"cidrs": ["10.96.0.0/15"], "nodeMaskSize": 17})
    async with cluster.controller(service_cidrs=(IPv4Network("10.97.0.0/17"),)):
        await cluster.node("first")
        assert await cluster.served("first") == ["10.97.128.0/17"]
        overlapping = await eventually(lambda: _condition(cluster, "Overlapping", status="True"))
        assert "servicecidr/kubernetes" in overlapping["message"]
        assert "--service-cidr" in overlapping["message"]
        assert (await cluster.status())["ipv4"]["excluded"] == 3


async def test_a_service_range_that_appears_later_is_kept_out_as_well(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.create(
            "/apis/networking.k8s.io/v1/servicecidrs",
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "ServiceCIDR",
                "metadata": {"name": "more"},
                "spec": {"cidrs": ["10.244.0.0/24"]},
            },
        )
        await eventually(lambda: _condition(cluster, "Overlapping", status="True"))
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.1.0/24"]


async def test_an_exclusion_over_a_block_that_a_node_has_is_told_of_both(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("a")
        (cidr,) = await cluster.served("a")
        await cluster.patch(f"{POOLS}/default", {"spec": {"ipv4": {"exclude": ["10.244.0.0/20"]}}})
        told = await cluster.told("CIDRConflict", about="a")
        assert (
            f"{cidr} overlaps 10.244.0.0/20, held by the exclusion 10.244.0.0/20 of ClusterCIDR default"
            in told
        )
        overlapping = await eventually(lambda: _condition(cluster, "Overlapping", status="True"))
        assert overlapping["reason"] == "NodeInExclusion"
        assert "node a (1 such nodes in all)" in overlapping["message"]
        await cluster.delete("/api/v1/nodes/a")
        await eventually(lambda: _condition(cluster, "Overlapping", status="False"))


async def test_the_block_around_a_nodes_own_address_is_never_handed_out(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("inside", addresses=("10.244.0.7",))
        assert await cluster.served("inside") == ["10.244.1.0/24"]
        found = await eventually(lambda: _condition(cluster, "Overlapping", status="True"))
        assert found["reason"] == "NodeAddressInside"
        assert "inside" in found["message"]


async def test_a_new_mask_size_applies_to_nodes_without_a_block(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await cluster.patch(f"{POOLS}/default", {"spec": {"ipv4": {"nodeMaskSize": 26}}})
        await eventually(lambda: _generation(cluster, 2))
        await cluster.node("second")
        assert (await cluster.served("second"))[0].endswith("/26")
        assert await cluster.cidrs("first") == ["10.244.0.0/24"]


async def test_readyz_says_how_to_get_a_crd_that_is_missing(tmp_path: Path) -> None:
    only_pools = tmp_path / "crds"
    only_pools.mkdir()
    shutil.copy(CRDS / "nodeipam.dev_clustercidrs.yaml", only_pools)
    async with Cluster(tmp_path, crds=only_pools) as cluster, cluster.controller(wait=False) as running:
        remedy = "install the CRDs: kubectl apply -f crds/"
        await eventually(lambda: remedy in running.readiness.reasons()["ledger"], what="the remedy")
        await eventually(lambda: not running.readiness.reasons()["clustercidrs"])
    async with Cluster(tmp_path, crds=None) as cluster, cluster.controller(wait=False) as running:
        await eventually(lambda: remedy in running.readiness.reasons()["clustercidrs"], what="the remedy")


def _x_pool(name: str, cidr: str) -> Object:
    return {
        "apiVersion": "networking.x-k8s.io/v1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name},
        "spec": {"perNodeHostBits": 8, "ipv4": cidr},
    }


async def _condition(cluster: Cluster, kind: str, **wanted: str) -> Object:
    found = condition(await cluster.status(), kind)
    return found if all(found.get(key) == value for key, value in wanted.items()) else {}


def _timeless(status: Object) -> Object:
    conditions = [{**c, "lastTransitionTime": ""} for c in status["conditions"]]
    return {**status, "conditions": conditions}


async def _nodes(cluster: Cluster, count: int) -> bool:
    return (await cluster.status()).get("nodes") == count


async def _generation(cluster: Cluster, generation: int) -> bool:
    return (await cluster.status()).get("observedGeneration") == generation


async def _finalizers(cluster: Cluster, wanted: list[str], name: str = "default") -> bool:
    return bool((await cluster.get(f"{POOLS}/{name}"))["metadata"].get("finalizers") == wanted)
