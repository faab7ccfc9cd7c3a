"""A Node's patch is refused for a while, and meanwhile its promise is no good any more: it gets another, unless it may have it already."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from ipaddress import ip_network

import pytest

from nodeipam_ctl.demo.apiserver import Effect, Fault
from nodeipam_ctl.ipam.eligibility import MASK_SIZE
from nodeipam_ctl.model import NodeUID
from nodeipam_ctl.prefixes import Family
from tests.controller.harness import PAGES, POOLS, Cluster, Object, Running, eventually
from tests.controller.test_set_back import agrees

LOWER = ip_network("10.244.0.0/17")
MASK = MASK_SIZE[Family.IPV4]
SERVICES = "/apis/networking.k8s.io/v1/servicecidrs"


async def _service_range(cluster: Cluster) -> None:
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "late"}}
    await cluster.create(SERVICES, {**kind, "spec": {"cidrs": [str(LOWER)]}})


async def _exclusion(cluster: Cluster) -> None:
    await cluster.patch(f"{POOLS}/a", {"spec": {"ipv4": {"exclude": [str(LOWER)]}}})


async def _address(cluster: Cluster) -> None:
    cidr = "10.244.0.0/24"  # the first that is handed out
    await cluster.node("other", pod_cidrs=("10.9.0.0/24",), addresses=(cidr.replace("0/24", "7"),))


async def _other_labels(cluster: Cluster) -> None:
    await _label(cluster, zone="b")


async def _other_mask(cluster: Cluster) -> None:
    await _change(cluster, annotations={MASK: "25"})


async def _disabled(cluster: Cluster) -> None:
    await cluster.patch(f"{POOLS}/b", {"spec": {"nodeSelector": None}})
    await cluster.patch(f"{POOLS}/a", {"spec": {"disabled": True}})


CHANGES = [
    pytest.param(_service_range, id="a service range appears there"),
    pytest.param(_exclusion, id="it is excluded"),
    pytest.param(_address, id="a node has an address there"),
    pytest.param(_other_labels, id="the node's labels choose another ClusterCIDR"),
    pytest.param(_other_mask, id="its annotation asks for another size"),
    pytest.param(_disabled, id="its ClusterCIDR is disabled"),
]


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("change", CHANGES)
async def test_a_node_whose_patch_was_surely_refused_gets_what_is_right_now(
    cluster: Cluster, change: Callable[[Cluster], Awaitable[None]], status: int
) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, status)
        promised = _promised(running, refused.uid)
        await change(cluster)
        await _noticed(running, refused.uid)
        cluster.api.faults.remove(refused.fault)
        assert await cluster.served("n", within_s=60) != promised
        await agrees(cluster)
        assert _promised(running, refused.uid) == await cluster.cidrs("n"), "nothing else is kept back for it"


async def test_a_node_whose_patch_may_have_taken_effect_gets_the_same_still(cluster: Cluster) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, 500)
        promised = _promised(running, refused.uid)
        await _exclusion(cluster)
        await _noticed(running, refused.uid)
        cluster.api.faults.remove(refused.fault)
        assert await cluster.served("n", within_s=60) == promised


async def test_what_was_promised_before_is_promised_again_when_it_is_right_again(cluster: Cluster) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, 403)
        first = _promised(running, refused.uid)
        for zone, blocks in (("b", 2), ("a", 2), ("b", 2), ("a", 2)):
            await _label(cluster, zone=zone)
            await eventually(
                lambda zone=zone: running.controller.reconciler.allocator.pool_of(refused.uid) == zone
            )
            assert len(_promised(running, refused.uid)) == blocks
        cluster.api.faults.remove(refused.fault)
        # After so many refusals the next attempt may be half a minute away, but for a change of the Node.
        await _label(cluster, zone="a", mended="yes")
        assert await cluster.served("n", within_s=60) == first[:1]


async def test_a_mask_annotation_that_changes_alone_counts_until_the_node_has_its_podcidrs(
    cluster: Cluster,
) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, 403)
        first = _promised(running, refused.uid)
        for size, blocks in (("25", 2), ("24", 2), ("/25", 2)):
            await _change(cluster, annotations={MASK: size})
            await eventually(
                lambda size=size: (
                    running.controller.reconciler.allocator.lines(refused.uid)[0].cidr.prefixlen
                    == int(size.removeprefix("/"))
                )
            )
            assert len(_promised(running, refused.uid)) == blocks, "what it was promised before is used again"
        cluster.api.faults.remove(refused.fault)
        [has] = await cluster.served("n", within_s=60)
        assert has.endswith("/25")
        assert [has] != first
        await agrees(cluster)


async def test_after_a_restart_the_promise_that_is_right_now_counts_not_the_first_line(
    cluster: Cluster,
) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, 403)
        await _label(cluster, zone="b")
        await eventually(lambda: _both_stand(cluster), what="lines of both promises")
    async with cluster.controller():
        cluster.api.faults.remove(refused.fault)
        [has] = await cluster.served("n", within_s=60)
        assert has.startswith("10.245.")
        await agrees(cluster)


async def test_a_node_whose_annotation_became_nonsense_gets_nothing_until_it_is_corrected(
    cluster: Cluster,
) -> None:
    await _pools(cluster)
    async with cluster.controller() as running:
        refused = await _refused(cluster, running, 403)
        first = _promised(running, refused.uid)
        await _change(cluster, annotations={MASK: "large"})
        await eventually(running.controller.reconciler.allocator.waiting)
        cluster.api.faults.remove(refused.fault)
        [(_, refusal)] = running.controller.reconciler.allocator.waiting()
        assert "write a prefix length" in refusal.message
        await cluster.node("next", labels={"zone": "a"})
        await cluster.served("next")
        assert await cluster.cidrs("n") == []
        await _change(cluster, annotations={MASK: "24"})
        assert await cluster.served("n", within_s=60) == first


class _Refused:
    def __init__(self, uid: str, fault: int) -> None:
        self.uid, self.fault = NodeUID(uid), fault


async def _pools(cluster: Cluster) -> None:
    await cluster.pool(
        "a", ipv4={"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}, nodeSelector=_zone("a"), priority=1
    )
    await cluster.pool("b", ipv4={"cidrs": ["10.245.0.0/16"], "nodeMaskSize": 24}, nodeSelector=_zone("b"))


def _zone(*names: str) -> Object:
    return {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(names)}]}
        ]
    }


async def _refused(cluster: Cluster, running: Running, status: int) -> _Refused:
    """A Node whose patch the server refuses."""
    fault = Fault(
        effect=Effect.REFUSE, verb="patch", resource="nodes", subresource="", name="n", status=status
    )
    number = cluster.api.faults.add(fault)
    made = await cluster.node("n", labels={"zone": "a"})
    await eventually(lambda: cluster.api.faults.hits(number) > 0, what="a patch that is refused")
    return _Refused(made["metadata"]["uid"], number)


async def _label(cluster: Cluster, **labels: str) -> None:
    await _change(cluster, labels=labels)


async def _change(cluster: Cluster, **metadata: Object) -> None:
    """By PUT, for patches are refused."""
    node = await cluster.get("/api/v1/nodes/n")
    node["metadata"].update(metadata)
    await cluster.client.replace("/api/v1/nodes/n", json.dumps(node).encode())


def _promised(running: Running, uid: NodeUID) -> list[str]:
    return [str(cidr) for cidr in running.controller.reconciler.allocator.held_by(uid)]


async def _both_stand(cluster: Cluster) -> bool:
    pages = await cluster.items(PAGES)
    return [entry["state"] for page in pages for entry in page.get("entries") or ()].count("Bound") == 2


async def _noticed(running: Running, uid: NodeUID) -> None:
    """The promise is known to be no good any more, or is another already."""
    allocator, nodes = running.controller.reconciler.allocator, running.controller._nodes.store
    before = _promised(running, uid)
    await eventually(lambda: not allocator.stands_by(nodes[uid]) or _promised(running, uid) != before)
