"""kubectl, as it is on this machine, finds a cluster it can work with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nodeipam_ctl.demo.apiserver import ApiServer
from tests.demo.apiserver.clients import Kubectl, node

RANGES = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ranges.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Range, plural: ranges, shortNames: [rg]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns:
    - {name: IPv4, type: string, jsonPath: .spec.ipv4}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the range holds.
            properties:
              ipv4: {type: string}
              size: {type: integer}
          status:
            type: object
            properties:
              used: {type: integer}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {level: "%s"}
"""


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer(tls=True) as running:
        for index in range(5):
            running.create(node(f"n{index}", zone="a" if index % 2 else "b"))
        yield running


@pytest.fixture
def kubectl(server: ApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl.at(server, tmp_path)


async def a_node_watch(server: ApiServer) -> None:
    """Wait until somebody watches Nodes."""
    async with asyncio.timeout(30):
        while not server.faults.running_watches("nodes"):  # noqa: ASYNC110  (another process decides)
            await asyncio.sleep(0.01)


async def test_get_prints_the_columns_of_a_real_cluster(kubectl: Kubectl) -> None:
    head, *rows = (await kubectl("get", "nodes")).out.splitlines()
    assert head.split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert [row.split()[:3] for row in rows] == [[f"n{i}", "Unknown", "<none>"] for i in range(5)]
    assert "192.0.2.10" in (await kubectl("get", "nodes", "-o", "wide")).out


async def test_get_selects_by_label_and_field(kubectl: Kubectl) -> None:
    assert (await kubectl("get", "nodes", "-l", "zone=a", "-o", "name")).out.split() == ["node/n1", "node/n3"]
    chosen = await kubectl("get", "nodes", "--field-selector", "metadata.name=n2", "-o", "name")
    assert chosen.out.split() == ["node/n2"]


async def test_get_in_chunks_returns_everything_once(kubectl: Kubectl) -> None:
    names = (await kubectl("get", "nodes", "--chunk-size", "2", "-o", "name")).out.split()
    assert names == [f"node/n{i}" for i in range(5)]


async def test_get_watch_shows_a_change_when_it_happens(server: ApiServer, kubectl: Kubectl) -> None:
    async with kubectl.running("get", "nodes", "--watch") as process, asyncio.timeout(30):
        assert process.stdout is not None
        for _ in range(6):
            await process.stdout.readline()
        await a_node_watch(server)
        server.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "later"}})
        assert (await process.stdout.readline()).decode().startswith("later")


async def test_describe_shows_the_object_and_its_events(kubectl: Kubectl) -> None:
    shown = (await kubectl("describe", "node", "n1")).out
    assert "node.kubernetes.io/not-ready:NoSchedule" in shown
    assert "zone=a" in shown
    assert "Events:" in shown


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        pytest.param("merge", '{"spec":{"podCIDR":"10.1.0.0/24"}}', id="JSON merge patch"),
        pytest.param("json", '[{"op":"add","path":"/spec/podCIDR","value":"10.1.0.0/24"}]', id="JSON patch"),
        pytest.param("strategic", '{"spec":{"podCIDR":"10.1.0.0/24"}}', id="strategic merge patch"),
    ],
)
async def test_patches_of_every_type_fill_pod_cidrs(kubectl: Kubectl, kind: str, patch: str) -> None:
    await kubectl("patch", "node", "n1", "--type", kind, "-p", patch)
    seen = json.loads((await kubectl("get", "node", "n1", "-o", "json")).out)
    assert seen["spec"]["podCIDRs"] == ["10.1.0.0/24"]


async def test_label_and_annotate_set_and_remove(kubectl: Kubectl) -> None:
    await kubectl("label", "node", "n1", "rack=r1")
    await kubectl("annotate", "node", "n1", "note=hello")
    assert (await kubectl("get", "nodes", "-l", "rack=r1", "-o", "name")).out.split() == ["node/n1"]
    await kubectl("label", "node", "n1", "rack-")
    meta = json.loads((await kubectl("get", "node", "n1", "-o", "json")).out)["metadata"]
    assert meta["labels"] == {"zone": "a"}
    assert meta["annotations"] == {"note": "hello"}


async def test_client_side_apply_creates_then_changes_then_does_nothing(kubectl: Kubectl) -> None:
    apply = ("apply", "--validate=false", "-f", "-")
    assert "created" in (await kubectl(*apply, stdin=CONFIG % 1)).out
    assert "unchanged" in (await kubectl(*apply, stdin=CONFIG % 1)).out
    assert "configured" in (await kubectl(*apply, stdin=CONFIG % 2)).out


async def test_diff_shows_what_apply_would_change_and_changes_nothing(
    kubectl: Kubectl, server: ApiServer
) -> None:
    await kubectl("apply", "--validate=false", "-f", "-", stdin=CONFIG % 1)
    version = server.store.rv
    difference = await kubectl("diff", "-f", "-", stdin=CONFIG % 2, ok=False)
    assert difference.code == 1
    assert '+  level: "2"' in difference.out
    assert server.store.rv == version


async def test_server_side_apply_reports_the_owner_of_a_field(kubectl: Kubectl) -> None:
    apply = ("apply", "--server-side", "--validate=false", "-f", "-")
    await kubectl(*apply, "--field-manager=one", stdin=CONFIG % 1)
    refused = await kubectl(*apply, "--field-manager=two", stdin=CONFIG % 2, ok=False)
    assert 'conflict with "one"' in refused.err
    await kubectl(*apply, "--field-manager=two", "--force-conflicts", stdin=CONFIG % 2)


async def test_wait_returns_when_the_object_is_gone(kubectl: Kubectl, server: ApiServer) -> None:
    async with kubectl.running("wait", "--for=delete", "node/n2", "--timeout=30s") as process:
        await a_node_watch(server)
        await kubectl("delete", "node", "n2")
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    assert process.returncode == 0, err
    assert b"condition met" in out or b"deleted" in out


async def test_wait_returns_when_a_condition_holds(kubectl: Kubectl, server: ApiServer) -> None:
    async with kubectl.running("wait", "--for=condition=Ready", "node/n1", "--timeout=30s") as process:
        await a_node_watch(server)
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        server.apply(node("n1", zone="a") | {"status": status}, subresource="status")
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    assert process.returncode == 0, err
    assert b"condition met" in out


async def test_custom_resources_are_listed_explained_and_deleted(kubectl: Kubectl) -> None:
    await kubectl("apply", "--validate=false", "-f", "-", stdin=RANGES)
    one = (
        "apiVersion: example.com/v1\nkind: Range\nmetadata: {name: r1}\nspec: {ipv4: 10.0.0.0/16, size: 24}\n"
    )
    await kubectl("apply", "--validate=false", "-f", "-", stdin=one)
    head, row = (await kubectl("get", "rg")).out.splitlines()
    assert (head.split(), row.split()) == (["NAME", "IPV4"], ["r1", "10.0.0.0/16"])
    await kubectl("delete", "crd", "ranges.example.com")
    assert (await kubectl("get", "ranges", ok=False)).code == 1


async def test_a_namespace_takes_its_contents_with_it(kubectl: Kubectl, server: ApiServer) -> None:
    await kubectl("create", "namespace", "team")
    await kubectl("-n", "team", "create", "configmap", "settings", "--from-literal=a=b")
    await kubectl("delete", "namespace", "team")
    assert "team/settings" not in server.store.bucket("configmaps").objects
    assert "team" not in server.store.bucket("namespaces").objects


async def test_can_i_answers_for_an_impersonated_user(kubectl: Kubectl) -> None:
    assert (await kubectl("auth", "can-i", "patch", "nodes")).out.strip() == "yes"


async def test_a_node_can_be_cordoned_and_drained(kubectl: Kubectl, server: ApiServer) -> None:
    container = {"name": "main", "image": "none"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p1", "namespace": "default"},
        "spec": {"nodeName": "n1", "containers": [container]},
    }
    server.create(pod)
    await kubectl("drain", "n1", "--force", "--ignore-daemonsets")
    assert "default/p1" not in server.store.bucket("pods").objects
    assert "SchedulingDisabled" in (await kubectl("get", "node", "n1")).out
