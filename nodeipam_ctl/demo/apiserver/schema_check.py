"""May this schema be the schema of a definition: is it structural, and do its rules compile?

Not checked: the estimated cost of rules. A real server refuses a rule that may cost more than ten million.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema, `validation.go`, and
pkg/apis/apiextensions/validation of Kubernetes 1.36.
"""

from __future__ import annotations

import re
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.cel import CelCompileError, Expression
from nodeipam_ctl.demo.apiserver.errors import Cause
from nodeipam_ctl.demo.apiserver.schema_node import ABSENT, Node

PREFIX: Final = "spec.validation.openAPIV3Schema"

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_LIST_TYPES: Final = ("atomic", "map", "set")
_MAP_TYPES: Final = ("atomic", "granular")
_REASONS: Final = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
_JUNCTORS: Final = ("allOf", "anyOf", "oneOf")
# Fields of a schema that describe a value rather than limit it, and so have no place below allOf and its like.
_DESCRIBING: Final = (
    "type",
    "description",
    "default",
    "additionalProperties",
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
)


def faults(schema: dict[str, Any], path: str = PREFIX) -> list[Cause]:
    """Why `schema` may not be an `openAPIV3Schema`; empty when it may.

    Args:
        schema: the schema as the client sent it.
        path: where it stands; kube-apiserver speaks of `spec.validation` while all versions have one schema.
    """
    found: list[Cause] = []
    kind = schema.get("type")
    if kind != "object":
        if not kind:
            found.append(causes.required(f"{path}.type", "must not be empty at the root"))
        else:
            found.append(causes.invalid(f"{path}.type", kind, "must be object at the root"))
    if schema.get("nullable"):
        found.append(causes.forbidden(f"{path}.nullable", "nullable cannot be true at the root"))
    _check(schema, path, found, where="", root=True, movable=True)
    return found


def _check(
    schema: dict[str, Any], path: str, out: list[Cause], *, where: str, root: bool = False, movable: bool
) -> None:
    """Check one schema and those below it; `movable` is False where items of one name cannot be told over time."""
    kind = schema.get("type", "")
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not kind and not free and not root:
        out.append(causes.required(f"{path}.type", f"must not be empty for specified {where}"))
    elif kind and kind not in _TYPES:
        out.append(causes.not_supported(f"{path}.type", kind, _TYPES))
    if kind and schema.get("x-kubernetes-int-or-string"):
        text = "must be empty if x-kubernetes-int-or-string is true"
        out.append(causes.invalid(f"{path}.type", kind, text))
    for name, message in _FORBIDDEN.items():
        if schema.get(name):
            out.append(causes.forbidden(f"{path}.{name}", message))
    if schema.get("properties") and "additionalProperties" in schema:
        text = "additionalProperties and properties are mutual exclusive"
        out.append(causes.forbidden(f"{path}.additionalProperties", text))
    if pattern := schema.get("pattern"):
        try:
            re.compile(pattern)
        except re.error as exc:
            text = f"must be a valid regular expression, but isn't: {exc}"
            out.append(causes.invalid(f"{path}.pattern", pattern, text))
    _check_list(schema, path, out)
    if schema.get("x-kubernetes-map-type", "granular") not in _MAP_TYPES:
        out.append(
            causes.not_supported(f"{path}.x-kubernetes-map-type", schema["x-kubernetes-map-type"], _MAP_TYPES)
        )
    _check_default(schema, path, out)
    _check_rules(schema, path, out, root=root, movable=movable)
    for junctor in _JUNCTORS:
        for index, inner in enumerate(schema.get(junctor) or ()):
            _check_limits_only(inner, f"{path}.{junctor}[{index}]", out, schema)
    if isinstance(schema.get("not"), dict):
        _check_limits_only(schema["not"], f"{path}.not", out, schema)
    _check_below(schema, path, out, movable=movable)


def _check_below(schema: dict[str, Any], path: str, out: list[Cause], *, movable: bool) -> None:
    for name, inner in (schema.get("properties") or {}).items():
        _check(inner, f"{path}.properties[{name}]", out, where="object fields", movable=movable)
    if isinstance(additional := schema.get("additionalProperties"), dict):
        _check(additional, f"{path}.additionalProperties", out, where="object fields", movable=movable)
    if isinstance(items := schema.get("items"), dict):
        keyed = schema.get("x-kubernetes-list-type") == "map"
        _check(items, f"{path}.items", out, where="array items", movable=movable and keyed)


def _check_list(schema: dict[str, Any], path: str, out: list[Cause]) -> None:
    if schema.get("type") == "array" and not isinstance(schema.get("items"), dict):
        out.append(causes.required(f"{path}.items", "must be specified"))
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if list_type is not None and list_type not in _LIST_TYPES:
        out.append(causes.not_supported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES))
    if list_type is not None and schema.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        out.append(causes.invalid(f"{path}.type", schema.get("type", ""), text))
    if list_type != "map":
        if keys:
            text = "must be map if x-kubernetes-list-map-keys is non-empty"
            out.append(causes.invalid(f"{path}.x-kubernetes-list-type", list_type, text))
        return
    if not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        out.append(causes.required(f"{path}.x-kubernetes-list-map-keys", text))
    items = schema.get("items") or {}
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            text = "entries must all be names of item properties"
            out.append(causes.invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, text))
        elif key not in (items.get("required") or ()) and "default" not in properties[key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            out.append(causes.required(f"{path}.items.properties[{key}].default", text))


def _check_default(schema: dict[str, Any], path: str, out: list[Cause]) -> None:
    if "default" not in schema:
        return
    wrong: list[Cause] = []
    Node(schema).validate(schema["default"], ABSENT, f"{path}.default", wrong)
    out += wrong


def _check_limits_only(schema: dict[str, Any], path: str, out: list[Cause], outer: dict[str, Any]) -> None:
    """Below allOf, anyOf, oneOf and not stands what limits a value; what it is stands outside."""
    for name in _DESCRIBING:
        both = outer.get("x-kubernetes-int-or-string") and name == "type"
        if name in schema and not both:
            out.append(causes.forbidden(f"{path}.{name}", "must be empty to be structural"))
    known = outer.get("properties") or {}
    for name, inner in (schema.get("properties") or {}).items():
        if name not in known:
            where = (
                path.partition(".anyOf")[0].partition(".allOf")[0].partition(".oneOf")[0].partition(".not")[0]
            )
            text = f"because it is defined in {path}.properties[{name}]"
            out.append(causes.required(f"{where}.properties[{name}]", text))
        _check_limits_only(inner, f"{path}.properties[{name}]", out, known.get(name) or {})


def _check_rules(schema: dict[str, Any], path: str, out: list[Cause], *, root: bool, movable: bool) -> None:
    for index, entry in enumerate(schema.get("x-kubernetes-validations") or ()):
        here = f"{path}.x-kubernetes-validations[{index}]"
        rule = entry.get("rule", "")
        if not rule.strip():
            out.append(causes.required(f"{here}.rule", "rule is not specified"))
            continue
        if "\n" in entry.get("message", ""):
            out.append(
                causes.invalid(f"{here}.message", entry["message"], "message must not contain line breaks")
            )
        elif "message" in entry and not entry["message"].strip():
            out.append(
                causes.invalid(f"{here}.message", entry["message"], "message must be non-empty if specified")
            )
        elif "\n" in rule.strip() and not entry.get("message") and not entry.get("messageExpression"):
            text = "message must be specified if rule contains line breaks"
            out.append(causes.required(f"{here}.message", text))
        if "reason" in entry and entry["reason"] not in _REASONS:
            out.append(causes.not_supported(f"{here}.reason", entry["reason"], _REASONS))
        optional = bool(entry.get("optionalOldSelf"))
        expression = _compile(rule, "rule", "bool", schema, here, out, optional=optional, root=root)
        if text := entry.get("messageExpression"):
            _compile(text, "messageExpression", "string", schema, here, out, optional=optional, root=root)
        if expression is None:
            continue
        if expression.uses_old and not movable:
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
            out.append(causes.invalid(f"{here}.rule", rule, text))
        if optional and not expression.uses_old:
            text = "may not be set if oldSelf is not used in rule"
            out.append(causes.invalid(f"{here}.optionalOldSelf", entry["optionalOldSelf"], text))


def _compile(
    text: str,
    field: str,
    result: Any,
    schema: dict[str, Any],
    path: str,
    out: list[Cause],
    *,
    optional: bool,
    root: bool,
) -> Expression | None:
    try:
        return Expression(text, schema=schema, result=result, optional_old=optional, root=root)
    except CelCompileError as exc:
        detail = str(exc)
        if detail.startswith("ERROR"):
            detail = f"compilation failed: {detail}"
        elif field == "messageExpression":
            detail = f"messageExpression {detail}"
        else:
            detail = f"cel expression {detail}"
        out.append(causes.invalid(f"{path}.{field}", text, detail))
        return None


_FORBIDDEN: Final = {
    "$ref": "'$ref' is not supported",
    "uniqueItems": "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "id": "id is not supported",
    "patternProperties": "patternProperties is not supported",
    "additionalItems": "additionalItems is not supported",
}
