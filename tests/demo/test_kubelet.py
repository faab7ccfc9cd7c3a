"""Does our kubelet say what a real one says?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.cni import Runtime
from nodeipam_ctl.demo.kubelet import Kubelet, node_object
from nodeipam_ctl.demo.segment import place
from nodeipam_ctl.errors import AlreadyExists
from nodeipam_ctl.kube.auth import Access, StaticToken
from nodeipam_ctl.kube.client import Client

NOW = "2026-01-01T00:00:00Z"


def test_a_node_is_as_large_as_a_small_real_one() -> None:
    assert 5_000 < len(json.dumps(node_object("node-1", place(1), now=NOW))) < 8_000


def test_a_node_has_an_address_of_each_family_and_no_pod_cidr() -> None:
    node = node_object("node-1", place(1), now=NOW)
    assert node["spec"] == {}, "podCIDRs are for the controller to say"
    assert [a["address"] for a in node["status"]["addresses"]] == ["192.0.2.11", "2001:db8::11", "node-1"]


def test_places_are_distinct_and_on_the_segment() -> None:
    places = [place(number) for number in range(1, 66)]
    assert len({p.ipv4 for p in places}) == len({p.ipv6 for p in places}) == 65


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def kubelet(server: ApiServer, tmp_path: Path) -> AsyncIterator[Kubelet]:
    access = Access(
        server=server.url,
        ssl=None,
        server_hostname=None,
        token=StaticToken(server.token),
        namespace="default",
        origin="test",
    )
    conf_dir = tmp_path / "net.d"
    conf_dir.mkdir()
    runtime = Runtime(inside=lambda *argv: list(argv), plugin_dir=tmp_path, conf_dir=conf_dir)
    async with Client(access) as client:
        yield Kubelet(name="node-1", at=place(1), client=client, runtime=runtime)


async def _node(kubelet: Kubelet) -> dict[str, Any]:
    node = json.loads(await kubelet.client.get("/api/v1/nodes/node-1"))
    assert isinstance(node, dict)
    return node


def _ready(node: dict[str, Any]) -> dict[str, str]:
    return next(c for c in node["status"]["conditions"] if c["type"] == "Ready")


async def test_is_not_ready_until_there_is_a_conflist(kubelet: Kubelet) -> None:
    await kubelet.register()
    await kubelet.renew()
    before = _ready(await _node(kubelet))
    assert (before["status"], "cni plugin not initialized" in before["message"]) == ("False", True)
    (kubelet.runtime.conf_dir / "10-x.conflist").write_text("{}")
    await kubelet.renew()
    assert _ready(await _node(kubelet))["status"] == "True"


async def test_renewing_keeps_the_transition_times_and_the_conditions_of_others(kubelet: Kubelet) -> None:
    await kubelet.register()
    theirs = {"type": "NetworkUnavailable", "status": "False", "reason": "R", "message": "m"}
    path = "/api/v1/nodes/node-1/status"
    patch = json.dumps({"status": {"conditions": [theirs]}}).encode()
    await kubelet.client.patch(path, patch, kind="application/strategic-merge-patch+json")
    before = {c["type"]: c.get("lastTransitionTime") for c in (await _node(kubelet))["status"]["conditions"]}
    await kubelet.renew()
    after = {c["type"]: c.get("lastTransitionTime") for c in (await _node(kubelet))["status"]["conditions"]}
    assert before == after
    assert "NetworkUnavailable" in after


async def test_the_lease_is_renewed_and_belongs_to_the_node(kubelet: Kubelet) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1"
    await kubelet.register()
    before = json.loads(await kubelet.client.get(path))
    await kubelet.renew()
    after = json.loads(await kubelet.client.get(path))
    assert after["spec"]["renewTime"] > before["spec"]["renewTime"]
    assert after["metadata"]["ownerReferences"][0]["uid"] == (await _node(kubelet))["metadata"]["uid"]


async def test_sees_its_pod_cidrs_when_they_come(kubelet: Kubelet) -> None:
    await kubelet.register()
    waiting = asyncio.create_task(kubelet.pod_cidrs())
    cidrs = ["10.244.0.0/24", "fd00:10:244::/64"]
    spec = {"spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
    await kubelet.client.patch("/api/v1/nodes/node-1", json.dumps(spec).encode())
    async with asyncio.timeout(10):
        assert await waiting == tuple(cidrs)


async def test_a_second_node_of_the_name_is_refused(kubelet: Kubelet) -> None:
    await kubelet.register()
    with pytest.raises(AlreadyExists):
        await kubelet.register()
