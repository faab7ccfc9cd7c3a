"""Which error is this answer? Maps an HTTP status and a meta/v1 Status body to the error tree."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from nodeipam_ctl.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NodeIPAMError,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)

_LONGEST_MESSAGE = 800
_NO_HTTPS = "Client sent an HTTP request to an HTTPS server"
"""What Go's HTTP server says without TLS."""


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0
    details: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    retryAfterSeconds: float = 0  # noqa: N815 - the API's spelling


class _Cause(msgspec.Struct):
    reason: str = ""


class _Causes(msgspec.Struct):
    causes: tuple[_Cause, ...] = ()


def parse_status(body: bytes) -> tuple[str, str, int, float | None]:
    """Message, reason, code and retryAfterSeconds of a meta/v1 Status; empty values for anything else."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return " ".join(body[:_LONGEST_MESSAGE].decode(errors="replace").split()), "", 0, None
    retry_after_s = None
    if status.details:
        try:
            retry_after_s = msgspec.json.decode(status.details, type=_Details).retryAfterSeconds or None
        except (msgspec.DecodeError, UnicodeDecodeError):
            retry_after_s = None
    return " ".join(status.message.split())[:_LONGEST_MESSAGE], status.reason, status.code, retry_after_s


def error_of(
    what: str, code: int, body: bytes, *, retry_after: str | None = None, is_write: bool = False
) -> NodeIPAMError:
    """The error that stands for a non-2xx answer.

    Args:
        what: the request, for the message: `PATCH /api/v1/nodes/a`.
        code: the HTTP status, or the code of a Status inside a watch.
        body: the answer's body.
        retry_after: the Retry-After header.
        is_write: a 5xx then leaves open whether the write took effect. 429 never does: the server turned the request
            away before it was handled (API priority and fairness), and so does a 503 that says so with Retry-After.
    """
    message, reason, _, retry_after_s = parse_status(body)
    retry_after_s = _seconds(retry_after) or retry_after_s
    text = f"{what}: {message or _phrase(code)} (HTTP {code}{f' {reason}' if reason else ''})"
    match code:
        case 401 | 403:
            return Forbidden(text)
        case 404:
            return NotFound(text)
        case 409:
            return AlreadyExists(text) if reason == "AlreadyExists" else Conflict(text)
        case 410:
            return Expired(text)
        case 504 if _is_in_the_future(body):
            return Expired(text)
        case 429:
            return Transient(text, retry_after_s=retry_after_s)
        case _ if code >= 500:
            return OutcomeUnknown(text) if is_write else Transient(text, retry_after_s=retry_after_s)
        case 400 if _NO_HTTPS in message:
            return Invalid(f"{text}; write https:// instead of http:// in the kubeconfig, or check the port")
        case 400 | 405 | 406 | 413 | 415 | 422:
            return Invalid(text)
        case _:
            return Permanent(text)


def _is_in_the_future(body: bytes) -> bool:
    """Whether a refused list asked for a resourceVersion that the server has not reached: its history may have been set back."""
    try:
        details = msgspec.json.decode(body, type=_Status).details
        causes = msgspec.json.decode(details, type=_Causes).causes if details else ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return any(cause.reason == "ResourceVersionTooLarge" for cause in causes)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "no reason given"


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds (RFC 9110, section 10.2.3); its date form, which the API server never sends, is ignored."""
    if retry_after is None or not retry_after.strip().isdigit():
        return None
    return float(retry_after)
