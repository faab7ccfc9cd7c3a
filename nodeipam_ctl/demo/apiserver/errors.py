"""What does the server say when it refuses? Every `Status` body kube-apiserver answers with, in its own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason an object is invalid; `field` is a path as kube-apiserver writes it (`spec.podCIDRs[0]`)."""

    reason: str
    message: str
    field: str


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal: becomes the HTTP status and the `Status` body."""

    code: int
    reason: str
    message: str
    details: Json | None = None
    metadata: Json = field(default_factory=dict)
    retry_after_s: int | None = None

    def status(self) -> Json:
        """The `Status` object (metav1.Status) of this refusal."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


class PathNotFound(Exception):
    """No such group, version or resource: a plain-text 404, not a Status."""


def _details(plural: str, group: str, name: str) -> Json:
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = plural
    return details


def qualified(plural: str, group: str) -> str:
    """`leases.coordination.k8s.io`, or `nodes` for the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404: no object of that name."""
    text = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", text, _details(plural, group, name))


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409: somebody created it first."""
    text = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", text, _details(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str | None = None) -> ApiError:
    """409: the resourceVersion sent is not the current one (or a precondition failed: `why`)."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    text = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", text, _details(plural, group, name))


def apply_conflict(message: str, causes: list[dict[str, str]]) -> ApiError:
    """409: server-side apply touches fields that other managers own."""
    return ApiError(409, "Conflict", message, {"causes": causes})


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks a rule; each cause is listed, the same text is said once (field.ErrorList.ToAggregate)."""
    texts = list(dict.fromkeys(f"{c.field}: {c.message}" for c in causes))
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details: Json = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {joined}', details)


def bad_request(text: str) -> ApiError:
    """400: the request itself cannot be read."""
    return ApiError(400, "BadRequest", text)


def unauthorized() -> ApiError:
    """401: credentials were sent, and they are wrong."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(text: str, plural: str, group: str, name: str) -> ApiError:
    """403: known, but not allowed."""
    return ApiError(403, "Forbidden", text, _details(plural, group, name))


def method_not_allowed() -> ApiError:
    """405: the path exists, the verb does not."""
    text = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", text, {})


def unsupported_patch(*, custom: bool) -> ApiError:
    """415: this content type is no patch type of this resource."""
    if not custom:
        return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    text = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )
    return ApiError(415, "UnsupportedMediaType", text)


def too_large(limit_bytes: int) -> ApiError:
    """413: the body is larger than kube-apiserver takes."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}", {})


def unsupported_body() -> ApiError:
    """415: the body is neither JSON, YAML nor a protobuf message this server can read."""
    text = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )
    return ApiError(415, "UnsupportedMediaType", text)


def expired(text: str, continue_token: str | None = None) -> ApiError:
    """410: history before that version is gone."""
    return ApiError(410, "Expired", text, metadata={"continue": continue_token} if continue_token else {})


def too_large_version(asked: int, current: int) -> ApiError:
    """504: a version the server has not reached yet."""
    details: Json = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    text = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", text, details, retry_after_s=1)


def too_many_requests(retry_after_s: int) -> ApiError:
    """429: as priority and fairness answers when it sheds load."""
    text = "the server has received too many requests and has asked us to try again later"
    return ApiError(
        429, "TooManyRequests", text, {"retryAfterSeconds": retry_after_s}, retry_after_s=retry_after_s
    )


def internal(text: str) -> ApiError:
    """500: the server failed."""
    return ApiError(500, "InternalError", f"Internal error occurred: {text}", {"causes": [{"message": text}]})
