"""How does a CustomResourceDefinition become a served resource? Names, Established, schema, columns, selectable fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.errors import Cause, Json
from nodeipam_ctl.demo.apiserver.jsonpath import JsonPath
from nodeipam_ctl.demo.apiserver.objects import Objects
from nodeipam_ctl.demo.apiserver.resources import CUSTOM_VERBS, Registry, Resource, Rules, Subresource
from nodeipam_ctl.demo.apiserver.schema import Structural
from nodeipam_ctl.demo.apiserver.shapes import Shape

GROUP: Final = "apiextensions.k8s.io"
PLURAL: Final = "customresourcedefinitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One entry of additionalPrinterColumns."""

    name: str
    type: str
    format: str
    description: str
    priority: int
    path: JsonPath


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomKind:
    """What a definition says about one version of its objects."""

    schema: Structural
    raw_schema: Json
    shape: Shape
    columns: tuple[Column, ...]
    selectable: Mapping[str, JsonPath]

    def decode(self, obj: Json) -> list[str]:
        """Prune and default `obj` in place; the paths of the fields that were dropped."""
        unknown = self.schema.prune(obj)
        self.schema.default(obj)
        return unknown

    def validate(self, new: Json, old: Json | None) -> list[Cause]:
        """Why the schema, its list types or its CEL rules refuse `new`."""
        return self.schema.validate(new, old)

    def fields(self, obj: Json) -> dict[str, str] | None:
        """Values of the selectableFields."""
        if not self.selectable:
            return None
        return {name: path.text(obj) for name, path in self.selectable.items()}


class Definitions:
    """Keeps the registry in step with the CustomResourceDefinitions in the store."""

    def __init__(self, objects: Objects, registry: Registry) -> None:
        self._objects = objects
        self._registry = registry
        self._busy = False
        objects.after_write.append(self._written)
        objects.after_removal.append(self._removed)

    def _written(self, resource: Resource, obj: Json) -> None:
        if resource.plural != PLURAL or resource.group != GROUP or self._busy:
            return
        self._serve(obj)
        if not obj["metadata"].get("deletionTimestamp"):
            self._establish(resource, obj)

    def _removed(self, resource: Resource, obj: Json) -> None:
        if resource.plural == PLURAL and resource.group == GROUP:
            self._registry.drop(obj["spec"]["group"], obj["spec"]["names"]["plural"])

    def _serve(self, crd: Json) -> None:
        spec = crd["spec"]
        self._registry.drop(spec["group"], spec["names"]["plural"])
        for made in resources_of(crd):
            self._registry.add(made)

    def _establish(self, resource: Resource, written: Json) -> None:
        """Accept the names, as the naming and establishing controllers do a moment after the write."""
        names = written["spec"]["names"]
        status = written.get("status") or {}
        if status.get("conditions") and status.get("acceptedNames") == names:
            return
        bucket = self._objects.store.bucket(resource.bucket)
        crd: Json = wire.decode(bucket.objects[written["metadata"]["name"]].raw)
        now = wire.timestamp(self._objects.now())
        crd["status"] = {
            "conditions": [
                _true("NamesAccepted", "NoConflicts", "no conflicts found", now),
                _true("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
            ],
            "acceptedNames": names,
            "storedVersions": [v["name"] for v in crd["spec"]["versions"] if v.get("storage")],
        }
        self._busy = True
        try:
            self._objects.commit(resource, bucket, crd)
        finally:
            self._busy = False


def resources_of(crd: Json) -> list[Resource]:
    """The resources a definition serves, one per served version, storage version first."""
    spec = crd["spec"]
    names = spec["names"]
    served = [version for version in spec["versions"] if version.get("served")]
    served.sort(key=lambda version: not version.get("storage"))
    made = []
    for version in served:
        kind = names["kind"]
        subresources = version.get("subresources") or {}
        listed = []
        if "status" in subresources:
            listed.append(Subresource(name="status", kind=kind, verbs=("get", "patch", "update")))
        custom = _custom_kind(version)
        made.append(
            Resource(
                group=spec["group"],
                version=version["name"],
                plural=names["plural"],
                singular=names.get("singular", ""),
                kind=kind,
                list_kind=names.get("listKind", ""),
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                verbs=CUSTOM_VERBS,
                subresources=tuple(listed),
                rules=Rules(
                    unconditional_update=False, generation=True, field_names=frozenset(custom.selectable)
                ),
                custom=custom,
            )
        )
    return made


def _custom_kind(version: Json) -> CustomKind:
    schema: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    structural = Structural(schema)
    columns = version.get("additionalPrinterColumns") or [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]
    return CustomKind(
        schema=structural,
        raw_schema=schema,
        shape=structural.list_types(),
        columns=tuple(_column(column) for column in columns),
        selectable={
            entry["jsonPath"].lstrip("."): JsonPath(entry["jsonPath"])
            for entry in version.get("selectableFields") or ()
        },
    )


def _column(column: Mapping[str, Any]) -> Column:
    path = column["jsonPath"]
    return Column(
        name=column["name"],
        type=column["type"],
        format=column.get("format", ""),
        description=column.get("description")
        or f"Custom resource definition column (in JSONPath format): {path}",
        priority=column.get("priority", 0),
        path=JsonPath(path),
    )


def _true(type_: str, reason: str, message: str, now: str) -> Json:
    return {"type": type_, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
