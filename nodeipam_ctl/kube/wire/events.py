"""How is an Event written so that `kubectl get events` and `kubectl describe` show it? As core/v1: both read that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

import msgspec

from nodeipam_ctl.kube.wire.envelope import rfc3339
from nodeipam_ctl.model import ClusterCIDR, Node
from nodeipam_ctl.settings import API_GROUP, API_VERSION

NAMESPACE = "default"
"""Where Events about cluster-scoped objects live; the API server refuses any other."""

_LONGEST_MESSAGE = 1024  # core/v1 Event validation, in bytes
_LONGEST_NAME = 253 - 17  # of a DNS subdomain, less a point and 16 hexadecimal digits


class EventType(StrEnum):
    """Whether an Event tells of something expected."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The cluster-scoped object an Event is about."""

    api_version: str
    kind: str
    name: str
    uid: str

    @staticmethod
    def node(node: Node) -> Target:
        """A Node. By its real uid: `kubectl describe node` looks for that one and for kubelet's, which is the name."""
        return Target(api_version="v1", kind="Node", name=node.name, uid=node.uid)

    @staticmethod
    def cluster_cidr(pool: ClusterCIDR) -> Target:
        """A ClusterCIDR of ours."""
        return Target(
            api_version=f"{API_GROUP}/{API_VERSION}", kind="ClusterCIDR", name=pool.name, uid=pool.uid
        )


def events_path(name: str | None = None) -> str:
    """Where the Events about cluster-scoped objects, or one of them, are."""
    path = f"/api/v1/namespaces/{NAMESPACE}/events"
    return path if name is None else f"{path}/{quote(name)}"


def event_name(target: Target, unique: int) -> str:
    """A name as client-go makes it: the object's, a point, and a number nobody else uses."""
    return f"{target.name[:_LONGEST_NAME]}.{unique:016x}"


def encode_event(
    target: Target,
    *,
    name: str,
    kind: EventType,
    reason: str,
    message: str,
    component: str,
    instance: str,
    count: int,
    first_s: float,
    last_s: float,
) -> bytes:
    """The object to POST; times in seconds since the epoch."""
    return msgspec.json.encode(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "involvedObject": {
                "apiVersion": target.api_version,
                "kind": target.kind,
                "name": target.name,
                "uid": target.uid,
            },
            "type": kind.value,
            "reason": reason,
            "message": _short(message),
            "count": count,
            "firstTimestamp": rfc3339(first_s),
            "lastTimestamp": rfc3339(last_s),
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": instance[:128],
        }
    )


def event_patch(*, message: str, count: int, last_s: float) -> bytes:
    """A merge patch for an Event that happened again."""
    return msgspec.json.encode({"message": _short(message), "count": count, "lastTimestamp": rfc3339(last_s)})


def _short(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= _LONGEST_MESSAGE:
        return message
    return encoded[: _LONGEST_MESSAGE - 3].decode(errors="ignore") + "…"
