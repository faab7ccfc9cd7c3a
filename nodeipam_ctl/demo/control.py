"""What is the demo's control plane? The embedded API server in this process, and the controller as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import nodeipam_ctl
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.processes import Daemon, start
from nodeipam_ctl.demo.segment import CONTROL4
from nodeipam_ctl.kube import auth
from nodeipam_ctl.kube.client import Client

HOME = Path("/run/nodeipam")
KUBECONFIG = HOME / "kubeconfig"
"""For the host: its server is on the host's loopback."""
NODE_KUBECONFIG = HOME / "kubeconfig.nodes"
"""For everything inside: its server is on the segment."""
LOGS = HOME / "log"

CLUSTER_CIDR = Path(__file__).with_name("clustercidr.yaml")

_METRICS = "127.0.0.1:9411"
_PORT = 6443


@dataclass(slots=True, kw_only=True)
class ControlPlane:
    """A running API server, and a client of it."""

    server: ApiServer = field(repr=False)
    client: Client
    host_url: str
    segment_url: str

    async def apply_cluster_cidr(self) -> dict[str, Any]:
        """Creates the ClusterCIDR of `clustercidr.yaml`; its spec."""
        manifest = yaml.safe_load(CLUSTER_CIDR.read_text())
        await self.client.create("/apis/nodeipam.dev/v1alpha1/clustercidrs", json.dumps(manifest).encode())
        spec = manifest["spec"]
        assert isinstance(spec, dict)
        return spec

    async def delete_node(self, name: str) -> None:
        """Deletes a Node, as a cloud's node controller does when the machine is gone."""
        await self.client.delete(f"/api/v1/nodes/{name}")


async def start_api_server(listening: socket.socket) -> ControlPlane:
    """Starts the API server on two sockets: one of the host, one of the segment. A socket stays where it was made.

    Args:
        listening: made by the process outside, on the host's loopback.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    host, port = listening.getsockname()
    server = ApiServer(
        host=str(CONTROL4),
        port=_PORT,
        allow_nonloopback=True,  # the segment is in a network namespace of our own
        crd_dir=crd_dir(),
        also_on=[listening],
        unsecured=True,
    )
    await server.start()
    host_url = f"http://{host}:{port}"
    write_private(KUBECONFIG, server.kubeconfig(url=host_url))
    write_private(NODE_KUBECONFIG, server.kubeconfig())
    client = Client(await auth.load(NODE_KUBECONFIG), component="kubelet")
    await client.__aenter__()
    return ControlPlane(server=server, client=client, host_url=host_url, segment_url=server.url)


async def start_controller() -> Daemon:
    """Starts `nodeipam-ctl controller`."""
    argv = [sys.executable, "-m", "nodeipam_ctl", "controller"]
    options = ["--kubeconfig", str(NODE_KUBECONFIG), "--metrics-address", _METRICS]
    return await start("the controller", [*argv, *options], log=LOGS / "controller.log")


async def controller_is_ready() -> bool:
    """Whether the controller's /readyz says so."""
    return await asyncio.to_thread(_is_ready)


def crd_dir() -> Path:
    """Where our CustomResourceDefinitions are: in the installed package, or beside it in a working tree."""
    package = Path(nodeipam_ctl.__file__).parent
    installed = package / "_crds"
    return installed if installed.is_dir() else package.parent / "crds"


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read: a kubeconfig has a token in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"http://{_METRICS}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
