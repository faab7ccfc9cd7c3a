"""Which writes support dryRun and fieldValidation? The one thing kubectl before 1.27 reads from OpenAPI v2, in protobuf.

Field numbers are those of gnostic's OpenAPIv2.proto. There are no definitions: such a kubectl then skips its own
validation of manifests.
"""

from __future__ import annotations

from typing import Final

from nodeipam_ctl.demo.apiserver.resources import Registry, Resource

CONTENT_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def document(registry: Registry) -> bytes:
    """The openapi_v2.Document: a PATCH operation with its parameters for every resource."""
    info = _text(1, "Kubernetes") + _text(2, "v1.36.0")
    paths = b"".join(_field(2, _path(resource)) for resource in registry if "patch" in resource.verbs)
    return _text(1, "2.0") + _field(2, info) + _field(8, paths)


def _path(resource: Resource) -> bytes:
    root = f"/apis/{resource.group_version}" if resource.group else f"/api/{resource.version}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    patch = b"".join(_field(8, _parameter(name)) for name in ("dryRun", "fieldManager", "fieldValidation"))
    kind = f'group: "{resource.group}"\nkind: {resource.kind}\nversion: {resource.version}\n'
    extension = _text(1, "x-kubernetes-group-version-kind") + _field(2, _text(2, kind))
    operation = patch + _field(13, extension)
    return _text(1, f"{root}{scope}/{resource.plural}/{{name}}") + _field(2, _field(8, operation))


def _parameter(name: str) -> bytes:
    query = _text(2, "query") + _text(4, name) + _text(6, "string")
    return _field(1, _field(2, _field(3, query)))  # ParametersItem, Parameter, NonBodyParameter


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
