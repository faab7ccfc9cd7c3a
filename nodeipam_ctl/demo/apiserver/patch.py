"""What does an object look like after a merge patch or a JSON patch?

Strategic merge patch, which knows the lists of built-in kinds, has its own file: `strategic.py`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import jsonpatch
from jsonpointer import JsonPointerException

from nodeipam_ctl.demo.apiserver.strategic import PatchFailed, strategic_merge

__all__ = ["PatchFailed", "json_patch", "merge_patch", "strategic_merge"]

_MAX_OPERATIONS = 10_000
_ABSENT = object()


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` after a JSON merge patch; `target` itself when the patch changes nothing.

    Neither argument is changed. Everything the patch does not touch is shared with `target`, so a caller can find the
    changed parts with `is`.

    Source: RFC 7386, section 2.
    """
    if type(patch) is not dict:
        return target if _same(target, patch) else patch
    if type(target) is not dict:
        target, result = {}, {}
    else:
        result = target
    for name, value in patch.items():
        before = target.get(name, _ABSENT)
        if value is None:
            if before is not _ABSENT:
                if result is target:
                    result = target.copy()
                del result[name]
            continue
        after = merge_patch(before, value)
        if after is not before:
            if result is target:
                result = target.copy()
            result[name] = after
    return result


def _same(before: Any, after: Any) -> bool:
    """Equal as JSON: Python also finds True == 1 and 1 == 1.0."""
    kind = type(before)
    if kind is not type(after):
        return False
    if kind is list:
        return len(before) == len(after) and all(map(_same, before, after))
    if kind is dict:
        return before.keys() == after.keys() and all(
            _same(value, after[name]) for name, value in before.items()
        )
    return bool(before == after)


def json_patch(target: dict[str, Any], ops: Any) -> dict[str, Any]:
    """`target` after a JSON patch; `target` is left as it was.

    Raises:
        PatchFailed: `BadRequest` for a body that is no list of operations, `RequestEntityTooLarge` for more than
            10,000 of them, `Invalid` when one cannot be applied. kube-apiserver keeps the details to itself then.

    Source: RFC 6902.
    """
    if not isinstance(ops, list):
        _bad_request(f"json: cannot unmarshal {_go_kind(ops)} into Go value of type jsonpatch.Patch")
    if len(ops) > _MAX_OPERATIONS:
        raise PatchFailed(
            f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(ops)}",
            "RequestEntityTooLarge",
        )
    for op in ops:
        if not isinstance(op, dict):
            _bad_request(f"json: cannot unmarshal {_go_kind(op)} into Go value of type jsonpatch.Operation")
    try:
        result = jsonpatch.apply_patch(target, ops)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError) as exc:
        # The library answers an operation of the wrong shape (a path into a number, say) with TypeError or KeyError.
        raise PatchFailed(
            "the server rejected our request due to an error in our request", "Invalid"
        ) from exc
    if not isinstance(result, dict):
        _bad_request(
            f"json: cannot unmarshal {_go_kind(result)} into Go value of type map[string]interface {{}}"
        )
    return result


def _bad_request(message: str) -> NoReturn:
    raise PatchFailed(message, "BadRequest")


def _go_kind(value: Any) -> str:
    """The word Go's encoding/json has for the type of a JSON value."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"
