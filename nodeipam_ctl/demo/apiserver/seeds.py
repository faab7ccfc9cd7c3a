"""What exists in a fresh cluster? Namespaces, the default ServiceCIDR, ServiceAccounts, the bootstrap roles."""

from __future__ import annotations

from typing import Final

from nodeipam_ctl.demo.apiserver import rbac, wire
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.objects import Objects
from nodeipam_ctl.demo.apiserver.writes import WriteOptions

NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
_SERVER: Final = WriteOptions(manager="kube-apiserver", manager_given=True)
_RBAC_V1: Final = f"{rbac.GROUP}/v1"


def plant(objects: Objects, *, service_cidrs: tuple[str, ...]) -> None:
    """Create what kube-apiserver and its bootstrap controllers create before the first client comes."""
    for name in NAMESPACES:
        _create(objects, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for name in NAMESPACES:
        _create(
            objects, name, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        )
    _service_cidr(objects, service_cidrs)
    for role in _roles():
        _create(objects, "", role)


def _service_cidr(objects: Objects, cidrs: tuple[str, ...]) -> None:
    spec = {"cidrs": list(cidrs)}
    version = "networking.k8s.io/v1"
    _create(
        objects,
        "",
        {"apiVersion": version, "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": spec},
    )
    resource = objects.registry.find("networking.k8s.io", "v1", "servicecidrs")
    assert resource is not None
    condition = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": wire.timestamp(objects.now()),
        "message": "Kubernetes default Service CIDR is ready",
    }
    applied = {
        "apiVersion": version,
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "status": {"conditions": [condition]},
    }
    options = WriteOptions(manager="kubernetes-service-cidr-controller", manager_given=True, force=True)
    objects.patch(
        resource, "", "kubernetes", "status", "application/apply-patch+yaml", wire.encode(applied), options
    )


def _roles() -> list[Json]:
    everything = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]
    reading = ["get", "list", "watch"]
    view = [
        {
            "apiGroups": [""],
            "resources": ["configmaps", "events", "namespaces", "pods", "services"],
            "verbs": reading,
        },
        {"apiGroups": ["apps"], "resources": ["daemonsets", "deployments"], "verbs": reading},
    ]
    return [
        _role("cluster-admin", everything),
        _role("view", view),
        {
            "apiVersion": _RBAC_V1,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "cluster-admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
            "roleRef": {"apiGroup": rbac.GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": rbac.GROUP, "kind": "Group", "name": "system:masters"}],
        },
    ]


def _role(name: str, rules: list[Json]) -> Json:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    return {
        "apiVersion": _RBAC_V1,
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels},
        "rules": rules,
    }


def _create(objects: Objects, namespace: str, obj: Json) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    plural = {"ServiceCIDR": "servicecidrs"}.get(obj["kind"], obj["kind"].lower() + "s")
    resource = objects.registry.find(group, version, plural)
    assert resource is not None, obj["kind"]
    objects.create(resource, namespace, obj, _SERVER)
