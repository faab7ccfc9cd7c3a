"""Helm, through its own SDK, installs, upgrades, rolls back and removes a release; its Secrets arrive as protobuf."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import helm_python
import pytest

from nodeipam_ctl.demo.apiserver import ApiServer

CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-settings
data:
  level: {{ .Values.level | quote }}
"""


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("level: 1\n")
    (folder / "templates" / "settings.yaml").write_text(CONFIG_MAP)
    return folder


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(tls=True) as running:
        yield running


def level(server: ApiServer) -> str:
    stored = server.store.bucket("configmaps").objects["apps/demo-settings"]
    data: str = json.loads(stored.raw)["data"]["level"]
    return data


async def test_a_release_lives_through_install_upgrade_rollback_and_uninstall(
    server: ApiServer, chart: Path
) -> None:
    with helm_python.Config(kubeconfig_content=server.kubeconfig(), namespace="apps") as helm:
        # The SDK blocks its thread; the server answers from this loop meanwhile.
        await asyncio.to_thread(helm.install, chart, "demo", {"level": 1}, create_namespace=True)
        assert level(server) == "1"
        await asyncio.to_thread(helm.upgrade, chart, "demo", {"level": 2})
        assert level(server) == "2"
        await asyncio.to_thread(helm.rollback, "demo", version=1)
        assert level(server) == "1"
        (release,) = await asyncio.to_thread(helm.list)
        assert (release["revision"], release["status"]) == (3, "deployed")
        await asyncio.to_thread(helm.uninstall, "demo")
    assert not server.store.bucket("configmaps").objects
    assert not server.store.bucket("secrets").objects


async def test_the_release_secret_can_be_read_back(server: ApiServer, chart: Path) -> None:
    with helm_python.Config(kubeconfig_content=server.kubeconfig(), namespace="default") as helm:
        await asyncio.to_thread(helm.install, chart, "demo")
    secret = json.loads(server.store.bucket("secrets").objects["default/sh.helm.release.v1.demo.v1"].raw)
    assert secret["type"] == "helm.sh/release.v1"
    assert secret["metadata"]["labels"]["status"] == "deployed"
    release = gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
    assert json.loads(release)["name"] == "demo"
