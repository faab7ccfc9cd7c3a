"""How does one HTTP request become one answer? Parse, authenticate, authorise, dispatch."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from nodeipam_ctl.demo.apiserver import (
    admin,
    auth,
    discovery,
    lists,
    openapi,
    patching,
    paths,
    protobuf,
    reviews,
    wire,
)
from nodeipam_ctl.demo.apiserver.errors import (
    ApiError,
    Json,
    PathNotFound,
    bad_request,
    expired,
    forbidden,
    method_not_allowed,
    too_many_requests,
    unsupported_body,
)
from nodeipam_ctl.demo.apiserver.faults import Effect, Fault
from nodeipam_ctl.demo.apiserver.objects import Outcome, WriteOptions
from nodeipam_ctl.demo.apiserver.paths import Target
from nodeipam_ctl.demo.apiserver.query import Query, flag, parse
from nodeipam_ctl.demo.apiserver.rbac import Attributes
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.shown import View
from nodeipam_ctl.demo.apiserver.subresources import special
from nodeipam_ctl.demo.apiserver.watch import Watch

if TYPE_CHECKING:
    from nodeipam_ctl.demo.apiserver.server import Cluster

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_PROBES: Final = frozenset({"/readyz", "/livez", "/healthz"})
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


class _Cut(Exception):
    """A fault: the connection dies here."""


class Handler:
    """The aiohttp low-level handler: no router, no middleware, one call per request."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return _refusal(error)
        except PathNotFound:
            return web.Response(
                status=404, body=b"404 page not found\n", headers={"Content-Type": "text/plain"}
            )
        except _Cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query_text = request.raw_path.partition("?")
        query = parse(query_text)
        cluster = self._cluster
        if path.startswith("/_faults"):
            return await admin.answer(cluster, request, path)
        user = self._user(request)
        target = paths.parse(path)
        if target is None:
            return self._other(request, path, user)
        verb = _verb(request.method, target, query)
        asked = Attributes(
            verb=verb,
            group=target.group,
            resource=target.resource,
            subresource=target.subresource,
            namespace=target.namespace,
            name=target.name,
        )
        if not cluster.authorizer.allows(user, asked):
            raise forbidden(asked.refusal(user), target.resource, target.group, target.name)
        resource = cluster.registry.find(target.group, target.version, target.resource)
        if resource is None:
            raise PathNotFound
        _check_verb(resource, target, verb)
        struck = cluster.faults.strike(verb, target)
        if struck:
            await _before(struck)
        if verb == "watch":
            return await self._watch(request, resource, target, query)
        body = await request.read() if request.can_read_body else b""
        answer = await self._dispatch(request, resource, target, verb, query, body, user)
        if any(fault.effect is Effect.CUT_AFTER for fault in struck):
            raise _Cut
        return answer

    def _user(self, request: web.BaseRequest) -> auth.User:
        cluster, headers = self._cluster, request.headers
        user = cluster.authenticator.identify(headers.get("Authorization"))
        if user is auth.ANONYMOUS and cluster.tls is not None and request.transport is not None:
            certificate = request.transport.get_extra_info("peercert")
            if certificate:
                user = auth.certified(certificate["subject"])
        name = headers.get("Impersonate-User")
        if name is None:
            return user
        asked = Attributes(verb="impersonate", resource="users", name=name)
        if not cluster.authorizer.allows(user, asked):
            raise forbidden(asked.refusal(user), "users", "", name)
        return auth.impersonated(
            name, headers.getall("Impersonate-Group", []), headers.get("Impersonate-Uid", "")
        )

    def _other(self, request: web.BaseRequest, path: str, user: auth.User) -> web.Response:
        """Everything that is no resource: probes, discovery, OpenAPI."""
        cluster = self._cluster
        asked = Attributes(verb=request.method.lower(), path=path)
        if not cluster.authorizer.allows(user, asked):
            raise ApiError(403, "Forbidden", asked.refusal(user), {})
        path = path.rstrip("/") or "/"
        if path in _PROBES or path.startswith(("/livez/", "/readyz/")):
            return web.Response(body=b"ok", headers={"Content-Type": "text/plain; charset=utf-8"})
        if path == "/version":
            return _json(discovery.VERSION)
        accept = request.headers.get("Accept", "")
        if path in ("/api", "/apis") and "as=APIGroupDiscoveryList" in accept:
            api = "v2" if "v=v2;" in accept or "v=v2," in accept or accept.endswith("v=v2") else "v2beta1"
            body = discovery.aggregated(cluster.registry, core=path == "/api", api=api)
            kind = f"{_JSON};g=apidiscovery.k8s.io;v={api};as=APIGroupDiscoveryList"
            return web.Response(body=wire.encode(body), headers={"Content-Type": kind})
        found = openapi.answer(cluster.registry, path, accept)
        if found is not None:
            return web.Response(body=found.raw, headers={"Content-Type": found.content_type})
        listed = self._discovered(path)
        if listed is None:
            raise PathNotFound
        return _json(listed)

    def _discovered(self, path: str) -> Json | None:
        registry = self._cluster.registry
        match path.strip("/").split("/"):
            case ["api"]:
                return discovery.versions(self._cluster.address)
            case ["apis"]:
                return discovery.groups(registry)
            case ["api", version]:
                return discovery.resources(registry, "", version)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version]:
                return discovery.resources(registry, group, version)
            case _:
                return None

    async def _dispatch(
        self,
        request: web.BaseRequest,
        resource: Resource,
        target: Target,
        verb: str,
        query: Query,
        body: bytes,
        user: auth.User,
    ) -> web.Response:
        cluster, objects = self._cluster, self._cluster.objects
        namespace = target.namespace if resource.namespaced else ""
        if verb == "get":
            view = View.of(resource, request.headers.get("Accept", ""), query, cluster.objects)
            stored = objects.find(resource, namespace, target.name)
            if target.subresource not in ("", "status"):
                return _json(special(cluster, resource, target, verb, stored, {}))
            return _raw(view.one(stored))
        if verb == "list":
            lag_s = cluster.faults.watch_lag_s
            view = View.of(resource, request.headers.get("Accept", ""), query, cluster.objects)
            page = await lists.page(cluster.store, resource, namespace, query, lag_s=lag_s)
            return _raw(view.page(page))
        options = _options(request, query)
        if verb == "patch":
            kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
            if target.subresource == "scale":
                stored = objects.find(resource, namespace, target.name)
                return _json(special(cluster, resource, target, verb, stored, patching.read(kind, body)))
            return _outcome(
                objects.patch(resource, namespace, target.name, target.subresource, kind, body, options)
            )
        sent = _read_body(
            resource, request.headers.get("Content-Type", ""), body, optional=verb.startswith("delete")
        )
        if verb == "delete":
            dry_run = options.dry_run or sent.get("dryRun") == ["All"]
            return _outcome(cluster.deletions.delete(resource, namespace, target.name, sent, dry_run=dry_run))
        if verb == "deletecollection":
            page = await lists.page(cluster.store, resource, namespace, query)
            deleted = cluster.deletions.delete_collection(resource, page.items, dry_run=options.dry_run)
            return _json(_deleted_list(resource, deleted, page.rv))
        if resource.virtual:
            return _json(self._review(resource, sent, user, options), status=201)
        if target.subresource not in ("", "status"):
            stored = objects.find(resource, namespace, target.name)
            return _json(special(cluster, resource, target, verb, stored, sent), status=201)
        if verb == "create":
            return _outcome(objects.create(resource, namespace, sent, options))
        return _outcome(objects.update(resource, namespace, target.name, target.subresource, sent, options))

    def _review(self, resource: Resource, sent: Json, user: auth.User, options: WriteOptions) -> Json:
        cluster = self._cluster
        return reviews.review(
            resource,
            sent,
            user=user,
            manager=options.manager,
            now=cluster.objects.now(),
            authenticator=cluster.authenticator,
            authorizer=cluster.authorizer,
        )

    async def _watch(
        self, request: web.BaseRequest, resource: Resource, target: Target, query: Query
    ) -> web.StreamResponse:
        cluster = self._cluster
        view = View.of(resource, request.headers.get("Accept", ""), query, cluster.objects)
        if target.name:
            query = {**query, "fieldSelector": f"metadata.name={target.name}"}
        try:
            timeout_s = float(query.get("timeoutSeconds") or 0) or random.uniform(1800, 3600)
        except ValueError:
            raise bad_request(
                f'strconv.ParseInt: parsing "{query["timeoutSeconds"]}": invalid syntax'
            ) from None
        tap = cluster.faults.open_tap(resource.plural)
        try:
            watch = Watch(
                store=cluster.store,
                resource=resource,
                namespace=target.namespace if resource.namespaced else "",
                query=query,
                render=view.event_renderer(),
                tap=tap,
                bookmark_every_s=cluster.bookmark_every_s,
                timeout_s=timeout_s,
            )
            response = web.StreamResponse(headers={"Content-Type": _JSON})
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"")
            async for chunk in watch.lines():
                await response.write(chunk)
            if tap.cut:
                raise _Cut
            await response.write_eof()
        except ConnectionResetError:
            return web.Response(status=500)  # the client left
        finally:
            cluster.faults.close_tap(tap)
        return response


async def _before(struck: tuple[Fault, ...]) -> None:
    """Let the faults happen that come before the request takes effect."""
    for fault in struck:
        match fault.effect:
            case Effect.DELAY:
                await asyncio.sleep(fault.delay_s)
            case Effect.HANG:
                await asyncio.Event().wait()
            case Effect.CUT_BEFORE:
                raise _Cut
            case Effect.EXPIRE:
                raise expired("The resourceVersion for the provided watch is too old.")
            case Effect.REFUSE if fault.status == 429:
                raise too_many_requests(fault.retry_after_s)
            case Effect.REFUSE:
                reason = {500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}.get(
                    fault.status, "Unknown"
                )
                after = fault.retry_after_s if fault.status == 503 else None
                text = "Internal error occurred: a fault was asked for"
                raise ApiError(fault.status, reason, text, {}, retry_after_s=after)
            case Effect.CUT_AFTER:
                pass


def _verb(method: str, target: Target, query: Query) -> str:
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


def _check_verb(resource: Resource, target: Target, verb: str) -> None:
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


def _options(request: web.BaseRequest, query: Query) -> WriteOptions:
    given = query.get("fieldManager", "")
    manager = given or request.headers.get("User-Agent", "").partition("/")[0][:128] or "unknown"
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


def _read_body(resource: Resource, content_type: str, body: bytes, *, optional: bool) -> Json:
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


def _deleted_list(resource: Resource, deleted: list[Json], rv: int) -> Json:
    metadata: Json = {"resourceVersion": str(rv)}
    if resource.custom:
        metadata["continue"] = ""
    return {
        "kind": resource.list_kind,
        "apiVersion": resource.group_version,
        "metadata": metadata,
        "items": deleted,
    }


def _refusal(error: ApiError) -> web.Response:
    headers = {"Content-Type": _JSON}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return web.Response(status=error.code, body=wire.encode(error.status()), headers=headers)


def _json(body: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=wire.encode(body), headers={"Content-Type": _JSON})


def _raw(raw: bytes) -> web.Response:
    return web.Response(body=raw, headers={"Content-Type": _JSON})


def _outcome(outcome: Outcome) -> web.Response:
    response = web.Response(status=outcome.status, body=outcome.raw, headers={"Content-Type": _JSON})
    for warning in outcome.warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{quoted}"')
    return response
