"""The controller as a process: who leads, when is it ready, how does it stop?"""

from __future__ import annotations

import signal
import time
from pathlib import Path

from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.kube.wire.slices import POD_CIDR_SLICES
from tests.controller.harness import POOLS, Cluster, eventually
from tests.controller.process import controller_process

LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/nodeipam-ctl-controller"


async def test_sigterm_stops_it_within_a_second_and_gives_the_lease_up(cluster: Cluster) -> None:
    await cluster.pool()
    async with controller_process(cluster.kubeconfig) as process:
        await cluster.node("worker-1")
        await cluster.served("worker-1")
        began_s = time.monotonic()
        process.send(signal.SIGTERM)
        assert await process.ends() == 0
        assert time.monotonic() - began_s < 1.5  # the second of the promise, and what a busy machine takes
        assert not (await cluster.get(LEASE))["spec"].get("holderIdentity")
        assert process.said("stopped")
        assert not process.other, "something was printed that is no log line"
        assert not process.said("python_warned")


async def test_only_the_leader_writes_and_the_standby_takes_over_at_once_after_a_clean_stop(
    cluster: Cluster,
) -> None:
    await cluster.pool()
    async with controller_process(cluster.kubeconfig, "--identity", "one") as leader:
        await leader.says("allocation_began")
        async with controller_process(cluster.kubeconfig, "--identity", "two") as standby:
            await standby.says("lease_held_by_another")
            assert await standby.ready(), "a standby is ready: a rolling update must not wait for it to lead"
            await cluster.node("worker-1")
            await cluster.served("worker-1")
            assert (await cluster.get(LEASE))["spec"]["holderIdentity"] == "one"
            leader.send(signal.SIGTERM)
            await standby.says("allocation_began")
            await cluster.node("worker-2")
            assert await cluster.served("worker-2") != await cluster.cidrs("worker-1")
            assert not standby.said("pod_cidr_conflict")


async def test_a_leader_that_loses_its_lease_starts_over_as_a_standby(cluster: Cluster) -> None:
    await cluster.pool()
    async with controller_process(cluster.kubeconfig) as process:
        await process.says("allocation_began")
        await cluster.patch(LEASE, {"spec": {"holderIdentity": "usurper", "renewTime": None}})
        await process.says("leadership_lost")
        await process.says("lease_held_by_another")
        assert len(process.said("controller_started")) == 2
        assert len(process.said("allocation_began")) == 1
        await cluster.delete(LEASE)
        await eventually(lambda: len(process.said("allocation_began")) == 2, within_s=20)
        await cluster.node("worker-1")
        assert await cluster.served("worker-1")


async def test_a_leader_outlives_an_api_server_that_is_away_for_longer_than_the_lease(
    cluster: Cluster,
) -> None:
    await cluster.pool()
    async with controller_process(cluster.kubeconfig) as process:
        await process.says("allocation_began")
        await cluster.api.restart(down_s=10)
        await process.says("leadership_lost")
        await eventually(lambda: len(process.said("allocation_began")) == 2, within_s=30)
        assert len(process.said("lease_not_renewed")) <= 3, "said once each, not every two seconds"
        await cluster.node("worker-1")
        assert await cluster.served("worker-1")


async def test_a_standby_that_cannot_read_the_lease_is_not_ready(cluster: Cluster) -> None:
    number = cluster.api.faults.add(Fault(effect=Effect.REFUSE, resource="leases", status=503))
    async with controller_process(cluster.kubeconfig) as process:
        await process.says("lease_not_renewed")
        status, text = await process.answer("/readyz")
        assert status == 503
        assert "cannot take the Lease" in text
        cluster.api.faults.remove(number)
        await process.says("allocation_began")


async def test_writes_nothing_while_the_lease_may_be_lost_and_goes_on_when_it_is_not(
    cluster: Cluster,
) -> None:
    leads = False
    await cluster.pool()
    await cluster.node("worker-1")
    async with cluster.controller(leading=lambda: leads) as running:
        await eventually(lambda: "[-]ledger" in running.readiness.report(), what="a page write was refused")
        assert running.metric("nodeipam_controller_leading") == 0.0
        assert await cluster.cidrs("worker-1") == []
        assert await cluster.items(POD_CIDR_SLICES) == []
        leads = True
        assert await cluster.served("worker-1")


async def test_readyz_says_what_is_missing(cluster: Cluster) -> None:
    number = cluster.api.faults.add(
        Fault(effect=Effect.REFUSE, verb="list", resource="clustercidrs", status=503)
    )
    async with controller_process(cluster.kubeconfig, "--no-leader-elect") as process:
        await process.says("cluster_cidrs_unreadable")
        status, body = await process.answer("/readyz")
        assert status == 503
        assert "[-]clustercidrs" in body
        assert (await process.answer("/healthz"))[0] == 200
        cluster.api.faults.remove(number)
        await eventually(process.ready)
        assert "nodeipam_nodes" in (await process.answer("/metrics"))[1]


async def test_without_our_crds_readyz_says_how_to_install_them(
    tmp_path_factory: object, cluster: Cluster
) -> None:
    await cluster.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clustercidrs.nodeipam.dev")
    async with controller_process(cluster.kubeconfig, "--no-leader-elect") as process:
        await process.says("cluster_cidrs_unreadable")
        assert "kubectl apply -f crds/" in (await process.answer("/readyz"))[1]


async def test_while_the_api_server_is_away_it_waits_says_so_once_and_goes_on(cluster: Cluster) -> None:
    await cluster.pool()
    async with controller_process(cluster.kubeconfig, "--no-leader-elect") as process:
        await process.says("allocation_began")
        await cluster.node("worker-1")
        await cluster.served("worker-1")
        await cluster.api.stop()
        await process.says("api_server_lost")
        assert not await process.ready()
        await cluster.api.start()
        await process.says("api_server_back")
        await cluster.node("worker-2")
        await cluster.served("worker-2")
        await eventually(process.ready)
        assert len(process.said("api_server_lost")) == 1
        assert len([line for line in process.lines if line["level"] in ("warning", "error")]) < 8, (
            process.lines
        )


async def test_kopf_never_writes(cluster: Cluster) -> None:
    pool = await cluster.pool()
    async with controller_process(cluster.kubeconfig, "--no-leader-elect") as process:
        await process.says("allocation_began")
        await cluster.node("worker-1")
        await cluster.served("worker-1")
        await cluster.patch(f"{POOLS}/default", {"spec": {"priority": 7}})
        await eventually(lambda: _generation_seen(cluster, 2))
        node = await cluster.get("/api/v1/nodes/worker-1")
        stored = await cluster.get(f"{POOLS}/default")
        assert "kopf" not in str(node["metadata"])
        assert stored["metadata"].get("annotations") == pool["metadata"].get("annotations")
        assert stored["metadata"]["finalizers"] == ["nodeipam.dev/in-use"]


async def _generation_seen(cluster: Cluster, generation: int) -> bool:
    return (await cluster.status()).get("observedGeneration") == generation


async def test_it_works_over_tls_with_a_bearer_token_kopf_included(tmp_path: Path) -> None:
    async with Cluster(tmp_path, tls=True) as secure:
        await secure.pool()
        async with controller_process(secure.kubeconfig) as process:
            await process.says("allocation_began")
            await secure.node("worker-1")
            await secure.served("worker-1")
            await secure.patch(f"{POOLS}/default", {"spec": {"disabled": True}})
            await eventually(lambda: _generation_seen(secure, 2))
            assert not process.said("kopf_warned")
            assert not process.said("kopf_failed")
