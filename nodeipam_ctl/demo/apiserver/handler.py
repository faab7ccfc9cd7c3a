"""How does one HTTP request become one answer? Parse, authenticate, authorise, dispatch."""

from __future__ import annotations

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
    reviews,
    wire,
)
from nodeipam_ctl.demo.apiserver.errors import (
    ApiError,
    Json,
    PathNotFound,
    bad_request,
    forbidden,
)
from nodeipam_ctl.demo.apiserver.faults import Cut, Effect, happen_before
from nodeipam_ctl.demo.apiserver.paths import Target
from nodeipam_ctl.demo.apiserver.query import Query, parse
from nodeipam_ctl.demo.apiserver.rbac import Attributes
from nodeipam_ctl.demo.apiserver.requests import check_verb, read_body, receive, verb_of, write_options
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.shown import View
from nodeipam_ctl.demo.apiserver.subresources import special
from nodeipam_ctl.demo.apiserver.watch import Watch
from nodeipam_ctl.demo.apiserver.writes import Outcome, WriteOptions

if TYPE_CHECKING:
    from nodeipam_ctl.demo.apiserver.server import Cluster

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_PROBES: Final = frozenset({"/readyz", "/livez", "/healthz"})
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


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
        except Cut:
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
        verb = verb_of(request.method, target, query)
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
        check_verb(resource, target, verb)
        struck = cluster.faults.strike(verb, target)
        if struck:
            await happen_before(struck)
        if verb == "watch":
            return await self._watch(request, resource, target, query)
        body = await receive(request)
        answer = await self._dispatch(request, resource, target, verb, query, body, user)
        if any(fault.effect is Effect.CUT_AFTER for fault in struck):
            raise Cut
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
        options = write_options(request.headers.get("User-Agent", ""), query)
        if verb == "patch":
            kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
            if target.subresource == "scale":
                stored = objects.find(resource, namespace, target.name)
                return _json(special(cluster, resource, target, verb, stored, patching.read(kind, body)))
            return _outcome(
                objects.patch(resource, namespace, target.name, target.subresource, kind, body, options)
            )
        sent = read_body(
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
                raise Cut
            await response.write_eof()
        except ConnectionResetError:
            return web.Response(status=500)  # the client left
        finally:
            cluster.faults.close_tap(tap)
        return response


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
