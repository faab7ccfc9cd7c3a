"""What does a PATCH body make of an object? One answer per content type."""

from __future__ import annotations

from typing import Any, Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.errors import ApiError, Json, bad_request, unsupported_patch
from nodeipam_ctl.demo.apiserver.patch import PatchFailed, json_patch, merge_patch
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.strategic import strategic_merge

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"


def check_type(resource: Resource, content_type: str) -> None:
    """Refuse a content type this resource cannot be patched with.

    Raises:
        ApiError: 415.
    """
    custom = resource.custom is not None
    if content_type in (MERGE, JSON_PATCH, APPLY) or (content_type == STRATEGIC and not custom):
        return
    raise unsupported_patch(custom=custom)


def read(content_type: str, raw: bytes) -> Any:
    """The patch document in a request body.

    Raises:
        ApiError: 400 when it is not JSON (or YAML, for apply).
    """
    try:
        return wire.decode_yaml(raw) if content_type == APPLY else wire.decode(raw)
    except wire.Unreadable as exc:
        raise bad_request(f"error decoding patch: {exc}") from exc


def patched(resource: Resource, content_type: str, current: Json, patch: Any) -> Json:
    """`current` after a merge, strategic-merge or JSON patch; untouched parts are shared with `current`.

    Raises:
        ApiError: 400 or 422 when the patch cannot be applied.
    """
    try:
        if content_type == JSON_PATCH:
            return json_patch(current, patch)
        if not isinstance(patch, dict):
            raise bad_request("json: cannot unmarshal array into Go value of type map[string]interface {}")
        if content_type == STRATEGIC:
            return strategic_merge(current, patch, kind=resource.kind)
        merged = merge_patch(current, patch)
        if not isinstance(merged, dict):
            raise bad_request("the patch leaves no object")
        return merged
    except PatchFailed as exc:
        if exc.reason == "Invalid":
            text = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", text, {}) from exc
        code = 413 if exc.reason == "RequestEntityTooLarge" else 400
        raise ApiError(code, exc.reason, exc.message) from exc
