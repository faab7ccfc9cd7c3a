"""What do the subresources that are not `status` do? token, binding, eviction, finalize, scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeipam_ctl.demo.apiserver import reviews, wire
from nodeipam_ctl.demo.apiserver.errors import ApiError, Json, bad_request, too_many_requests
from nodeipam_ctl.demo.apiserver.paths import Target
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import Stored

if TYPE_CHECKING:
    from nodeipam_ctl.demo.apiserver.server import Cluster

_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def special(
    cluster: Cluster, resource: Resource, target: Target, verb: str, stored: Stored, sent: Json
) -> Json:
    """Answer a request to one of these subresources.

    Raises:
        ApiError: what the subresource refuses, and 503 for those that need a kubelet.
    """
    match target.subresource:
        case "token":
            return reviews.token_request(
                stored, sent, now=cluster.objects.now(), authenticator=cluster.authenticator
            )
        case "binding":
            return _bind(cluster, resource, stored, sent)
        case "eviction":
            return _evict(cluster, resource, stored)
        case "scale":
            return _scale(cluster, resource, stored, verb, sent)
        case "finalize" | "ephemeralcontainers" | "resize":
            return cluster.objects.read(resource, stored)
        case _:
            text = f"no kubelet runs behind this API server: {target.subresource} of {stored.name} is not available"
            raise ApiError(503, "ServiceUnavailable", text, {})


def _bind(cluster: Cluster, resource: Resource, stored: Stored, sent: Json) -> Json:
    pod = cluster.objects.read(resource, stored)
    if pod["spec"].get("nodeName"):
        text = f'Operation cannot be fulfilled on pods/binding "{stored.name}": pod {stored.name} is already assigned'
        raise ApiError(409, "Conflict", text, {"name": stored.name, "kind": "pods/binding"})
    node = (sent.get("target") or {}).get("name")
    if not node:
        raise bad_request("target.name: Required value")
    pod["spec"]["nodeName"] = node
    conditions = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
    now = wire.timestamp(cluster.objects.now())
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    pod["status"]["conditions"] = [*conditions, scheduled]
    cluster.objects.commit(resource, cluster.store.bucket(resource.bucket), pod)
    return _SUCCESS


def _evict(cluster: Cluster, resource: Resource, stored: Stored) -> Json:
    for budget in cluster.store.bucket("poddisruptionbudgets.policy").objects.values():
        if budget.namespace != stored.namespace:
            continue
        pdb = wire.decode(budget.raw)
        wanted = (pdb["spec"].get("selector") or {}).get("matchLabels") or {}
        labels = stored.labels or {}
        covered = bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())
        if covered and not (pdb.get("status") or {}).get("disruptionsAllowed"):
            refusal = too_many_requests(10)
            refusal.message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise refusal
    cluster.deletions.delete(resource, stored.namespace, stored.name, {})
    return _SUCCESS


def _scale(cluster: Cluster, resource: Resource, stored: Stored, verb: str, sent: Json) -> Json:
    obj = cluster.objects.read(resource, stored)
    if verb != "get":
        obj["spec"]["replicas"] = int((sent.get("spec") or {}).get("replicas") or 0)
        obj["metadata"]["generation"] = obj["metadata"].get("generation", 0) + 1
        cluster.objects.commit(resource, cluster.store.bucket(resource.bucket), obj)
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {"replicas": (obj.get("status") or {}).get("replicas", 0)},
    }
