"""Does the Dockerfile make an image that the chart's Pods run from? Its own steps, done in a Debian root.

One test, because the root takes a minute to make. What it starts is what a kubelet would start: the rendered containers,
with their users, capabilities, mounts and ServiceAccounts.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nodeipam_ctl
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.kube import auth
from nodeipam_ctl.kube.client import Client
from tests.charts.chart import NAMESPACE, RELEASE, ROOT, Manifest, manifests, one, values_of
from tests.charts.container import Machine
from tests.charts.dockerfile import Stage, stages
from tests.charts.roots import build, run_in
from tests.linux.namespaces import Namespace, Segment

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

_ADDRESS = "192.0.2.1"
_VALUES = values_of("host-gw")
_KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ClusterCIDR")


async def test_the_charts_pods_run_from_what_the_dockerfile_makes(tmp_path: Path) -> None:
    with _image(tmp_path) as (image, root):
        assert _says(image, root, "--version") == f"nodeipam-ctl {nodeipam_ctl.__version__}\n"
        assert "--node-name" in _says(image, root, "agent", "--help")
        with _host_network() as network:
            async with _cluster(network, tmp_path) as cluster:
                node = Node(cluster=cluster, network=network, image=image, root=root, disk=tmp_path / "disk")
                await _the_controller_serves_a_node(node)
                await _the_agent_makes_a_node_of_a_host(node)


@contextmanager
def _image(folder: Path) -> Iterator[tuple[Stage, Path]]:
    """The last stage of the Dockerfile, and the root it makes; roots are large, so none is kept."""
    built: dict[str, Path] = {}
    try:
        for stage in stages((ROOT / "Dockerfile").read_text()):
            built[stage.name] = folder / f"root-{stage.name}"
            build(stage, built[stage.name], source=ROOT, built=built)
        yield stage, built[stage.name]
    finally:
        for root in built.values():
            shutil.rmtree(root, ignore_errors=True)


def _says(image: Stage, root: Path, *arguments: str) -> str:
    return run_in(root, [*image.entrypoint, *arguments], user=image.user, environment=image.environment)


async def _the_agent_makes_a_node_of_a_host(node: Node) -> None:
    pod = one(_VALUES, "DaemonSet", f"{RELEASE}-agent")["spec"]["template"]["spec"]
    machine = await node.machine("worker-1", pod["serviceAccountName"])
    (init,), (agent,) = pod["initContainers"], pod["containers"]

    await asyncio.to_thread(machine.run, pod, init)
    plugins = sorted(path.name for path in (node.disk / "opt/cni/bin").iterdir() if os.access(path, os.X_OK))
    assert plugins == ["bridge", "host-local", "loopback", "portmap", "ptp"]

    with _running(machine, pod, agent) as process:
        conflist = node.disk / "etc/cni/net.d/10-nodeipam.conflist"
        await _until(process, "the conflist is written", conflist.exists)
        await _until(process, "the agent is ready", lambda: node.answers(9412, "/readyz"))
        assert {route.split(" dev ")[0] for route in node.network.routes() if "via" in route} == {
            "10.244.2.0/24 via 192.0.2.2",
            f"{node.cluster.pod_cidr('worker-3')} via 192.0.2.3",
        }
        assert node.network.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
        assert node.network.run("nft", "list", "tables") == "table inet nodeipam\n"
        assert "10.244.1.0/24" in conflist.read_text()
        assert (await node.cluster.conditions("worker-1"))["NetworkUnavailable"] == "False"
    assert process.returncode == 0
    assert node.network.routes() != []
    assert conflist.exists()


async def _the_controller_serves_a_node(node: Node) -> None:
    pod = one(_VALUES, "Deployment", f"{RELEASE}-controller")["spec"]["template"]["spec"]
    machine = await node.machine("control-plane", pod["serviceAccountName"])
    await node.cluster.register(_node("worker-3", "192.0.2.3"))

    with _running(machine, pod, pod["containers"][0]) as process:
        await _until(process, "the controller is ready", lambda: node.answers(9411, "/readyz"))
        await _until(process, "the node has a podCIDR", lambda: node.cluster.pod_cidr("worker-3") != "")
    assert process.returncode == 0
    assert node.cluster.pod_cidr("worker-3") not in ("10.244.1.0/24", "10.244.2.0/24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The API server, once for the test's administrator and once on the loopback of the host network."""

    server: ApiServer
    client: Client
    inner: socket.socket

    async def account(self, name: str) -> dict[str, str]:
        """The files of a Pod's ServiceAccount volume."""
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token"
        asking = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        answer = json.loads(await self.client.create(path, json.dumps(asking).encode()))
        assert self.server.ca_pem is not None
        return {
            "token": answer["status"]["token"],
            "ca.crt": self.server.ca_pem.decode(),
            "namespace": NAMESPACE,
        }

    async def register(self, node: Manifest) -> None:
        """What a kubelet does first."""
        await self.client.create("/api/v1/nodes", json.dumps(node).encode())

    async def conditions(self, node: str) -> dict[str, str]:
        """The conditions of a Node, by type."""
        found = json.loads(await self.client.get(f"/api/v1/nodes/{node}"))
        return {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}

    def pod_cidr(self, node: str) -> str:
        """The Node's podCIDR, or nothing."""
        stored = self.server.store.bucket("nodes").objects[node]
        return str(json.loads(stored.raw).get("spec", {}).get("podCIDR", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host of the cluster."""

    cluster: Cluster
    network: Namespace
    image: Stage
    root: Path
    disk: Path

    async def machine(self, name: str, account: str) -> Machine:
        """The host as the kubelet of a Node sees it, with what a Pod of an account is given."""
        return Machine(
            name=name,
            address=_ADDRESS,
            network=self.network,
            image=self.image,
            root=self.root,
            disk=self.disk,
            account=await self.cluster.account(account),
            api_server=self.cluster.inner.getsockname(),
        )

    def answers(self, port: int, path: str) -> bool:
        """Whether a probe of the kubelet succeeds."""
        with self.network.entered():
            try:
                with urllib.request.urlopen(f"http://{_ADDRESS}:{port}{path}", timeout=2) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False


@asynccontextmanager
async def _cluster(network: Namespace, folder: Path) -> AsyncIterator[Cluster]:
    """The chart's CRDs, permissions and pool, and two nodes that have podCIDRs."""
    with network.entered():
        inner = socket.create_server(("127.0.0.1", 0))
    with inner:
        async with ApiServer(tls=True, rbac=True, crd_dir=ROOT / "crds", also_on=[inner]) as server:
            for manifest in manifests(_VALUES):
                if manifest["kind"] in _KINDS:
                    server.apply(manifest)
            kubeconfig = folder / "kubeconfig"
            server.write_kubeconfig(kubeconfig)
            async with Client(await auth.load(kubeconfig), component="kubectl") as client:
                cluster = Cluster(server=server, client=client, inner=inner)
                await cluster.register(_node("worker-1", _ADDRESS, "10.244.1.0/24"))
                await cluster.register(_node("worker-2", "192.0.2.2", "10.244.2.0/24"))
                yield cluster


@contextmanager
def _host_network() -> Iterator[Namespace]:
    """The network of a host that does not forward yet."""
    with Segment() as segment:
        network = segment.host(f"{_ADDRESS}/24")
        network.sh("echo 0 >/proc/sys/net/ipv4/ip_forward")
        yield network


@contextmanager
def _running(machine: Machine, pod: Manifest, container: Manifest) -> Iterator[subprocess.Popen[str]]:
    """A container that is stopped as the kubelet stops it: SIGTERM, then its grace period."""
    machine.disk.mkdir(parents=True, exist_ok=True)
    log = machine.disk / f"{container['name']}.log"
    with log.open("w") as file:
        process = machine.start(pod, container, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
        (inside,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(inside), signal.SIGTERM)
        process.wait(timeout=pod["terminationGracePeriodSeconds"])
    except BaseException as exc:
        exc.add_note(log.read_text()[-3000:])
        raise
    finally:
        process.kill()
        process.wait()


async def _until(process: subprocess.Popen[str], what: str, probe: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not await asyncio.to_thread(probe):
        assert process.poll() is None, f"it ended with {process.returncode} before {what}"
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        await asyncio.sleep(0.05)


def _node(name: str, address: str, pod_cidr: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]} if pod_cidr else {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }
