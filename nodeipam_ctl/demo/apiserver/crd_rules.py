"""What must a CustomResourceDefinition look like? Names, versions, and schemas that are structural and compile."""

from __future__ import annotations

from typing import Final

from nodeipam_ctl.demo.apiserver import causes, schema_check
from nodeipam_ctl.demo.apiserver.errors import Cause, Json
from nodeipam_ctl.demo.apiserver.resources import Rules


def _default(crd: Json) -> None:
    spec = crd.setdefault("spec", {})
    spec["conversion"] = spec.get("conversion") or {"strategy": "None"}
    names = spec["names"] = spec.get("names") or {}
    kind = names.get("kind") or ""
    names["singular"] = names.get("singular") or kind.lower()
    names["listKind"] = names.get("listKind") or f"{kind}List"


def _fill(crd: Json) -> None:
    if crd.get("status") is None:
        stored = [v["name"] for v in crd["spec"].get("versions") or () if v.get("storage")]
        crd["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": stored,
        }


def _validate(new: Json, old: Json | None) -> list[Cause]:
    spec = new["spec"]
    group, plural = spec.get("group") or "", spec["names"].get("plural") or ""
    needed = {"spec.group": group, "spec.names.plural": plural, "spec.names.kind": spec["names"].get("kind")}
    found = [causes.required(field) for field, value in needed.items() if not value]
    name = new["metadata"].get("name")
    if name != f"{plural}.{group}":
        found.append(causes.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        found.append(causes.not_supported("spec.scope", spec.get("scope") or "", ("Cluster", "Namespaced")))
    elif old is not None and old["spec"].get("scope") != spec["scope"]:
        found.append(causes.invalid("spec.scope", spec["scope"], "field is immutable"))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        found.append(causes.invalid("spec.versions", [version.get("name") for version in versions], text))
    return found + _schema_causes(versions)


def _schema_causes(versions: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not schema:
            found.append(causes.required(path, "schemas are required"))
        else:
            # kube-apiserver speaks of spec.validation while all versions share one schema.
            found += schema_check.faults(schema, schema_check.PREFIX if len(versions) == 1 else path)
    return found


RULES: Final = Rules(default=_default, fill=_fill, validate=_validate, generation=True)
