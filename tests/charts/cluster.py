"""What does Helm do to a cluster? Real Helm against the embedded API server, as a user runs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import helm_python

from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube import auth
from nodeipam_ctl.kube.client import MERGE_PATCH, Client
from tests.charts.chart import CHART, NAMESPACE, RELEASE, Values

POOLS = "/apis/nodeipam.dev/v1alpha1/clustercidrs"
PAGES = "/apis/nodeipam.dev/v1alpha1/podcidrslices"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(slots=True, kw_only=True)
class HelmedCluster:
    """An API server, an administrator's client, and Helm."""

    server: ApiServer
    client: Client
    helm: helm_python.Config = field(repr=False)

    async def install(self, values: Values, *, chart: Path = CHART) -> dict[str, Any]:
        """`helm install`."""
        return await asyncio.to_thread(self.helm.install, chart, RELEASE, dict(values))

    async def upgrade(self, values: Values, *, chart: Path = CHART) -> dict[str, Any]:
        """`helm upgrade`."""
        return await asyncio.to_thread(self.helm.upgrade, chart, RELEASE, dict(values))

    async def rollback(self, revision: int) -> None:
        """`helm rollback`."""
        await asyncio.to_thread(self.helm.rollback, RELEASE, version=revision)

    async def uninstall(self) -> None:
        """`helm uninstall`."""
        await asyncio.to_thread(self.helm.uninstall, RELEASE)

    async def get(self, path: str) -> Any:
        """One object, or a list."""
        return json.loads(await self.client.get(path))

    async def names(self, path: str) -> list[str]:
        """The names in a list."""
        return [item["metadata"]["name"] for item in (await self.get(path))["items"]]

    async def create(self, path: str, manifest: dict[str, Any]) -> None:
        """`kubectl create`."""
        await self.client.create(path, json.dumps(manifest).encode())

    async def edit(self, path: str, patch: dict[str, Any]) -> None:
        """`kubectl patch`."""
        await self.client.patch(path, json.dumps(patch).encode(), kind=MERGE_PATCH)


@asynccontextmanager
async def helmed_cluster(folder: Path) -> AsyncIterator[HelmedCluster]:
    """A fresh cluster with no chart in it yet."""
    kubeconfig = folder / "kubeconfig"
    async with ApiServer(tls=True) as server:
        server.write_kubeconfig(kubeconfig)
        async with Client(await auth.load(kubeconfig), component="kubectl") as client:
            with helm_python.Config(kubeconfig_path=kubeconfig, namespace=NAMESPACE) as helm:
                yield HelmedCluster(server=server, client=client, helm=helm)
