"""What does a kubelet register? A Node of about 6.5 kB of JSON, most of which is images and conditions."""

from __future__ import annotations

from typing import Any

LONG_AGO = "2026-01-01T00:00:00Z"
_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready", "NetworkUnavailable")


def kubelet_node(index: int, *, heartbeat: str = LONG_AGO, images: int = 26) -> dict[str, Any]:
    """The Node `node-<index>` as it is created; from one `heartbeat` (RFC 3339) to the next only that is different."""
    name = f"node-{index:05}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"zone-{index % 3}",
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"providerID": f"demo:///zone/{index}"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"192.0.{index >> 8 & 255}.{index & 255}"}],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "31Gi", "pods": "110"},
            "conditions": [_condition(kind, heartbeat) for kind in _CONDITIONS],
            "images": [_image(number) for number in range(images)],
        },
    }


def _condition(kind: str, heartbeat: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": "False",
        "lastHeartbeatTime": heartbeat,
        "lastTransitionTime": LONG_AGO,
        "reason": f"Kubelet{kind}",
        "message": f"kubelet reports {kind} for a good while",
    }


def _image(number: int) -> dict[str, Any]:
    repository = f"registry.example/team/image-{number}"
    return {
        "names": [f"{repository}@sha256:{number:064x}", f"{repository}:v1.{number}"],
        "sizeBytes": 50_000_000 + number,
    }
