"""Does a release keep what is the user's? Install, changed values, upgrade, rollback, uninstall, by real Helm."""

from __future__ import annotations

import copy
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from nodeipam_ctl.errors import NodeIPAMError
from tests.charts.chart import CHART, NAMESPACE, values_of
from tests.charts.cluster import CRDS, PAGES, POOLS, HelmedCluster, helmed_cluster

_DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/nodeipam-ctl-controller"
_DAEMONSETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"
_PAGE = {
    "apiVersion": "nodeipam.dev/v1alpha1",
    "kind": "PodCIDRSlice",
    "metadata": {"name": "10.244.0.0-20", "labels": {"nodeipam.dev/family": "IPv4"}},
    "page": "10.244.0.0/20",
    "entries": [
        {
            "cidr": "10.244.3.0/24",
            "state": "Bound",
            "node": "worker-1",
            "nodeUID": "u-1",
            "clusterCIDR": "default",
        }
    ],
}
_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "worker-1"},
    "spec": {"podCIDR": "10.244.3.0/24", "podCIDRs": ["10.244.3.0/24"]},
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[HelmedCluster]:
    async with helmed_cluster(tmp_path) as found:
        yield found


def _values() -> dict[str, Any]:
    """The host-gw profile, without what needs the Prometheus operator."""
    values = values_of("host-gw")
    values["metrics"]["podMonitor"]["enabled"] = False
    return values


def _with_range(values: dict[str, Any], cidr: str) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    changed["clusterCIDRs"]["default"]["ipv4"]["cidrs"].append(cidr)
    return changed


async def _in_use(cluster: HelmedCluster) -> None:
    """A node with a podCIDR, written down."""
    await cluster.create(PAGES, _PAGE)
    await cluster.create("/api/v1/nodes", _NODE)


async def _what_is_the_users(cluster: HelmedCluster) -> dict[str, Any]:
    """Pools, ledger and podCIDRs, with their identity and meaning, whatever labels they carry."""
    kept: dict[str, Any] = {}
    for path in (POOLS, PAGES, "/api/v1/nodes"):
        for item in (await cluster.get(path))["items"]:
            body = {key: item.get(key) for key in ("spec", "page", "entries")}
            kept[f"{path}/{item['metadata']['name']}"] = {"uid": item["metadata"]["uid"], **body}
    return kept


async def test_one_install_on_an_empty_cluster_brings_programs_crds_and_pools(cluster: HelmedCluster) -> None:
    release = await cluster.install(_values())

    assert release["status"] == "deployed"
    assert await cluster.names(CRDS) == ["clustercidrs.nodeipam.dev", "podcidrslices.nodeipam.dev"]
    pool = await cluster.get(f"{POOLS}/default")
    assert pool["spec"]["ipv4"] == {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}
    assert (await cluster.get(_DEPLOYMENT))["spec"]["replicas"] == 2
    assert await cluster.names(_DAEMONSETS) == ["nodeipam-ctl-agent"]


async def test_nothing_of_the_users_is_lost_from_install_to_uninstall(cluster: HelmedCluster) -> None:
    await cluster.install(_values())
    await _in_use(cluster)

    await cluster.upgrade(_with_range(_values(), "10.246.0.0/16") | {"controller": {"replicas": 3}})
    assert (await cluster.get(_DEPLOYMENT))["spec"]["replicas"] == 3
    grown = await _what_is_the_users(cluster)
    assert grown[f"{POOLS}/default"]["spec"]["ipv4"]["cidrs"] == ["10.244.0.0/16", "10.246.0.0/16"]
    assert len(grown) == 3

    await cluster.rollback(1)
    assert (await cluster.get(_DEPLOYMENT))["spec"]["replicas"] == 2
    assert await _what_is_the_users(cluster) == grown

    await cluster.uninstall()
    assert await cluster.names(_DAEMONSETS) == []
    assert await _what_is_the_users(cluster) == grown

    await cluster.install(_with_range(_values(), "10.246.0.0/16"))
    assert await _what_is_the_users(cluster) == grown


async def test_uninstall_leaves_none_of_the_releases_own_objects(cluster: HelmedCluster) -> None:
    namespaced = [
        *("/api/v1/namespaces/kube-system/services", _DAEMONSETS, _DEPLOYMENT.rpartition("/")[0]),
        "/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets",
        *(
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/{kind}"
            for kind in ("roles", "rolebindings")
        ),
        *(f"/apis/rbac.authorization.k8s.io/v1/{kind}" for kind in ("clusterroles", "clusterrolebindings")),
        "/api/v1/namespaces/kube-system/serviceaccounts",
    ]
    before = {path: await cluster.names(path) for path in namespaced}
    await cluster.install(_values())
    during = {path: await cluster.names(path) for path in namespaced}

    await cluster.uninstall()

    assert all(len(during[path]) > len(before[path]) for path in namespaced)
    assert {path: await cluster.names(path) for path in namespaced} == before


async def test_a_pool_that_leaves_the_values_stays_in_the_cluster(cluster: HelmedCluster) -> None:
    await cluster.install(_values())

    await cluster.upgrade(_values() | {"clusterCIDRs": {}})

    assert await cluster.names(POOLS) == ["default"]


async def test_a_pool_of_the_users_own_is_not_touched(cluster: HelmedCluster) -> None:
    await cluster.install(_values())
    own = {"ipv4": {"cidrs": ["10.250.0.0/16"], "nodeMaskSize": 25}}
    await cluster.create(
        POOLS,
        {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "ClusterCIDR",
            "metadata": {"name": "own"},
            "spec": own,
        },
    )

    await cluster.upgrade(_with_range(_values(), "10.246.0.0/16"))
    await cluster.uninstall()

    assert (await cluster.get(f"{POOLS}/own"))["spec"].items() >= own.items()


async def test_a_range_that_the_user_added_survives_an_upgrade_and_so_does_one_that_the_values_add(
    cluster: HelmedCluster,
) -> None:
    await cluster.install(_values())
    await cluster.edit(f"{POOLS}/default", {"spec": {"ipv4": {"cidrs": ["10.244.0.0/16", "10.247.0.0/16"]}}})

    await cluster.upgrade(_with_range(_values(), "10.246.0.0/16"))

    ranges = (await cluster.get(f"{POOLS}/default"))["spec"]["ipv4"]["cidrs"]
    assert set(ranges) == {"10.244.0.0/16", "10.247.0.0/16", "10.246.0.0/16"}


async def test_an_upgrade_that_contradicts_an_edit_of_the_users_fails_and_says_where(
    cluster: HelmedCluster,
) -> None:
    await cluster.install(_values())
    await cluster.edit(f"{POOLS}/default", {"spec": {"ipv4": {"nodeMaskSize": 25}}})

    with pytest.raises(helm_python.HelmReleaseError, match=r"\.spec\.ipv4\.nodeMaskSize"):
        await cluster.upgrade(_values())

    assert (await cluster.get(f"{POOLS}/default"))["spec"]["ipv4"]["nodeMaskSize"] == 25
    remedy = _values()
    remedy["clusterCIDRs"]["default"]["ipv4"]["nodeMaskSize"] = 25
    await cluster.upgrade(remedy)


async def test_pools_that_belong_to_the_release_go_with_it(cluster: HelmedCluster) -> None:
    await cluster.install(_values() | {"keepClusterCIDRs": False})
    assert await cluster.names(POOLS) == ["default"]

    await cluster.uninstall()

    assert await cluster.names(POOLS) == []
    assert await cluster.names(CRDS) != []


async def test_pools_can_be_given_to_the_release_and_taken_back(cluster: HelmedCluster) -> None:
    await cluster.install(_values())
    await _in_use(cluster)
    before = await _what_is_the_users(cluster)

    await cluster.upgrade(_values() | {"keepClusterCIDRs": False})
    await cluster.upgrade(_values() | {"keepClusterCIDRs": True})
    await cluster.uninstall()

    assert await _what_is_the_users(cluster) == before


async def test_an_upgrade_brings_the_crds_of_the_new_chart_and_a_rollback_keeps_them(
    cluster: HelmedCluster, tmp_path: Path
) -> None:
    await cluster.install(_values())
    await _in_use(cluster)
    before = await _what_is_the_users(cluster)

    await cluster.upgrade(_values(), chart=_newer_chart(tmp_path))
    assert "colour" in await _spec_fields(cluster)

    await cluster.rollback(1)
    assert "colour" in await _spec_fields(cluster)
    assert await _what_is_the_users(cluster) == before


async def test_crds_that_the_user_looks_after_are_left_alone(cluster: HelmedCluster, tmp_path: Path) -> None:
    await cluster.install(_values())

    await cluster.upgrade(_values() | {"crds": {"upgrade": False}}, chart=_newer_chart(tmp_path))

    assert "colour" not in await _spec_fields(cluster)


async def test_a_pool_that_the_crd_refuses_fails_the_install_with_the_crds_sentence(
    cluster: HelmedCluster,
) -> None:
    values = _values()
    values["clusterCIDRs"]["default"]["ipv4"]["cidrs"] = ["10.244.1.0/16"]

    with pytest.raises(helm_python.HelmReleaseError, match="has bits set after its prefix"):
        await cluster.install(values)

    with pytest.raises(NodeIPAMError, match="not found"):
        await cluster.get(f"{POOLS}/default")


def _newer_chart(folder: Path) -> Path:
    """The chart of a version whose ClusterCIDRs have one more field."""
    newer = folder / "nodeipam-ctl"
    shutil.copytree(CHART, newer)
    path = newer / "crds" / "nodeipam.dev_clustercidrs.yaml"
    crd = yaml.safe_load(path.read_text())
    _properties(crd)["colour"] = {"type": "string", "maxLength": 20}
    path.write_text(yaml.safe_dump(crd))
    return newer


async def _spec_fields(cluster: HelmedCluster) -> set[str]:
    return set(_properties(await cluster.get(f"{CRDS}/clustercidrs.nodeipam.dev")))


def _properties(crd: dict[str, Any]) -> dict[str, Any]:
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert isinstance(properties, dict)
    return properties
