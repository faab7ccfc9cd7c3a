"""What does a kubelet do here? It registers its Node, renews it and its Lease, and says Ready once there is a conflist."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nodeipam_ctl.demo.cni import Runtime
from nodeipam_ctl.demo.segment import Place
from nodeipam_ctl.errors import Expired, Transient
from nodeipam_ctl.kube.client import STRATEGIC_PATCH, Client, query

RENEW_S = 10.0
"""How often a kubelet renews its Lease (nodeLeaseDurationSeconds / 4) and, here, its conditions, in seconds."""

_NODES = "/api/v1/nodes"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_IMAGES = 24
_VERSION = "v1.36.1"


@dataclass(slots=True, kw_only=True)
class Kubelet:
    """The kubelet of one machine.

    Attributes:
        registered_s: when it asked for its Node to be created, on `time.monotonic`; 0 before.
        assigned_s: when it saw its podCIDRs, on the same clock; 0 before.
    """

    name: str
    at: Place
    client: Client = field(repr=False)
    runtime: Runtime = field(repr=False)
    registered_s: float = 0.0
    assigned_s: float = 0.0
    _ready: bool = False
    _ready_since: str = ""
    _resource_version: str = ""

    async def register(self) -> None:
        """Creates the Node and its Lease.

        Raises:
            AlreadyExists: there is a Node of this name.
        """
        self._ready_since = _now()
        node = node_object(self.name, self.at, now=self._ready_since)
        self.registered_s = time.monotonic()
        stored = json.loads(await self.client.create(_NODES, json.dumps(node).encode()))
        self._resource_version = stored["metadata"]["resourceVersion"]
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": stored["metadata"]["uid"]}
                ],
            },
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": _now_micro()},
        }
        await self.client.create(_LEASES, json.dumps(lease).encode())

    async def pod_cidrs(self) -> tuple[str, ...]:
        """Waits until the Node has podCIDRs, and gives them as its spec says."""
        while True:
            parameters = {
                "fieldSelector": f"metadata.name={self.name}",
                "watch": "1",
                "resourceVersion": self._resource_version,
            }
            try:
                async with self.client.watch(query(_NODES, parameters), silence_s=30) as lines:
                    async for line in lines:
                        event = json.loads(line)
                        if event["type"] in ("ADDED", "MODIFIED") and event["object"]["spec"].get("podCIDRs"):
                            self.assigned_s = time.monotonic()
                            return tuple(event["object"]["spec"]["podCIDRs"])
            except Transient:
                await asyncio.sleep(0.2)
            except Expired:
                self._resource_version = ""

    async def keep_renewing(self) -> None:
        """Renews until cancelled; notices a conflist within a tenth of a second, as containerd's inotify would at once."""
        renewed_s = time.monotonic()
        while True:
            if self.runtime.ready() != self._ready or time.monotonic() - renewed_s >= RENEW_S:
                try:
                    await self.renew()
                    renewed_s = time.monotonic()
                except Transient:
                    pass  # the API server is away: the next turn tries again, as a kubelet does
            await asyncio.sleep(0.1)

    async def renew(self) -> None:
        """Writes its conditions and its Lease once."""
        ready, now = self.runtime.ready(), _now()
        if ready != self._ready:
            self._ready, self._ready_since = ready, now
        conditions = _conditions(now, ready=ready)
        for condition in conditions:
            # The other conditions never change: leaving their transition time out of a strategic merge keeps it.
            del condition["lastTransitionTime"]
            if condition["type"] == "Ready":
                condition["lastTransitionTime"] = self._ready_since
        status = {"status": {"conditions": conditions}}
        await self.client.patch(
            f"{_NODES}/{self.name}/status", json.dumps(status).encode(), kind=STRATEGIC_PATCH
        )
        lease = {"spec": {"renewTime": _now_micro()}}
        await self.client.patch(f"{_LEASES}/{self.name}", json.dumps(lease).encode())


def node_object(name: str, at: Place, *, now: str) -> dict[str, Any]:
    """A Node as a kubelet of a small virtual machine registers it, about 6 kB of JSON.

    Its conditions carry `now`, RFC 3339 in UTC.
    """
    machine_id = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    resources = {
        "cpu": "4",
        "ephemeral-storage": "61202244Ki",
        "hugepages-2Mi": "0",
        "memory": "8129840Ki",
        "pods": "110",
    }
    labels = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    annotations = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": str(at.ipv4)},
                {"type": "InternalIP", "address": str(at.ipv6)},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": resources,
            "capacity": resources,
            "conditions": _conditions(now, ready=False),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": [_image(number) for number in range(_IMAGES)],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": f"{machine_id[:8]}-0000-4000-8000-{machine_id[-12:]}",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.1.0-37-amd64",
                "kubeProxyVersion": "",
                "kubeletVersion": _VERSION,
                "machineID": machine_id,
                "operatingSystem": "linux",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "systemUUID": machine_id,
            },
        },
    }


def _conditions(now: str, *, ready: bool) -> list[dict[str, str]]:
    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }

    return [
        condition(
            "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"
        ),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")
        if ready
        else condition(
            "Ready",
            "False",
            "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
            "message:Network plugin returns error: cni plugin not initialized",
        ),
    ]


def _image(number: int) -> dict[str, Any]:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    name = f"registry.example/platform/component-{number}"
    return {
        "names": [f"{name}@sha256:{digest}", f"{name}:v1.{number}.0"],
        "sizeBytes": 12_345_678 + 1_000_003 * number,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now_micro() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
