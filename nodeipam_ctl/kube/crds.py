"""How do changes of our custom resources reach us? kopf watches them in its own thread and hands them to our loop.

This file is kopf's only home. kopf is used as a watcher and nothing else, so that it never writes to the API server:

- Only `on.event` handlers: kopf then needs no finalizer of its own, no progress and no last-handled annotation. (Its
  create, update and delete handlers write all three, and from every replica.) Our finalizer belongs to the reconciler.
- No scanning of CRDs: it would hold every CRD of the cluster with its schema in memory. A resource whose CRD appears later
  is found by the reconciler's own list, which restarts this watch with the new set of resources.
- Its own thread and event loop: kopf costs about 1 ms an event, and it cancels every task of its loop when it ends.
- Posting, peering and its last-resort SIGKILL are off; `worker_limit` stays None, because any limit stalls kopf.

What kopf does not tell: that its first list is complete, and what was deleted while it was cut off. So whoever uses this
watch lists the resources as well (through `client`), at the start and now and then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp  # kopf takes its HTTP session as an aiohttp object; nothing is requested here
import kopf
import structlog

from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.kube.auth import Access
from nodeipam_ctl.kube.backoff import Backoff

log = structlog.get_logger(__name__)

_NEVER_A_FINALIZER = "nodeipam.dev/kopf-sets-no-finalizer"
"""kopf removes the finalizer it calls its own from objects it has no delete handler for: this name must not be ours."""

_IDENTITY: Any = "nodeipam-ctl"
"""Only peering would use it; without one, kopf asks the resolver for our host name, and blocks."""

_STOP_WITHIN_S = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomResource:
    """One kind of custom resource, cluster-scoped."""

    group: str
    version: str
    plural: str

    @property
    def path(self) -> str:
        """Where its objects are listed."""
        return f"/apis/{self.group}/{self.version}/{self.plural}"


Deliver = Callable[[CustomResource, bool, Mapping[str, Any]], None]
"""Called in our loop with: the resource, whether the object was deleted, and the object as the API sent it."""


class CustomResourceWatch:
    """Watches some custom resources until it is stopped; starts kopf again, with growing pauses, whenever it fails.

    Args:
        access: the API server and our credentials; kopf has no other.
        resources: all must exist now; kopf ignores one that does not.
        deliver: called in the loop in which `start` was called, in the order of each object's changes.
    """

    def __init__(self, access: Access, resources: Sequence[CustomResource], deliver: Deliver) -> None:
        self._access = access
        self._resources = tuple(resources)
        self._deliver = deliver
        self._ours: asyncio.AbstractEventLoop | None = None
        self._kopfs: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = threading.Event()
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def resources(self) -> tuple[CustomResource, ...]:
        """What is watched."""
        return self._resources

    def start(self) -> None:
        """Starts the thread; must be called in the loop that gets the changes."""
        self._ours = asyncio.get_running_loop()
        # A daemon thread: a kopf that would not end must not keep a process alive that was told to stop.
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends kopf and its thread; returns within a second, whatever kopf does."""
        if self._thread is None:
            return
        self._stopping.set()
        if self._kopfs is not None and self._stop is not None:
            try:
                self._kopfs.call_soon_threadsafe(self._stop.set)
            except RuntimeError:  # its loop ended between the check and the call
                log.debug("kopf_ended_first")
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await self._ended.wait()
        except TimeoutError:
            log.warning("kopf_did_not_stop", within_s=_STOP_WITHIN_S)
        else:
            self._thread.join(timeout=0.1)
        self._thread = None

    # ---- everything below runs in kopf's thread ----

    def _run(self) -> None:
        try:
            asyncio.run(self._keep_running())
        finally:
            self._call_ours(self._ended.set)

    async def _keep_running(self) -> None:
        self._stop = asyncio.Event()
        self._kopfs = asyncio.get_running_loop()
        if self._stopping.is_set():
            return
        _route_logs()
        backoff = Backoff(first_s=0.5, cap_s=30.0)
        while not self._stop.is_set():
            started_s = self._kopfs.time()
            try:
                await kopf.operator(
                    registry=self._registry(),
                    settings=_settings(),
                    identity=_IDENTITY,
                    standalone=True,
                    clusterwide=True,
                    stop_flag=self._stop,
                )
            except Exception as exc:  # noqa: BLE001 - one of the program's endless loops: kopf may fail, we go on
                if backoff.attempts == 0:
                    log.warning("kopf_failed", error=f"{type(exc).__name__}: {exc}")
            if self._kopfs.time() - started_s > 60:
                backoff.reset()
            try:
                async with asyncio.timeout(backoff.next_s()):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="nodeipam-ctl")(self._login)
        for resource in self._resources:
            handler = self._handler(resource)
            kopf.on.event(resource.group, resource.version, resource.plural, id="seen", registry=registry)(
                handler
            )
        return registry

    def _handler(self, resource: CustomResource) -> Callable[..., Awaitable[None]]:
        async def seen(event: Any, **_: Any) -> None:
            self._call_ours(self._deliver, resource, event["type"] == "DELETED", event["object"])

        return seen

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """Kopf's session, on our credentials: the same TLS context, and a bearer token that may rotate."""
        access = self._access

        async def authenticate(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
            if access.server_hostname is not None:
                request.server_hostname = access.server_hostname
            if access.token is not None:
                request.headers["Authorization"] = f"Bearer {await self._token()}"
            response = await handler(request)
            if response.status == 401 and access.token is not None:
                self._call_ours(access.token.rejected)
            return response

        return kopf.AiohttpSession(
            server=access.server,
            default_namespace=access.namespace,
            aiohttp_session=aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=access.ssl if access.ssl is not None else False),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(authenticate,),
                trust_env=False,
            ),
        )

    async def _token(self) -> str:
        """Asks in our loop, because a TokenSource belongs to one loop."""
        assert self._ours is not None
        assert self._access.token is not None
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(_ask(self._access.token.token), self._ours)
        )

    def _call_ours(self, function: Callable[..., object], *arguments: object) -> None:
        assert self._ours is not None
        try:
            self._ours.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # our loop is closed: the program ends
            self._stopping.set()


async def _ask(token: Callable[[], Awaitable[str]]) -> str:
    try:
        return await token()
    except NodeIPAMError as exc:
        raise kopf.TemporaryError(str(exc), delay=5) from exc


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None
    settings.persistence.finalizer = _NEVER_A_FINALIZER
    settings.queueing.exit_timeout = 0.1
    settings.networking.request_timeout = 15.0
    settings.networking.connect_timeout = 5.0
    settings.networking.error_backoffs = (0.5, 1, 2, 4)
    settings.watching.reconnect_backoff = 0.5
    return settings


class _ToOurs(logging.Handler):
    """Kopf's warnings as structured lines, each text once; its progress reports only at debug level.

    That the API server cannot be reached is left out: our own client says it, once.
    """

    _EXPECTED = ("OS signals are ignored", "Request attempt")

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno < logging.WARNING or text.startswith(self._EXPECTED):
            log.debug("kopf_said", text=text)
        elif text not in self._said and len(self._said) < 200:
            self._said.add(text)
            log.warning("kopf_warned", text=text)


_TO_OURS = _ToOurs()


def _route_logs() -> None:
    logger = logging.getLogger("kopf")
    logger.propagate = False
    if _TO_OURS not in logger.handlers:
        logger.addHandler(_TO_OURS)
