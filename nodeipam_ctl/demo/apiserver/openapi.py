"""What schemas does the server publish? OpenAPI v3 per group version, and as much of v2 as kubectl needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nodeipam_ctl.demo.apiserver import openapi_v2, wire
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.resources import Registry, Resource

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One published document."""

    raw: bytes
    content_type: str = _JSON


def answer(registry: Registry, path: str, accept: str) -> Document | None:
    """The document at `path`, or None when it is no OpenAPI path or nothing is served there."""
    if path == "/openapi/v2":
        if "protobuf" in accept:
            return Document(raw=openapi_v2.document(registry), content_type=openapi_v2.CONTENT_TYPE)
        return Document(raw=wire.encode(_v2(registry)))
    if path == "/openapi/v3":
        return Document(raw=wire.encode({"paths": _index(registry)}))
    if not path.startswith("/openapi/v3/"):
        return None
    parts = path.removeprefix("/openapi/v3/").split("/")
    group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")
    if parts[0] == "apis" and len(parts) == 3:
        group, version = parts[1], parts[2]
    found = registry.in_version(group, version)
    return Document(raw=wire.encode(_v3(found))) if found is not None else None


def _index(registry: Registry) -> Json:
    roots = {_root(resource): resource for resource in registry}
    return {root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={_hash(root)}"} for root in roots}


def _root(resource: Resource) -> str:
    return f"apis/{resource.group_version}" if resource.group else f"api/{resource.version}"


def _hash(text: str) -> str:
    return f"{sum(text.encode()):X}"


def _v3(resources: list[Resource]) -> Json:
    schemas: Json = {
        name: schema
        for resource in resources
        for name, schema in _schemas(resource, "components/schemas").items()
    }
    schemas |= _meta_schemas("components/schemas")
    return_paths: Json = {}
    for resource in resources:
        return_paths |= _paths(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": return_paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _v2(registry: Registry) -> Json:
    definitions: Json = {}
    for resource in registry:
        definitions |= _schemas(resource, "definitions")
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": {},
        "definitions": definitions | _meta_schemas("definitions"),
    }


def _schema_name(resource: Resource) -> str:
    if resource.custom:
        return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
    package = resource.group.removesuffix(".k8s.io").partition(".")[0] or "core"
    return f"io.k8s.api.{package}.{resource.version}.{resource.kind}"


def _schemas(resource: Resource, where: str) -> Json:
    gvk = [{"group": resource.group, "kind": resource.kind, "version": resource.version}]
    meta = {"$ref": f"#/{where}/{_META}.ObjectMeta"}
    base: Json = {
        "apiVersion": {
            "type": "string",
            "description": "APIVersion defines the versioned schema of this object.",
        },
        "kind": {"type": "string", "description": "Kind is the REST resource this object represents."},
        "metadata": {"allOf": [meta], "description": "Standard object's metadata."},
    }
    if resource.custom:
        schema: Json = dict(resource.custom.raw_schema)
        schema["properties"] = base | {
            key: value for key, value in (schema.get("properties") or {}).items() if key != "metadata"
        }
    else:
        body = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {
            "type": "object",
            "properties": base | {"spec": body, "status": body},
            "x-kubernetes-preserve-unknown-fields": True,
        }
    name = _schema_name(resource)
    listed = {"type": "array", "items": {"$ref": f"#/{where}/{name}"}}
    return {
        name: schema | {"x-kubernetes-group-version-kind": gvk},
        f"{name}List": {
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": base["apiVersion"],
                "kind": base["kind"],
                "metadata": {"allOf": [{"$ref": f"#/{where}/{_META}.ListMeta"}]},
                "items": listed,
            },
            "x-kubernetes-group-version-kind": [gvk[0] | {"kind": resource.list_kind}],
        },
    }


def _meta_schemas(where: str) -> Json:
    text = {"type": "string"}
    texts = {"type": "object", "additionalProperties": text}
    entry = {"$ref": f"#/{where}/{_META}.ManagedFieldsEntry"}
    return {
        f"{_META}.DeleteOptions": {
            "type": "object",
            "properties": {
                "dryRun": {"type": "array", "items": text},
                "gracePeriodSeconds": {"type": "integer"},
            },
        },
        f"{_META}.FieldsV1": {"type": "object"},
        f"{_META}.ListMeta": {"type": "object", "properties": {"continue": text, "resourceVersion": text}},
        f"{_META}.ManagedFieldsEntry": {
            "type": "object",
            "properties": {
                "manager": text,
                "operation": text,
                "apiVersion": text,
                "fieldsType": text,
                "subresource": text,
                "time": text,
                "fieldsV1": {"$ref": f"#/{where}/{_META}.FieldsV1"},
            },
        },
        f"{_META}.ObjectMeta": {
            "type": "object",
            "properties": {
                "name": text,
                "namespace": text,
                "generateName": text,
                "uid": text,
                "resourceVersion": text,
                "generation": {"type": "integer"},
                "creationTimestamp": text,
                "deletionTimestamp": text,
                "deletionGracePeriodSeconds": {"type": "integer"},
                "labels": texts,
                "annotations": texts,
                "finalizers": {"type": "array", "items": text},
                "ownerReferences": {"type": "array", "items": {"type": "object"}},
                "managedFields": {"type": "array", "items": entry},
            },
        },
    }


def _paths(resource: Resource) -> Json:
    """The write operations with their parameters: kubectl looks for `fieldValidation` here."""
    if resource.virtual:
        return {}
    gvk = {"group": resource.group, "kind": resource.kind, "version": resource.version}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation", "pretty")
    ]
    answers = {"200": {"description": "OK"}}

    def operation(action: str) -> Json:
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "parameters": parameters,
            "responses": answers,
        }

    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"/{_root(resource)}{scope}/{resource.plural}"
    return {
        collection: {"get": operation("list"), "post": operation("post")},
        collection + "/{name}": {
            "get": operation("get"),
            "put": operation("put"),
            "patch": operation("patch"),
            "delete": operation("delete"),
        },
    }
