"""Which groups, versions and resources are there? Discovery in both forms, and what clients probe at start-up."""

from __future__ import annotations

from typing import Any, Final

from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.resources import Registry, Resource

VERSION: Final[Json] = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.0+nodeipam-demo",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "cpython",
    "platform": "linux/amd64",
}


def versions(server_address: str) -> Json:
    """GET /api."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def groups(registry: Registry) -> Json:
    """GET /apis."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(registry, name) for name in registry.groups()],
    }


def group(registry: Registry, name: str) -> Json | None:
    """GET /apis/<group>, or None when nothing of it is served."""
    if name not in registry.groups():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(registry, name)


def resources(registry: Registry, name: str, version: str) -> Json | None:
    """GET /api/v1 and /apis/<group>/<version>, or None when it is not served."""
    found = registry.in_version(name, version)
    if found is None:
        return None
    body: Json = {"kind": "APIResourceList"}
    if name:
        body["apiVersion"] = "v1"
    body["groupVersion"] = f"{name}/{version}" if name else version
    body["resources"] = [row for resource in found for row in _rows(resource)]
    return body


def aggregated(registry: Registry, *, core: bool, api: str) -> Json:
    """The same, everything in one answer.

    Args:
        registry: What is served.
        core: For /api (the core group) or for /apis (all the others).
        api: `v2` or `v2beta1`.
    """
    names = [""] if core else registry.groups()
    items = []
    for name in names:
        served = [
            {
                "version": version,
                "resources": [_aggregated_row(r) for r in registry.in_version(name, version) or ()],
                "freshness": "Current",
            }
            for version in registry.versions(name)
        ]
        metadata = {"name": name} if name else {}
        items.append({"metadata": metadata, "versions": served})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{api}",
        "metadata": {},
        "items": items,
    }


def _group(registry: Registry, name: str) -> Json:
    served = [
        {"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)
    ]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def _rows(resource: Resource) -> list[Json]:
    row: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    _names(row, resource)
    if not resource.virtual:
        row["storageVersionHash"] = resource.storage_hash()
    rows = [row]
    for sub in resource.subresources:
        entry: Json = {
            "name": f"{resource.plural}/{sub.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if sub.group:
            entry |= {"group": sub.group, "version": sub.version}
        rows.append(entry | {"kind": sub.kind, "verbs": list(sub.verbs)})
    return rows


def _aggregated_row(resource: Resource) -> Json:
    row: Json = {
        "resource": resource.plural,
        "responseKind": _kind(resource, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    _names(row, resource)
    if resource.subresources:
        row["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind}
                if sub.group
                else _kind(resource, sub.kind),
                "verbs": list(sub.verbs),
            }
            for sub in resource.subresources
        ]
    return row


def _kind(resource: Resource, kind: str) -> Json:
    # The built-in kinds leave group and version out: they are those of the list they stand in.
    if resource.custom:
        return {"group": resource.group, "version": resource.version, "kind": kind}
    return {"group": "", "version": "", "kind": kind}


def _names(row: dict[str, Any], resource: Resource) -> None:
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
