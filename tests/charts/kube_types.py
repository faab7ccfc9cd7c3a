"""Would the API server know every field of an object, and find all that it needs? By the types of Kubernetes' own OpenAPI, as kubernetes_asyncio has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes_asyncio import client

_SCALARS: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
_GROUPS = {"v1": "V1", "apps/v1": "V1", "policy/v1": "V1", "rbac.authorization.k8s.io/v1": "V1"}


def is_known(manifest: dict[str, Any]) -> bool:
    """Whether this kind is Kubernetes' own; those of the Prometheus operator and ours are not."""
    return manifest["apiVersion"] in _GROUPS


def problems(manifest: dict[str, Any]) -> list[str]:
    """Unknown fields, fields of another type, required ones that are missing; each with its place."""
    return list(_of_type(_GROUPS[manifest["apiVersion"]] + manifest["kind"], manifest, manifest["kind"]))


def _of_type(name: str, value: Any, path: str) -> Iterator[str]:
    """`name` as the generated code writes it: str, list[V1Container], dict[str, str], V1PodSpec."""
    if found := re.fullmatch(r"list\[(.+)]", name):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for index, item in enumerate(value):
            yield from _of_type(found[1], item, f"{path}[{index}]")
    elif found := re.fullmatch(r"dict\[str, (.+)]|dict\(str, (.+)\)", name):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no object"
            return
        for key, item in value.items():
            yield from _of_type(found[1] or found[2], item, f"{path}.{key}")
    elif name in _SCALARS:
        if not isinstance(value, _SCALARS[name]) or (name != "bool" and isinstance(value, bool)):
            yield f"{path}: {value!r} is no {name}"
    elif name.startswith("V"):
        yield from _of_model(getattr(client, name), value, path)


def _of_model(model: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no {model.__name__}"
        return
    fields = {json_name: field for field, json_name in model.attribute_map.items()}
    yield from (f"{path}.{key}: no such field in {model.__name__}" for key in value.keys() - fields.keys())
    known = {fields[key]: item for key, item in value.items() if key in fields}
    try:
        model(**known)
    except ValueError as exc:
        yield f"{path}: {exc}"
    for field, item in known.items():
        yield from _of_type(model.openapi_types[field], item, f"{path}.{model.attribute_map[field]}")
