"""What does one HTTP request ask for? Its verb, its options, the object in its body."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from nodeipam_ctl.demo.apiserver import protobuf, wire
from nodeipam_ctl.demo.apiserver.errors import (
    ApiError,
    Json,
    bad_request,
    method_not_allowed,
    too_large,
    unsupported_body,
)
from nodeipam_ctl.demo.apiserver.paths import Target
from nodeipam_ctl.demo.apiserver.query import Query, flag
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.writes import WriteOptions

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


_MAX_BODY_BYTES: Final = 3 * 1024 * 1024  # kube-apiserver's MaxRequestBodyBytes


async def receive(request: web.BaseRequest) -> bytes:
    """The whole body, which aiohttp would end at 1 MiB.

    Raises:
        ApiError: 400, 413.
    """
    if not request.can_read_body:
        return b""
    if (request.content_length or 0) > _MAX_BODY_BYTES:
        raise too_large(_MAX_BODY_BYTES)
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise too_large(_MAX_BODY_BYTES)
    except (HttpProcessingError, web.RequestPayloadError) as exc:  # chunks that are none, gzip that is none
        raise bad_request("the request's body cannot be read as its headers describe it") from exc
    return bytes(body)


def verb_of(method: str, target: Target, query: Query) -> str:
    """The verb RBAC knows.

    Raises:
        ApiError: 405.
    """
    if method == "GET":
        if flag(query, "watch"):
            return "watch"
        return "get" if target.name else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    verb = _VERBS.get(method)
    if verb is None:
        raise method_not_allowed()
    return verb


def check_verb(resource: Resource, target: Target, verb: str) -> None:
    """Refuse what this path cannot do.

    Raises:
        ApiError: 404 for an unknown subresource, 405.
    """
    if target.subresource:
        sub = resource.subresource(target.subresource)
        if sub is None:
            text = "the server could not find the requested resource"
            raise ApiError(404, "NotFound", text, {})
        if verb not in sub.verbs:
            raise method_not_allowed()
        return
    if verb not in resource.verbs:
        raise method_not_allowed()
    if (verb == "create" and target.name) or (verb in ("update", "patch") and not target.name):
        raise method_not_allowed()


def write_options(user_agent: str, query: Query) -> WriteOptions:
    """What the query string of a write says; an unnamed manager is called after its program.

    Raises:
        ApiError: 400.
    """
    given = query.get("fieldManager", "")
    manager = given or user_agent.partition("/")[0][:128] or "unknown"
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
    return WriteOptions(
        manager=manager,
        manager_given=bool(given),
        dry_run=dry_run == "All",
        validation=query.get("fieldValidation") or "Warn",
        force=flag(query, "force"),
    )


def read_body(resource: Resource, content_type: str, body: bytes, *, optional: bool) -> Json:
    """The object in a request body: JSON, YAML or protobuf.

    Raises:
        ApiError: 400, 415.
    """
    if not body:
        if optional:
            return {}
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): EOF (<empty>)"
        )
    kind = content_type.partition(";")[0].strip() or _JSON
    try:
        if kind == _PROTOBUF:
            value: Any = protobuf.decode(body)
        elif kind in ("application/yaml", "text/yaml"):
            value = wire.decode_yaml(body)
        elif kind == _JSON:
            value = wire.decode(body)
        else:
            raise unsupported_body()
    except protobuf.UnknownMessage as exc:
        raise unsupported_body() from exc
    except wire.Unreadable as exc:
        shown = body[:100].decode("utf-8", "replace")
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; "
            f"json parse error: {exc} ({shown})"
        ) from exc
    if not isinstance(value, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): not an object"
        )
    return value
