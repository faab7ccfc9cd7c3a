"""The client libraries of this field work against our server: kubernetes_asyncio and kopf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from kubernetes_asyncio import client, config, watch

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.clients import node
from tests.demo.apiserver.test_kubectl import RANGES

# Left alone, kubernetes_asyncio announces every patch as a JSON patch.
MERGE = "application/merge-patch+json"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        running.apply(yaml.safe_load(RANGES))
        yield running


@pytest.fixture
async def core(server: ApiServer, tmp_path: Path) -> AsyncIterator[Any]:
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    settings = client.Configuration()
    await config.load_kube_config(config_file=str(path), client_configuration=settings)
    async with client.ApiClient(settings) as api:
        yield client.CoreV1Api(api)


async def test_kubernetes_asyncio_creates_lists_patches_and_deletes(core: Any) -> None:
    await core.create_node(node("n1", zone="a"))
    await core.patch_node("n1", {"spec": {"podCIDR": "10.1.0.0/24"}}, _content_type=MERGE)
    (found,) = (await core.list_node(label_selector="zone=a")).items
    assert found.spec.pod_cidrs == ["10.1.0.0/24"]
    await core.delete_node("n1")
    with pytest.raises(client.ApiException) as refused:
        await core.read_node("n1")
    assert refused.value.status == 404


async def test_kubernetes_asyncio_watch_follows_an_object_through_its_life(core: Any) -> None:
    version = (await core.list_node()).metadata.resource_version
    seen = []
    async with watch.Watch() as watching, asyncio.timeout(30):
        stream = watching.stream(core.list_node, resource_version=version)
        await core.create_node(node("n1", zone="a"))
        await core.patch_node("n1", {"metadata": {"labels": {"zone": "b"}}}, _content_type=MERGE)
        await core.delete_node("n1")
        async for event in stream:
            seen.append((event["type"], event["object"].metadata.labels["zone"]))
            if event["type"] == "DELETED":
                break
    assert seen == [("ADDED", "a"), ("MODIFIED", "b"), ("DELETED", "b")]


async def test_a_kopf_operator_handles_creation_change_and_deletion(
    server: ApiServer, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    registry = kopf.OperatorRegistry()
    told: asyncio.Queue[str] = asyncio.Queue()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server=server.url, token=server.token)

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False

    @kopf.on.create("example.com", "v1", "ranges", registry=registry)
    async def created(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
        patch.status["used"] = spec["size"]
        await told.put("created")

    @kopf.on.update("example.com", "v1", "ranges", registry=registry)
    async def updated(**_: Any) -> None:
        await told.put("updated")

    @kopf.on.delete("example.com", "v1", "ranges", registry=registry)
    async def deleted(**_: Any) -> None:
        await told.put("deleted")

    stop = asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(registry=registry, standalone=True, clusterwide=True, stop_flag=stop)
    )
    settings = client.Configuration()
    await config.load_kube_config(config_file=str(path), client_configuration=settings)
    try:
        async with client.ApiClient(settings) as api, asyncio.timeout(60):
            ranges: Any = client.CustomObjectsApi(api)
            where = ("example.com", "v1", "ranges")
            body = {
                "apiVersion": "example.com/v1",
                "kind": "Range",
                "metadata": {"name": "r1"},
                "spec": {"ipv4": "10.0.0.0/16", "size": 24},
            }
            await ranges.create_cluster_custom_object(*where, body)
            assert await told.get() == "created"
            await ranges.patch_cluster_custom_object(
                *where, "r1", {"spec": {"size": 25}}, _content_type=MERGE
            )
            assert await told.get() == "updated"
            await ranges.delete_cluster_custom_object(*where, "r1")
            assert await told.get() == "deleted"
            bucket = server.store.bucket("ranges.example.com")
            while bucket.objects:  # noqa: ASYNC110  (kopf removes its finalizer after the handler)
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await operator
