"""The ledger: a line before every patch, one page for many lines, and everything rebuilt from it after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.controller.harness import PAGES, POOLS, Cluster, Object, eventually

ONE = {"cidrs": ["10.244.0.0/24"], "nodeMaskSize": 24}
TWO = {"cidrs": ["10.244.0.0/23"], "nodeMaskSize": 24}


async def lines(cluster: Cluster, state: str = "Bound") -> dict[str, Object]:
    """Lines by block."""
    return {
        entry["cidr"]: entry
        for page in await cluster.items(PAGES)
        for entry in page.get("entries") or ()
        if entry["state"] == state
    }


async def line(cluster: Cluster, cidr: str, state: str = "Bound", **wanted: Any) -> Object:
    """One line, once it stands and says what is wanted."""

    async def check() -> Object:
        found = (await lines(cluster, state)).get(cidr) or {}
        return found if found and all(found.get(key) == value for key, value in wanted.items()) else {}

    answer: Object = await eventually(check, what=f"{state} line of {cidr} with {wanted}")
    return answer


async def no_line(cluster: Cluster, cidr: str, state: str = "Bound") -> None:
    async def check() -> bool:
        return cidr not in await lines(cluster, state)

    await eventually(check, what=f"no {state} line of {cidr}")


async def test_the_line_stands_before_the_node_is_patched(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    held = cluster.api.faults.add(Fault(effect=Effect.REFUSE, verb="patch", resource="nodes", status=429))
    async with cluster.controller():
        node = await cluster.node("first", addresses=("192.0.2.7",))
        found = await line(cluster, "10.244.0.0/24", node="first", nodeUID=node["metadata"]["uid"])
        assert (found["clusterCIDR"], found["addresses"]) == ("default", ["192.0.2.7"])
        assert await cluster.cidrs("first") == []
        cluster.api.faults.remove(held)
        await cluster.served("first")


async def test_without_a_line_no_node_is_patched_and_readyz_says_why(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    refused = cluster.api.faults.add(
        Fault(effect=Effect.REFUSE, verb="create", resource="podcidrslices", status=403)
    )
    async with cluster.controller() as running:
        await cluster.node("first")
        await eventually(lambda: "podcidrslice" in running.readiness.report())
        assert await cluster.cidrs("first") == []
        cluster.api.faults.remove(refused)
        assert await cluster.served("first", within_s=20) == ["10.244.0.0/24"]
        await eventually(lambda: running.readiness.ready)


async def test_a_burst_writes_many_lines_with_few_writes(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.0.0.0/12"], "nodeMaskSize": 24})
    for i in range(320):
        await cluster.node(f"n{i}")
    async with cluster.controller() as running:
        await cluster.all_served(320)
        writes = running.metric("nodeipam_ledger_page_writes_total", result="written")
        assert writes <= 60, "20 pages of 16 lines, and those above them"


async def test_a_lost_page_write_neither_doubles_nor_leaks(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    for effect in (Effect.CUT_AFTER, Effect.CUT_BEFORE):
        for verb in ("create", "update"):
            cluster.api.faults.add(Fault(effect=effect, verb=verb, resource="podcidrslices", times=2))
    async with cluster.controller():
        await cluster.node("first")
        assert await cluster.served("first", within_s=20) == ["10.244.0.0/24"]
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")


async def test_a_promise_found_in_the_ledger_is_kept(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/20"], "nodeMaskSize": 24})
    node = await cluster.node("promised")
    promise = {
        "cidr": "10.244.7.0/24",
        "state": "Bound",
        "node": "promised",
        "nodeUID": node["metadata"]["uid"],
    }
    await cluster.create(
        PAGES,
        {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "PodCIDRSlice",
            "metadata": {"name": "10.244.0.0-20"},
            "page": "10.244.0.0/20",
            "entries": [promise],
        },
    )
    async with cluster.controller():
        assert await cluster.served("promised") == ["10.244.7.0/24"]


async def test_after_a_restart_nodes_without_a_line_are_adopted(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO)
    await cluster.node("old", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.1",))
    async with cluster.controller():
        await line(cluster, "10.244.1.0/24", node="old", clusterCIDR="default", addresses=["192.0.2.1"])


async def test_lines_whose_node_went_while_nobody_looked_rest(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO, reuseDelay="1h")
    async with cluster.controller():
        await cluster.node("gone")
        await cluster.served("gone")
        await line(cluster, "10.244.0.0/24", node="gone")
    await cluster.delete("/api/v1/nodes/gone")
    async with cluster.controller():
        await line(cluster, "10.244.0.0/24", "Resting", node="gone")
        await cluster.node("next")
        assert await cluster.served("next") == ["10.244.1.0/24"]


async def test_a_nodes_new_address_reaches_its_line(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    async with cluster.controller():
        await cluster.node("mobile", addresses=("192.0.2.1",))
        await cluster.served("mobile")
        await cluster.patch(
            "/api/v1/nodes/mobile/status",
            {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.99"}]}},
        )
        await line(cluster, "10.244.0.0/24", addresses=["192.0.2.99"])


async def test_what_a_node_runs_reaches_its_line_if_others_can_follow(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        for said, copied in (("vxlan", "vxlan"), ("wireguard", None), ("host-gw", "host-gw")):
            annotations = {"nodeipam.dev/backend": said}
            await cluster.patch("/api/v1/nodes/first", {"metadata": {"annotations": annotations}})
            await line(cluster, "10.244.0.0/24", backend=copied)


async def test_a_nodes_tunnel_key_reaches_its_line(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        key = "A" * 42 + "E="
        await cluster.patch(
            "/api/v1/nodes/first", {"metadata": {"annotations": {"nodeipam.dev/wireguard-public-key": key}}}
        )
        await line(cluster, "10.244.0.0/24", wireguardPublicKey=key)


async def test_a_page_that_somebody_deletes_is_written_again(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await line(cluster, "10.244.0.0/24")
        await cluster.delete(f"{PAGES}/10.244.0.0-20")
        await line(cluster, "10.244.0.0/24", node="first")


async def test_the_last_of_two_nodes_on_one_block_frees_it(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    await cluster.node("one", pod_cidrs=("10.244.0.0/24",))
    await cluster.node("two", pod_cidrs=("10.244.0.0/24",))
    async with cluster.controller() as running:
        assert "10.244.0.0/24" in await cluster.told("CIDRConflict", about="two")
        assert any(
            sample.value
            for metric in running.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "nodeipam_conflicts_total"
        )
        await cluster.node("waiting")
        await cluster.told("CIDRNotAvailable", about="waiting")
        await cluster.delete("/api/v1/nodes/one")
        await line(cluster, "10.244.0.0/24", node="two")
        assert await cluster.cidrs("waiting") == []
        await cluster.delete("/api/v1/nodes/two")
        assert await cluster.served("waiting") == ["10.244.0.0/24"]


async def test_a_range_that_goes_leaves_orphans_which_are_adopted_when_it_returns(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/24", "10.9.0.0/24"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.0.0/24"]
        await cluster.patch(f"{POOLS}/default", {"spec": {"ipv4": {"cidrs": ["10.9.0.0/24"]}}})
        await line(cluster, "10.244.0.0/24", clusterCIDR=None)
        await cluster.node("second")
        assert await cluster.served("second") == ["10.9.0.0/24"]
        await cluster.patch(
            f"{POOLS}/default", {"spec": {"ipv4": {"cidrs": ["10.9.0.0/24", "10.244.0.0/24"]}}}
        )
        await line(cluster, "10.244.0.0/24", clusterCIDR="default")
        assert (await eventually(lambda: _nodes(cluster, 2)))["ipv4"]["allocated"] == 2


async def test_a_line_that_cannot_be_read_closes_its_page_only(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/19"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.0.0/24"]
        page = await cluster.get(f"{PAGES}/10.244.0.0-20")
        odd = {"cidr": "10.244.9.0/24", "state": "Bound", "node": "x", "addresses": ["no address"]}
        await cluster.patch(f"{PAGES}/10.244.0.0-20", {"entries": [*page["entries"], odd]})
        await cluster.node("second")
        assert await cluster.served("second", within_s=20) == ["10.244.16.0/24"]
        await cluster.patch(f"{PAGES}/10.244.0.0-20", {"entries": page["entries"]})
        for i in range(16):
            await cluster.node(f"more-{i}")
        found = await cluster.all_served(18, within_s=30)
        assert "10.244.1.0/24" in {cidrs[0] for cidrs in found.values()}


async def test_without_allocation_foreign_podcidrs_are_mirrored(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller(allocate=False):
        await cluster.node("theirs", pod_cidrs=("10.99.0.0/24",), addresses=("192.0.2.5",))
        await line(cluster, "10.99.0.0/24", node="theirs", addresses=["192.0.2.5"])
        await cluster.node("nothing")
        await cluster.delete("/api/v1/nodes/theirs")
        await no_line(cluster, "10.99.0.0/24")
        assert await cluster.cidrs("nothing") == []
        assert not await cluster.events("CIDRConflict")


async def test_a_node_that_registers_with_a_podcidr_keeps_it_and_nobody_is_blamed(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller():
        await cluster.node("theirs", pod_cidrs=("10.244.1.0/24",))
        told = await cluster.told("CIDRRegistered", about="theirs")
        assert "registered with podCIDRs 10.244.1.0/24" in told
        await line(cluster, "10.244.1.0/24", node="theirs")
        await cluster.node("ours")
        assert await cluster.served("ours") == ["10.244.0.0/24"]
        assert not await cluster.events("CIDRConflict")


async def test_a_second_allocator_is_reported(cluster: Cluster) -> None:
    async with cluster.controller():
        await cluster.node("theirs")
        await eventually(lambda: cluster.events("CIDRNotAvailable"))
        spec = {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}
        await cluster.patch("/api/v1/nodes/theirs", spec)
        assert "another allocator" in await cluster.told("CIDRConflict", about="theirs")
        await line(cluster, "10.244.1.0/24", node="theirs")


async def test_an_absurd_podcidr_of_one_node_stops_no_other(cluster: Cluster) -> None:
    await cluster.pool(ipv4=TWO)
    async with cluster.controller():
        await cluster.node("giant", pod_cidrs=("0.0.0.0/0",))
        assert "re-create the Node" in await cluster.told("CIDRConflict", about="giant")
        await cluster.node("ours")
        assert await cluster.served("ours") == ["10.244.0.0/24"]
        assert list(await lines(cluster)) == ["10.244.0.0/24"]


async def _uid(cluster: Cluster, name: str) -> str:
    return str((await cluster.get(f"/api/v1/nodes/{name}"))["metadata"]["uid"])


async def _nodes(cluster: Cluster, count: int) -> Object:
    status = await cluster.status()
    return status if status.get("nodes") == count else {}


async def test_a_line_that_is_corrected_opens_the_pages_below_it_again(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/20"], "nodeMaskSize": 24})
    await cluster.pool(
        "seed",
        ipv4={"cidrs": ["10.244.240.0/24"], "nodeMaskSize": 24},
        nodeSelector={"nodeSelectorTerms": [{"matchExpressions": [{"key": "seed", "operator": "Exists"}]}]},
    )
    async with cluster.controller():
        await cluster.node("seed", labels={"seed": ""})
        await cluster.served("seed")
        page = await cluster.get(f"{PAGES}/10.244.0.0-16")
        odd = {"cidr": "10.244.128.0/20", "state": "Bound", "node": "x", "addresses": ["no address"]}
        await cluster.patch(f"{PAGES}/10.244.0.0-16", {"entries": [*page["entries"], odd]})
        await cluster.node("first")
        await cluster.told("CIDRNotAvailable", about="first")
        assert not await cluster.cidrs("first")
        page = await cluster.get(f"{PAGES}/10.244.0.0-16")
        good = [entry for entry in page["entries"] if entry["cidr"] != odd["cidr"]]
        await cluster.patch(f"{PAGES}/10.244.0.0-16", {"entries": good})
        assert (await cluster.served("first"))[0].startswith("10.244.")


async def test_a_slow_page_below_a_larger_block_closes_nothing(cluster: Cluster) -> None:
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/20"], "nodeMaskSize": 24})
    async with cluster.controller():
        await cluster.node("small")
        await cluster.served("small")
        await cluster.delete("/api/v1/nodes/small")
        await no_line(cluster, "10.244.0.0/24")
        await cluster.patch(f"{POOLS}/default", {"spec": {"ipv4": {"nodeMaskSize": 20}}})
        await eventually(lambda: _counts(cluster, "capacity"), what="that the change is known")
        slow = cluster.api.faults.add(
            Fault(effect=Effect.REFUSE, verb="*", resource="podcidrslices", name="10.244.0.0-20", status=503)
        )
        await cluster.node("large")
        await eventually(lambda: cluster.api.faults.hits(slow) > 0)
        await cluster.pool("others", priority=1, ipv4={"cidrs": ["10.9.0.0/16"], "nodeMaskSize": 24})
        for i in range(90):  # each is a step or more
            await cluster.node(f"n{i}", annotations={"nodeipam.dev/cluster-cidr": "others"})
            await cluster.served(f"n{i}")
        cluster.api.faults.remove(slow)
        assert await cluster.served("large", within_s=15) == ["10.244.0.0/20"]


async def test_a_node_waits_no_longer_when_an_address_leaves_the_range(cluster: Cluster) -> None:
    await cluster.pool(ipv4=ONE)
    async with cluster.controller():
        await cluster.node("inside", pod_cidrs=("172.16.0.0/24",), addresses=("10.244.0.9",))
        await eventually(lambda: _counts(cluster, "excluded"))
        await cluster.node("waits")
        await cluster.told("CIDRNotAvailable", about="waits")
        moved = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}}
        await cluster.patch("/api/v1/nodes/inside/status", moved)
        assert await cluster.served("waits", within_s=5) == ["10.244.0.0/24"]


async def _counts(cluster: Cluster, what: str) -> bool:
    return ((await cluster.status()).get("ipv4") or {}).get(what) == 1


@pytest.mark.parametrize("whose", [{"node": "ghost"}, {"node": "", "nodeUID": "u"}], ids=str)
async def test_a_bound_line_that_does_not_say_whose_it_is_closes_its_page_and_no_other(
    cluster: Cluster, whose: Object
) -> None:
    line = {"cidr": "10.244.0.0/24", "state": "Bound", **whose}
    body = {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "PodCIDRSlice",
        "metadata": {"name": "10.244.0.0-20"},
        "page": "10.244.0.0/20",
        "entries": [line],
    }
    await cluster.create(PAGES, body)
    await cluster.pool(ipv4={"cidrs": ["10.244.0.0/24", "10.244.16.0/24"], "nodeMaskSize": 24})
    async with cluster.controller() as running:
        await cluster.node("first")
        assert await cluster.served("first") == ["10.244.16.0/24"]
        await cluster.node("second")
        await cluster.told("CIDRNotAvailable", about="second")
        assert running.readiness.ready, running.readiness.report()
