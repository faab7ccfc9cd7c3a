"""What does one node of an OpenAPI schema demand of a value, its type and limits?

What it adds and takes away is in `schema_fill.py`, unique items in `schema_unique.py`, CEL rules in `schema_rules.py`.

Source: k8s.io/kube-openapi/pkg/validation and k8s.io/apiextensions-apiserver/pkg/apiserver/schema.
"""

from __future__ import annotations

import re
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import causes
from nodeipam_ctl.demo.apiserver.errors import Cause
from nodeipam_ctl.demo.apiserver.formats import has_format

ABSENT: Final = object()
# What every object has besides its schema; the server itself looks after these.
ENVELOPE: Final = frozenset({"apiVersion", "kind", "metadata"})


class Node:
    """One schema, compiled for use on many values."""

    __slots__ = (
        "additional",
        "all_of",
        "any_of",
        "default",
        "embedded",
        "enum",
        "fields",
        "format",
        "int_or_string",
        "items",
        "key_defaults",
        "limits",
        "list_type",
        "map_type",
        "not_",
        "nullable",
        "one_of",
        "pattern",
        "preserve",
        "required",
        "schema",
        "type",
    )

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.type: str = schema.get("type", "")
        self.fields = {name: Node(inner) for name, inner in (schema.get("properties") or {}).items()}
        additional = schema.get("additionalProperties")
        self.additional = Node(additional) if isinstance(additional, dict) else None
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or additional is True
        items = schema.get("items")
        self.items = Node(items) if isinstance(items, dict) else None
        self.required = tuple(schema.get("required") or ())
        self.nullable = bool(schema.get("nullable"))
        self.default = schema.get("default", ABSENT)
        self.enum: list[Any] | None = schema.get("enum")
        self.format: str = schema.get("format", "")
        pattern = schema.get("pattern")
        self.pattern = re.compile(pattern) if pattern else None
        self.limits = {name: schema[name] for name in _LIMITS if name in schema}
        self.list_type: str = schema.get("x-kubernetes-list-type", "atomic")
        of_items = self.items.fields if self.items is not None else {}
        self.key_defaults = {
            key: of_items[key].default if key in of_items and of_items[key].default is not ABSENT else None
            for key in schema.get("x-kubernetes-list-map-keys") or ()
        }
        self.map_type: str = schema.get("x-kubernetes-map-type", "granular")
        self.int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
        self.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        self.all_of = [Node(inner) for inner in schema.get("allOf") or ()]
        self.any_of = [] if self.int_or_string else [Node(inner) for inner in schema.get("anyOf") or ()]
        self.one_of = [Node(inner) for inner in schema.get("oneOf") or ()]
        not_ = schema.get("not")
        self.not_ = Node(not_) if isinstance(not_, dict) else None

    def field(self, name: str) -> Node | None:
        """The schema of a field, declared or any."""
        return self.fields.get(name) or self.additional

    def validate(self, value: Any, old: Any, path: str, out: list[Cause]) -> None:
        """Add to `out` what is wrong with `value`; what `old` already was is accepted as it is."""
        if old is not ABSENT and (value is old or value == old):
            return
        if value is None and self.nullable:
            return
        if not self._is_of_type(value):
            expected = self.type or "integer,string"
            given = _type_name(value)
            message = f'{path} in body must be of type {expected}: "{given}"'
            out.append(causes.wrong_type(path, given, message))
        if self.enum is not None and not any(_equal(value, one) for one in self.enum):
            out.append(causes.not_supported(path, value, self.enum))
        match value:
            case str():
                self._check_text(value, path, out)
            case bool():
                pass
            case int() | float():
                self._check_number(value, path, out)
            case list():
                self._check_list(value, old, path, out)
            case dict():
                self._check_object(value, old, path, out)
        if self.all_of or self.any_of or self.one_of or self.not_:
            self._check_combined(value, path, out)

    def _is_of_type(self, value: Any) -> bool:
        match self.type:
            case "object":
                return isinstance(value, dict)
            case "array":
                return isinstance(value, list)
            case "string":
                return isinstance(value, str)
            case "boolean":
                return isinstance(value, bool)
            case "integer":
                return _is_integer(value)
            case "number":
                return isinstance(value, (int, float)) and not isinstance(value, bool)
            case _:
                return not self.int_or_string or _is_integer(value) or isinstance(value, str)

    def _check_text(self, value: str, path: str, out: list[Cause]) -> None:
        limits = self.limits
        if len(value) < limits.get("minLength", 0):
            message = f"{path} in body should be at least {limits['minLength']} chars long"
            out.append(causes.invalid(path, value, message))
        if "maxLength" in limits and len(value) > limits["maxLength"]:
            out.append(causes.too_long(path, limits["maxLength"]))
        if self.pattern is not None and not self.pattern.search(value):
            out.append(causes.invalid(path, value, f"{path} in body should match '{self.schema['pattern']}'"))
        if self.format and not has_format(value, self.format):
            message = f"{path} in body must be of type {self.format}: {causes.shown(value)}"
            out.append(causes.wrong_type(path, value, message))

    def _check_number(self, value: float, path: str, out: list[Cause]) -> None:
        limits = self.limits
        minimum, maximum, step = limits.get("minimum"), limits.get("maximum"), limits.get("multipleOf")
        if minimum is not None:
            exclusive = limits.get("exclusiveMinimum", False)
            if value < minimum or (exclusive and value == minimum):
                words = "greater than" if exclusive else "greater than or equal to"
                message = f"{path} in body should be {words} {causes.shown(minimum)}"
                out.append(causes.invalid(path, value, message))
        if maximum is not None:
            exclusive = limits.get("exclusiveMaximum", False)
            if value > maximum or (exclusive and value == maximum):
                words = "less than" if exclusive else "less than or equal to"
                message = f"{path} in body should be {words} {causes.shown(maximum)}"
                out.append(causes.invalid(path, value, message))
        if step is not None and value % step:
            message = f"{path} in body should be a multiple of {causes.shown(step)}"
            out.append(causes.invalid(path, value, message))
        if self.format and not has_format(value, self.format):
            message = f"Checked value must be of type {self.type} with format {self.format}"
            out.append(causes.invalid(path, value, message))

    def _check_list(self, value: list[Any], old: Any, path: str, out: list[Cause]) -> None:
        limits = self.limits
        if len(value) < limits.get("minItems", 0):
            message = f"{path} in body should have at least {limits['minItems']} items"
            out.append(causes.invalid(path, len(value), message))
        if "maxItems" in limits and len(value) > limits["maxItems"]:
            out.append(causes.too_many(path, len(value), limits["maxItems"]))
        if self.items is None:
            return
        former = correlated(self, value, old)
        for index, item in enumerate(value):
            self.items.validate(item, former[index] if former else ABSENT, f"{path}[{index}]", out)

    def _check_object(self, value: dict[str, Any], old: Any, path: str, out: list[Cause]) -> None:
        limits = self.limits
        if len(value) < limits.get("minProperties", 0):
            message = f"{path} in body should have at least {limits['minProperties']} properties"
            out.append(causes.invalid(path, len(value), message))
        if "maxProperties" in limits and len(value) > limits["maxProperties"]:
            out.append(causes.too_many(path, len(value), limits["maxProperties"]))
        prefix = f"{path}." if path else ""
        out.extend(causes.required(prefix + name) for name in self.required if name not in value)
        if self.embedded:
            out.extend(
                causes.required(prefix + name, "must not be empty")
                for name in ("apiVersion", "kind")
                if not value.get(name)
            )
        before = old if isinstance(old, dict) else {}
        skip = ENVELOPE if not path or self.embedded else frozenset()
        for name, inner in value.items():
            node = self.fields.get(name) or self.additional
            if node is not None and name not in skip:
                node.validate(inner, before.get(name, ABSENT), prefix + name, out)

    def _check_combined(self, value: Any, path: str, out: list[Cause]) -> None:
        def fits(node: Node) -> bool:
            found: list[Cause] = []
            node.validate(value, ABSENT, path, found)
            return not found

        for node in self.all_of:
            node.validate(value, ABSENT, path, out)
        # These messages name the field themselves: kube-apiserver puts them at the root.
        if self.any_of and not any(map(fits, self.any_of)):
            out.append(causes.invalid("", "", f'"{path}" must validate at least one schema (anyOf)'))
        if self.one_of and (matching := sum(map(fits, self.one_of))) != 1:
            found = "Found none valid" if not matching else f"Found {matching} valid alternatives"
            out.append(
                causes.invalid("", "", f'"{path}" must validate one and only one schema (oneOf). {found}')
            )
        if self.not_ is not None and fits(self.not_):
            out.append(causes.invalid("", "", f'"{path}" must not validate the schema (not)'))

    def item_name(self, item: Any) -> Any:
        """What tells an item of this list from the others: itself in a set, its keys in a keyed list."""
        if self.list_type != "map" or not isinstance(item, dict):
            return item
        return {key: item.get(key, default) for key, default in self.key_defaults.items()}

    def item_identity(self, item: Any) -> Any:
        """`item_name` as something hashable."""
        if self.list_type == "map" and isinstance(item, dict):
            return tuple([item.get(key, default) for key, default in self.key_defaults.items()])
        return (type(item), item) if isinstance(item, (str, int, float)) else causes.shown(item)


def correlated(node: Node, value: list[Any], old: Any) -> list[Any] | None:
    """For every item what it was before, ABSENT if it is new; None where that cannot be known (no keyed list)."""
    if node.list_type != "map" or not isinstance(old, list):
        return None
    before = {node.item_identity(item): item for item in old}
    return [before.get(node.item_identity(item), ABSENT) for item in value]


_LIMITS: Final = (
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)


def _is_integer(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
