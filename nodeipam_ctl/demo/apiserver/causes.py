"""How does kube-apiserver word one reason to refuse an object?

Source: k8s.io/apimachinery/pkg/util/validation/field, `errors.go` of Kubernetes 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from nodeipam_ctl.demo.apiserver.errors import Cause

# Stands for "do not show the value": objects and lists in messages of rules.
OMITTED: Final = object()

# An error with one of these leaves CEL rules unchecked (apiextensions-apiserver, hasBlockingErr).
BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)


def shown(value: Any) -> str:
    """A value as Go prints it: strings quoted, objects and lists as JSON."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def _cause(reason: str, field: str, words: str, value: Any, detail: str) -> Cause:
    message = words if value is OMITTED else f"{words}: {shown(value)}"
    return Cause(reason=reason, message=f"{message}: {detail}" if detail else message, field=field or "<nil>")


def invalid(field: str, value: Any, detail: str) -> Cause:
    """The value breaks a rule."""
    return _cause("FieldValueInvalid", field, "Invalid value", value, detail)


def wrong_type(field: str, value: Any, detail: str) -> Cause:
    """The value is of another type; `value` is the type's name, or the text that is no value of its format."""
    return _cause("FieldValueTypeInvalid", field, "Invalid value", value, detail)


def required(field: str, detail: str = "") -> Cause:
    """The field is missing."""
    return _cause("FieldValueRequired", field, "Required value", OMITTED, detail)


def forbidden(field: str, detail: str) -> Cause:
    """The field may not be there, or not change."""
    return _cause("FieldValueForbidden", field, "Forbidden", OMITTED, detail)


def duplicate(field: str, value: Any) -> Cause:
    """The item is in the list before."""
    return _cause("FieldValueDuplicate", field, "Duplicate value", value, "")


def not_supported(field: str, value: Any, supported: Sequence[Any]) -> Cause:
    """The value is none of the allowed ones."""
    names = ", ".join(f'"{one}"' if isinstance(one, str) else f'"{shown(one)}"' for one in supported)
    return _cause("FieldValueNotSupported", field, "Unsupported value", value, f"supported values: {names}")


def too_long(field: str, limit: int) -> Cause:
    """The text is longer than `limit`. Characters are counted, although the message says bytes."""
    return _cause("FieldValueTooLong", field, "Too long", OMITTED, f"may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> Cause:
    """The list or map has more than `limit` items."""
    items = "item" if limit == 1 else "items"
    return _cause("FieldValueTooMany", field, "Too many", count, f"must have at most {limit} {items}")


def unchecked() -> Cause:
    """Goes with a blocking error: rules were not looked at."""
    return invalid(
        "",
        None,
        "some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    )
