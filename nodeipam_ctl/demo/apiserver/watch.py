"""What does a watch send, and when does it end? A cursor over a bucket's history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from nodeipam_ctl.demo.apiserver import causes, lists, wire
from nodeipam_ctl.demo.apiserver.errors import Json, expired, invalid
from nodeipam_ctl.demo.apiserver.nodes import zero_node
from nodeipam_ctl.demo.apiserver.query import Query, flag
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import ADDED, DELETED, MODIFIED, Bucket, Event, Store, Stored

BOOKMARK = "BOOKMARK"
_TOO_OLD = "The resourceVersion for the provided watch is too old."
_LAG_POLL_S = 0.02
_HEADS = {kind: b'{"type":"%s","object":' % kind.encode() for kind in (ADDED, MODIFIED, DELETED)}
_TAIL = b"}\n"

# Turns (event type, object) into the JSON of the event's object: as it is, as Table, as PartialObjectMetadata.
Render = Callable[[str, Stored], bytes]


@dataclass(slots=True, eq=False)
class Tap:
    """The tester's hand on running watches (see `faults`).

    Attributes:
        lag_s: Events are seen this much later.
        stalled: No event, no bookmark, but the connection stays open.
        cut: Ends the stream at once.
    """

    lag_s: float = 0.0
    stalled: bool = False
    cut: bool = False
    waiter: asyncio.Event | None = None

    def wake(self) -> None:
        """Let the watch notice what changed."""
        if self.waiter is not None:
            self.waiter.set()


@dataclass(slots=True)
class Watch:
    """One watch request.

    Attributes:
        render: How objects are shown; None sends them as stored.
        bookmark_every_s: Seconds between bookmarks, when the client allows them.
    """

    store: Store
    resource: Resource
    namespace: str
    query: Query
    render: Render | None
    tap: Tap
    bookmark_every_s: float
    timeout_s: float
    selection: lists.Selection = field(init=False)
    since_rv: int = field(init=False)

    def __post_init__(self) -> None:
        self.selection = lists.selection(self.resource, self.query)
        # Here, not when the stream begins: then it would be too late for a 422.
        self.since_rv = lists.version_of(self.query.get("resourceVersion", ""))
        self._check_options()

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream: one JSON line per event, several joined when they come in a burst."""
        bucket = self.store.bucket(self.resource.bucket)
        waiter = self.tap.waiter = bucket.subscribe()
        try:
            async for chunk in self._lines(bucket, waiter):
                yield chunk
        finally:
            bucket.unsubscribe(waiter)

    async def _lines(self, bucket: Bucket, waiter: asyncio.Event) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeout_s
        rv = self.since_rv
        initial = self._wants_initial(rv)
        if not initial and rv < bucket.compacted_rv:
            yield self._error()
            return
        if initial:
            rv = self.store.visible_rv(bucket, self.tap.lag_s)
            chunk = b"".join(self._line(ADDED, stored) for stored in self._existing(bucket, rv))
            if flag(self.query, "sendInitialEvents"):
                chunk += self._bookmark(rv, initial_end=True)
            if chunk:
                yield chunk
        cursor = bucket.sequence_after(rv)
        bookmarks = flag(self.query, "allowWatchBookmarks")
        next_bookmark = loop.time() + self.bookmark_every_s
        while not self.tap.cut:
            waiter.clear()
            if cursor < bucket.first or (self.store.bucket(self.resource.bucket) is not bucket):
                yield self._error()
                return
            if not self.tap.stalled:
                chunk, cursor = self._burst(bucket, cursor, rv)
                if chunk:
                    yield chunk
                    continue
            now = loop.time()
            if now >= end:
                return
            if bookmarks and now >= next_bookmark and not self.tap.stalled:
                next_bookmark = now + self.bookmark_every_s
                yield self._bookmark(self.store.visible_rv(bucket, self.tap.lag_s))
            wait = min(end, next_bookmark) - now if bookmarks else end - now
            if self.tap.lag_s:
                wait = min(wait, _LAG_POLL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0.001)):
                    await waiter.wait()

    def _burst(self, bucket: Bucket, cursor: int, floor_rv: int) -> tuple[bytes, int]:
        """Events from `cursor` on, as one chunk, and the new cursor."""
        start = cursor - bucket.first
        end = min(len(bucket.history), start + 512)
        if start >= end:
            return b"", cursor
        events = bucket.history[start:end]
        if self.tap.lag_s:
            visible = self.store.visible_rv(bucket, self.tap.lag_s)
            events = [event for event in events if event.rv <= visible]
        plain = self.render is None and self.selection.everything and not self.namespace
        parts: list[bytes] = []
        for event in events:
            if event.rv <= floor_rv:  # a resourceVersion from the future: wait until the store gets there
                continue
            if plain:
                parts += (_HEADS[event.type], event.new.raw, _TAIL)
            else:
                parts.append(self._selected(event))
        return b"".join(parts), cursor + len(events)

    def _selected(self, event: Event) -> bytes:
        """The event as this watch sees it: leaving the selection is DELETED, entering it ADDED."""
        new, old = event.new, event.old
        if self.namespace and new.namespace != self.namespace:
            return b""
        had = old is not None and self.selection.matches(old)
        if event.type == DELETED:
            return self._line(DELETED, new) if had else b""
        has = self.selection.matches(new)
        if has:
            return self._line(MODIFIED if had else ADDED, new)
        if had and old is not None:
            return self._line(DELETED, old, rv=new.rv)
        return b""

    def _existing(self, bucket: Bucket, rv: int) -> list[Stored]:
        objects = bucket.at_version(rv)
        keys = bucket.keys if objects is bucket.objects else sorted(objects)
        return [
            objects[key]
            for key in keys
            if (not self.namespace or objects[key].namespace == self.namespace)
            and self.selection.matches(objects[key])
        ]

    def _line(self, type_: str, stored: Stored, rv: int | None = None) -> bytes:
        if rv is not None and rv != stored.rv:  # the state before it left, at the version at which it left
            obj = wire.decode(stored.raw)
            obj["metadata"]["resourceVersion"] = str(rv)
            stored = Stored(
                namespace=stored.namespace,
                name=stored.name,
                uid=stored.uid,
                rv=rv,
                raw=wire.encode_object(obj),
                labels=stored.labels,
                fields=stored.fields,
            )
        shown = self.render(type_, stored) if self.render else stored.raw
        return _HEADS[type_] + shown + _TAIL

    def _bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        meta: Json = {"resourceVersion": str(rv)}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Json = {"kind": self.resource.kind, "apiVersion": self.resource.group_version, "metadata": meta}
        if self.resource.kind == "Node":
            obj |= zero_node()
        return b'{"type":"BOOKMARK","object":%s}\n' % wire.encode(obj)

    def _error(self) -> bytes:
        return b'{"type":"ERROR","object":%s}\n' % wire.encode(expired(_TOO_OLD).status())

    def _wants_initial(self, rv: int) -> bool:
        if "sendInitialEvents" in self.query:
            return flag(self.query, "sendInitialEvents")
        return rv == 0

    def _check_options(self) -> None:
        asked = "sendInitialEvents" in self.query
        match = self.query.get("resourceVersionMatch", "")
        text = ""
        where = "resourceVersionMatch"
        if asked and match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        elif not asked and match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        elif flag(self.query, "sendInitialEvents") and not flag(self.query, "allowWatchBookmarks"):
            where = "sendInitialEvents"
            text = "sendInitialEvents requires setting allowWatchBookmarks"
        if text:
            raise invalid("ListOptions", "meta.k8s.io", "", [causes.forbidden(where, text)])
