"""ClusterCIDRs that make no sense (stored before the CRD had its rules, or under a CRD without them): said where users look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeipam_ctl.controller.status import FINALIZER
from nodeipam_ctl.demo.apiserver import Effect, Fault
from tests.controller.harness import CRDS, POOLS, Cluster, Object, condition, eventually
from tests.demo.apiserver.http import http

BAD = {"cidrs": ["10.9.0.1/16"], "nodeMaskSize": 24}
GOOD = {"cidrs": ["10.9.0.0/16"], "nodeMaskSize": 24}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clustercidrs.nodeipam.dev"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    crds = tmp_path / "crds"
    crds.mkdir()
    for file in CRDS.glob("*.yaml"):
        (crds / file.name).write_text(yaml.safe_dump(_without_rules(yaml.safe_load(file.read_text()))))
    async with Cluster(tmp_path, crds=crds) as made:
        yield made


async def test_the_status_names_the_field_the_reason_and_the_remedy_until_it_is_corrected(
    cluster: Cluster,
) -> None:
    await cluster.pool("broken", ipv4=BAD)
    async with cluster.controller():
        ready = await eventually(lambda: _ready(cluster, "False"))
        assert ready["reason"] == "InvalidSpec"
        assert "spec.ipv4.cidrs[0]" in ready["message"]
        assert "10.9.0.0/16" in ready["message"], "what was meant"
        assert "kubectl edit clustercidr broken" in ready["message"]
        assert await _printed(cluster) == "False"
        await cluster.patch(f"{POOLS}/broken", {"spec": {"ipv4": GOOD}})
        ready = await eventually(lambda: _ready(cluster, "True"))
        assert ready["reason"] == "BlocksFree"
        assert await _printed(cluster) == "True"


async def test_what_was_read_before_loses_its_counts_and_gives_nothing_new(cluster: Cluster) -> None:
    await cluster.pool("broken", ipv4=GOOD)
    async with cluster.controller():
        await cluster.node("first")
        await cluster.served("first")
        await eventually(lambda: _has_counts(cluster))
        await cluster.patch(f"{POOLS}/broken", {"spec": {"ipv4": BAD}})
        await eventually(lambda: _ready(cluster, "False"))
        assert (await cluster.status("broken")).keys() == {"observedGeneration", "conditions"}
        await cluster.node("second")
        message = await cluster.told("CIDRNotAvailable", about="second")
        assert "broken: spec.ipv4.cidrs[0]" in message
        assert "correct ClusterCIDR broken" in message
        await cluster.patch(f"{POOLS}/broken", {"spec": {"ipv4": GOOD}})
        assert await cluster.served("second", within_s=5) == ["10.9.1.0/24"]
        assert await cluster.cidrs("first") == ["10.9.0.0/24"]


async def test_one_that_is_deleted_while_nobody_can_read_it_says_what_keeps_it(cluster: Cluster) -> None:
    await cluster.pool("broken", ipv4=GOOD)
    async with cluster.controller():
        await eventually(lambda: _ready(cluster, "True"))
        await cluster.patch(f"{POOLS}/broken", {"spec": {"ipv4": BAD}})
        await cluster.delete(f"{POOLS}/broken")
        await eventually(lambda: _ready(cluster, "False", saying="take the finalizer off by hand"))
        assert (await cluster.get(f"{POOLS}/broken"))["metadata"]["finalizers"] == [FINALIZER]
        await cluster.patch(f"{POOLS}/broken", {"spec": {"ipv4": GOOD}})
        await eventually(lambda: _is_gone(cluster))


async def test_one_whose_status_cannot_be_written_does_not_hold_up_the_others(cluster: Cluster) -> None:
    refused = cluster.api.faults.add(
        Fault(
            effect=Effect.REFUSE,
            verb="patch",
            resource="clustercidrs",
            subresource="status",
            name="broken",
            status=422,
        )
    )
    await cluster.pool("broken", ipv4=BAD)
    await cluster.pool()
    async with cluster.controller():
        await eventually(lambda: cluster.api.faults.hits(refused))
        for number in range(1, 4):
            await cluster.node(f"n{number}")
            await eventually(lambda number=number: _nodes(cluster, number), within_s=4)
        assert cluster.api.faults.hits(refused) == 1, "asked again only when the object changes"


async def test_rules_that_come_later_do_not_keep_the_status_from_being_written(cluster: Cluster) -> None:
    await cluster.pool("broken", ipv4=BAD)
    with_rules = yaml.safe_load((CRDS / "nodeipam.dev_clustercidrs.yaml").read_text())
    await cluster.patch(CRD_PATH, {"spec": with_rules["spec"]})
    async with cluster.controller():
        assert (await eventually(lambda: _ready(cluster, "False")))["reason"] == "InvalidSpec"


def _without_rules(value: Any) -> Any:
    """A CRD as it was before it had CEL rules."""
    if isinstance(value, dict):
        return {key: _without_rules(one) for key, one in value.items() if key != "x-kubernetes-validations"}
    return [_without_rules(one) for one in value] if isinstance(value, list) else value


async def _ready(cluster: Cluster, holds: str, *, saying: str = "") -> Object:
    found = condition(await cluster.status("broken"), "Ready")
    return found if found.get("status") == holds and saying in found.get("message", "") else {}


async def _printed(cluster: Cluster) -> str:
    """What stands under READY in `kubectl get ccidr`."""
    async with http(cluster.api) as ask:
        table = (await ask("GET", f"{POOLS}/broken", Accept=TABLE)).body
    place = [column["name"] for column in table["columnDefinitions"]].index("Ready")
    return str(table["rows"][0]["cells"][place])


async def _has_counts(cluster: Cluster) -> bool:
    return (await cluster.status("broken")).get("nodes") == 1


async def _nodes(cluster: Cluster, count: int) -> bool:
    return (await cluster.status()).get("nodes") == count


async def _is_gone(cluster: Cluster) -> bool:
    return not await cluster.items(POOLS)
