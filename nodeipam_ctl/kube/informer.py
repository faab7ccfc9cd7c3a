"""What exists now, and what changed? A chunked list, then a watch, then again from where it stopped: a store of slim values.

One turn (`turn`) is one list if one is needed, and one watch; `run` repeats it for ever. The caller owns the task.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import structlog
from msgspec import Raw

from nodeipam_ctl.errors import Expired, NodeIPAMError, NotFound, Permanent, Transient
from nodeipam_ctl.kube.answers import error_of, parse_status
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client, SilentWatch, query
from nodeipam_ctl.kube.deltas import Added, Changed, Delta, Removed
from nodeipam_ctl.kube.history import Last, is_behind, latest, recognise, version_of
from nodeipam_ctl.kube.kind import Resource
from nodeipam_ctl.kube.wire.envelope import decode_event, decode_list

log = structlog.get_logger(__name__)

T = TypeVar("T")

_SHORT_WATCH_S = 1.0
_ABSENCES_BELIEVED = 3
"""A server that is starting may say 404 for custom resources that do exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How an informer spends time, in seconds.

    Attributes:
        watch_s: how long the server keeps one watch open; each watch takes between half of it and all of it.
        silence_s: a watch that brings nothing for so long, not even a bookmark, is given up. The API server sends a bookmark
            about once a minute.
        absent_s: how long until an optional resource that the server does not have is asked for again.
        page: objects in one list request. With 500, as kubectl asks for, 5,000 Nodes leave 5 MB more of heap behind than with
            200, for no less CPU.
    """

    watch_s: float = 300.0
    silence_s: float = 80.0
    list_timeout_s: float = 30.0
    absent_s: float = 15.0
    page: int = 200


class Informer(Generic[T]):
    """The present objects of one Resource.

    Deltas reach the handler in the order of the server's events, synchronously; of a list first the removals. The handler
    must not block; an exception in it is a bug and ends `run`.

    Attributes:
        store: the records by key; read-only for callers. Complete once `synced` is set.
        synced: set after the first complete list has been delivered, and never cleared.
        lists: how many complete lists have been delivered.
        stale_since_s: since when (the clock's seconds) the store may be out of date; None while a watch is open.
        problem: why it is stale, one line; empty when it is not.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        handler: Callable[[Delta[T]], None] | None = None,
        *,
        timing: Timing | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.resource = resource
        self.store: dict[str, T] = {}
        self.synced = asyncio.Event()
        self.lists = 0
        self.stale_since_s: float | None = clock()
        self.problem = "not listed yet"
        self._client = client
        self._handler = handler or (lambda _delta: None)
        self._timing = timing or Timing()
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._sleep = sleep
        self._version = ""
        self._list_wanted = True
        self._lost = False
        self._watching_since_s: float | None = None
        self._window: asyncio.Timeout | None = None
        self._fingerprints: dict[str, int] = {}
        self._absences = 0
        self._unnamed = 0
        self._listed: Last | None = None
        self._event: tuple[str, Raw] | None = None

    @property
    def version(self) -> str:
        """The resourceVersion that the store is at; empty before the first list."""
        return self._version

    def relist(self) -> None:
        """Asks for a fresh complete list, now: a watch that is open is ended for it."""
        self._list_wanted = True
        if self._window is not None:
            self._window.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Lists and watches for ever; ends only by cancellation or by a bug."""
        with self._client.reachability.when_replaced(self._replaced):
            while True:
                await self.turn()

    async def turn(self) -> None:
        """One list if one is needed, one watch until it ends, and the wait after a failure."""
        self._watching_since_s = None
        fresh = self._list_wanted or not self._version
        try:
            if fresh:
                await self.list_once()
            # `relist` may have been called during the list, which may be older than its reason.
            if not self._list_wanted:
                await self.watch_once()
        except Expired as exc:
            log.info("list_wanted", resource=self.resource.name, reason=str(exc))
            self._client.reachability.doubt(self.resource.name)
            if self._watched_long():
                self._backoff.reset()
            elif fresh:  # the list itself expired between two pages, or at once the version that it gave
                await self._sleep(self._backoff.next_s())
            self._list_wanted = True
            return
        except NodeIPAMError as exc:
            # The type may have gone: only a list can tell.
            self._list_wanted = self._list_wanted or isinstance(exc, NotFound)
            await self._failed(exc)
            return
        if self._watched_long():
            self._backoff.reset()
        else:  # a server that ends watches at once must not be asked in a tight loop
            await self._sleep(self._backoff.next_s())

    async def list_once(self) -> None:
        """One complete list; its difference to the store goes to the handler, and the store is then the list.

        Nothing is delivered before the last page is in: half a list must never look like removals.

        Raises:
            NodeIPAMError: from the client; the store is then as it was.
        """
        self._list_wanted = False
        try:
            await self._list()
        except BaseException:
            self._list_wanted = True
            raise

    async def _list(self) -> None:
        fresh: dict[str, T] = {}
        seen: set[str] = set()
        more: str | None = ""
        version = ""
        last: Last | None = None
        while more is not None:
            items, version, more = await self._page(more)
            for item in items:
                last = latest(last, item)
                record = self._decode(item)
                if record is None:
                    continue
                key = self.resource.key(record)
                seen.add(key)
                old = self.store.get(key)
                if old is not None and self.resource.same(old, record):
                    self.store[key] = record
                else:
                    fresh[key] = record
            await asyncio.sleep(0)  # a page of 500 took some milliseconds: let others run
        for key in [key for key in self.store if key not in seen]:
            self._handler(Removed(old=self.store.pop(key)))
        for key, record in fresh.items():
            self._put(key, record)
        self._fingerprints.clear()
        self._version = version
        self._listed, self._event = last, None
        self._lost = False
        self.lists += 1
        if not self.synced.is_set():
            log.info("resource_listed", resource=self.resource.name, objects=len(self.store))
        self.synced.set()

    async def watch_once(self) -> None:
        """One watch from the last known resourceVersion until the server ends it or a new list is wanted.

        Raises:
            Expired: the server has forgotten that version; list again.
            Transient: no connection, cut, or silent for too long; watch again from the same version.
        """
        if not self._version:  # an optional resource that the server does not have
            self._watching()
            await self._sleep(self._timing.absent_s)
            return
        timing = self._timing
        heard = False
        if self._lost:
            last = self._latest()
            chosen = {"fieldSelector": f"metadata.name={last.name}"} if last is not None else {}

            def one(match: str) -> str:
                return self._path(
                    limit=1, resourceVersion=self._version, resourceVersionMatch=match, **chosen
                )

            await recognise(self._client, one, version=self._version, last=last, fits=self._fits)
            if self._list_wanted:
                return
        watch_s = int(random.uniform(timing.watch_s / 2, timing.watch_s)) or 1
        path = self._path(
            watch="1", resourceVersion=self._version, allowWatchBookmarks="true", timeoutSeconds=watch_s
        )
        try:
            async with (
                asyncio.timeout(None) as self._window,
                self._client.watch(path, silence_s=timing.silence_s) as lines,
            ):
                self._watching()
                async for line in lines:
                    heard = True
                    self.take(line)
            if self._clock() - (self._watching_since_s or 0) < watch_s - _SHORT_WATCH_S:
                self._connection_lost()  # ended before its time: the server stops, and another may take its place
        except TimeoutError:
            if not self._list_wanted:
                raise
        except SilentWatch:
            # Not one word in its whole life: perhaps the server's history was set back (a restored backup) and our place in it
            # lies in its future. Such a watch stays silent for ever; only a list tells.
            self._list_wanted = not heard
            raise
        finally:
            self._window = None

    def take(self, line: bytes) -> None:
        """One line of our watch into the store and, if it matters, to the handler.

        Raises:
            Expired: the line says that the version is too old, or its own is older than ours: the server's history was set back.
            NodeIPAMError: the line is another error, or no event at all.
        """
        version = self.apply(line)
        if is_behind(version, self._version):
            self._client.reachability.replaced()
            raise Expired(
                f"WATCH {self.resource.path}: the server is at {version}, behind our {self._version}"
            )
        self._version = version or self._version

    def apply(self, line: bytes) -> str:
        """One line of anybody's watch into the store and to the handler; its version, but our own place stays."""
        kind, raw = decode_event(line)
        match kind:
            case "ADDED" | "MODIFIED":
                self._event = kind, raw  # read when somebody asks: most events are heartbeats
                return self._present(raw)
            case "DELETED":
                self._event = kind, raw
                record = self._decode(raw)
                if record is not None:
                    key = self.resource.key(record)
                    self._fingerprints.pop(key, None)
                    old = self.store.pop(key, None)
                    if old is not None:
                        self._handler(Removed(old=old))
                return version_of(raw)
            case "BOOKMARK":
                return version_of(raw)
            case "ERROR":
                _, _, code, _ = parse_status(bytes(raw))
                raise error_of(f"WATCH {self.resource.path}", code or 500, bytes(raw))
            case _:
                raise Transient(f"WATCH {self.resource.path}: unknown event type {kind!r}")

    def _present(self, raw: Raw) -> str:
        """An object that exists, as the server has it now; its resourceVersion."""
        glance = self.resource.glance(raw) if self.resource.glance is not None else None
        if glance is not None and self._fingerprints.get(glance[0]) == glance[2]:
            return glance[1]
        record = self._decode(raw)
        if record is None:
            return version_of(raw)
        key = self.resource.key(record)
        self._put(key, record)
        if glance is not None:
            self._fingerprints[key] = glance[2]
        return glance[1] if glance is not None else version_of(raw)

    def _put(self, key: str, record: T) -> None:
        old = self.store.get(key)
        self.store[key] = record
        if old is None:
            self._handler(Added(new=record))
        elif not self.resource.same(old, record):
            self._handler(Changed(old=old, new=record))

    def _decode(self, raw: Raw) -> T | None:
        record = self.resource.decode(raw)
        if record is None:
            self._unnamed += 1
            if self._unnamed == 1:
                log.warning("object_ignored", resource=self.resource.name, reason="it has no readable name")
        return record

    async def _page(self, more: str) -> tuple[tuple[Raw, ...], str, str | None]:
        """Items and resourceVersion of one page, and the token of the next; None after the last."""
        path = self._path(limit=self._timing.page, **({"continue": more} if more else {}))
        try:
            page = decode_list(await self._client.get(path, timeout_s=self._timing.list_timeout_s))
        except NotFound as exc:
            if not self.resource.optional:
                raise self.resource.missing(exc) from exc
            self._absences += 1
            if self.store and self._absences < _ABSENCES_BELIEVED:
                raise Transient(f"{exc}; asked again before it is believed", retry_after_s=1.0) from exc
            return (), "", None
        self._absences = 0
        return page.items, page.resource_version, page.more or None

    def _path(self, **parameters: str | int) -> str:
        return query(
            self.resource.path,
            {
                "labelSelector": self.resource.label_selector,
                "fieldSelector": self.resource.field_selector,
                **parameters,
            },
        )

    def _latest(self) -> Last | None:
        """The latest change that our store knows of."""
        if self._event is None:
            return self._listed
        kind, raw = self._event
        found = latest(None, raw)
        return replace(found, gone=kind == "DELETED") if found is not None else self._listed

    def _fits(self, raw: Raw) -> bool:
        glance = self.resource.glance(raw) if self.resource.glance is not None else None
        if glance is not None and self._fingerprints.get(glance[0]) == glance[2]:
            return True
        record = self._decode(raw)
        old = self.store.get(self.resource.key(record)) if record is not None else None
        return record is None or (old is not None and self.resource.same(old, record))

    def _replaced(self) -> None:
        self._client.reachability.doubt(self.resource.name)
        self.relist()

    def _connection_lost(self) -> None:
        self._lost = True
        self._client.reachability.doubt(self.resource.name)

    def _watching(self) -> None:
        """The watch is open: the store is as fresh as it gets."""
        self._lost = False
        self._client.reachability.answered()
        self._client.reachability.trust(self.resource.name)
        self._watching_since_s = self._clock()
        self.stale_since_s = None
        self.problem = ""

    def _watched_long(self) -> bool:
        return self._watching_since_s is not None and self._clock() - self._watching_since_s >= _SHORT_WATCH_S

    async def _failed(self, exc: NodeIPAMError) -> None:
        self._connection_lost()
        if self.stale_since_s is None:
            self.stale_since_s = self._clock()
        if self._watched_long():
            self._backoff.reset()
        if isinstance(exc, Permanent):
            self._client.reachability.answered()
            if self.problem != str(exc):
                log.warning("resource_refused", resource=self.resource.name, reason=str(exc))
        elif self._backoff.attempts:  # the first is often a passing cut, and the next attempt is near
            self._client.reachability.failed(str(exc))
        self.problem = str(exc)
        retry_after_s = exc.retry_after_s if isinstance(exc, Transient) else None
        await self._sleep(self._backoff.next_s(at_least_s=retry_after_s))
