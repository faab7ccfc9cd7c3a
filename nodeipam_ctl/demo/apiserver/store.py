"""Which objects exist, at which resourceVersion, and what happened before? The in-memory stand-in for etcd.

Objects are kept as the JSON bytes that clients receive; GET, list and watch send them as they are. One counter
numbers every write of every resource, as etcd's revision does. Each bucket (one per stored resource) keeps its
history; watches are cursors into it, lists at an older version undo it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Final

ADDED: Final = "ADDED"
MODIFIED: Final = "MODIFIED"
DELETED: Final = "DELETED"


class Stored:
    """One version of one object. `raw` is the whole object as JSON; `fields` what field selectors may ask for."""

    __slots__ = ("fields", "key", "labels", "name", "namespace", "raw", "rv", "uid")

    def __init__(
        self,
        *,
        namespace: str,
        name: str,
        uid: str,
        rv: int,
        raw: bytes,
        labels: Mapping[str, str] | None,
        fields: Mapping[str, str] | None,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.key = f"{namespace}/{name}" if namespace else name
        self.uid = uid
        self.rv = rv
        self.raw = raw
        self.labels = labels
        self.fields = fields


class Event:
    """One change: `new` for ADDED and MODIFIED, `old` for MODIFIED and DELETED (with DELETED, `new` is the last state)."""

    __slots__ = ("at_s", "new", "old", "rv", "type")

    def __init__(self, type_: str, rv: int, new: Stored, old: Stored | None, at_s: float) -> None:
        self.type = type_
        self.rv = rv
        self.new = new
        self.old = old
        self.at_s = at_s


class Bucket:
    """The objects of one resource, and their history.

    Attributes:
        objects: Current objects by key (`namespace/name`, or `name`).
        keys: The same keys, sorted as etcd sorts them.
        history: Changes, oldest first; `first` is the sequence number of `history[0]`.
        compacted_rv: Changes up to this version are gone.
        newest_rv: The version of the newest change.
    """

    __slots__ = ("_bytes", "_waiters", "compacted_rv", "first", "history", "keys", "newest_rv", "objects")

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.keys: list[str] = []
        self.history: list[Event] = []
        self.first = 0
        self.compacted_rv = 0
        self.newest_rv = 0
        self._bytes = 0
        self._waiters: set[asyncio.Event] = set()

    def subscribe(self) -> asyncio.Event:
        """An event that is set at every change; give it back with `unsubscribe`."""
        waiter = asyncio.Event()
        self._waiters.add(waiter)
        return waiter

    def unsubscribe(self, waiter: asyncio.Event) -> None:
        """The watcher left."""
        self._waiters.discard(waiter)

    def wake(self) -> None:
        """Let every watcher look again."""
        for waiter in self._waiters:
            waiter.set()

    def sequence_after(self, rv: int) -> int:
        """The sequence number of the first change newer than `rv`."""
        return self.first + bisect_left(self.history, rv + 1, key=_event_rv)

    def at_version(self, rv: int) -> Mapping[str, Stored]:
        """The objects as they were at `rv` (which must not be compacted), by undoing newer changes."""
        index = self.sequence_after(rv) - self.first
        if index == len(self.history):
            return self.objects
        objects = dict(self.objects)
        for event in reversed(self.history[index:]):
            if event.old is None:
                objects.pop(event.new.key, None)
            else:
                objects[event.new.key] = event.old
        return objects

    def record(self, event: Event, max_events: int, max_bytes: int) -> None:
        """Append a change and forget the oldest beyond the limits."""
        self.history.append(event)
        self.newest_rv = event.rv
        self._bytes += len(event.new.raw)
        if len(self.history) > max_events or self._bytes > max_bytes:
            self.forget(max(1, len(self.history) // 4))
        self.wake()

    def forget(self, count: int) -> None:
        """Drop the `count` oldest changes."""
        gone = self.history[:count]
        if not gone:
            return
        del self.history[:count]
        self.first += count
        self.compacted_rv = max(self.compacted_rv, gone[-1].rv)
        self._bytes -= sum(len(event.new.raw) for event in gone)


class Store:
    """All buckets and the one version counter.

    Args:
        max_events: Changes kept per bucket; older ones answer 410.
        max_bytes: Bytes of objects kept in one bucket's history.
        monotonic: Seconds, for the age of changes (watch lag).
    """

    def __init__(
        self,
        *,
        max_events: int = 20_000,
        max_bytes: int = 96 * 1024 * 1024,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rv = 1
        self._buckets: dict[str, Bucket] = {}
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._changed: set[asyncio.Future[None]] = set()

    def bucket(self, name: str) -> Bucket:
        """The bucket of a stored resource (`nodes`, `leases.coordination.k8s.io`), made when first asked for."""
        found = self._buckets.get(name)
        if found is None:
            found = self._buckets[name] = Bucket()
        return found

    def __iter__(self) -> Iterator[tuple[str, Bucket]]:
        return iter(self._buckets.items())

    def next_rv(self) -> int:
        """Claim the next version for a write that follows at once."""
        self.rv += 1
        return self.rv

    def put(self, bucket: Bucket, new: Stored) -> None:
        """Write an object whose `rv` came from `next_rv`."""
        old = bucket.objects.get(new.key)
        bucket.objects[new.key] = new
        if old is None:
            insort(bucket.keys, new.key)
        self._note(bucket, Event(ADDED if old is None else MODIFIED, new.rv, new, old, self._monotonic()))

    def remove(self, bucket: Bucket, last: Stored) -> None:
        """Delete an object; `last` is its last state carrying the deletion's version."""
        old = bucket.objects.pop(last.key)
        del bucket.keys[bisect_left(bucket.keys, last.key)]
        self._note(bucket, Event(DELETED, last.rv, last, old, self._monotonic()))

    def compact(self) -> None:
        """Forget all history: watches and exact lists at older versions answer 410 from now on."""
        for bucket in self._buckets.values():
            bucket.forget(len(bucket.history))
            bucket.compacted_rv = self.rv
            bucket.wake()

    def reset(self) -> None:
        """Lose everything, as an etcd that came back empty: versions start again at 1."""
        self.rv = 1
        for bucket in self._buckets.values():
            bucket.wake()
        self._buckets = {}

    def visible_rv(self, bucket: Bucket, lag_s: float) -> int:
        """The version a watch cache lagging `lag_s` seconds has reached."""
        if not lag_s:
            return self.rv
        horizon = self._monotonic() - lag_s
        for event in reversed(bucket.history):
            if event.at_s <= horizon:
                return event.rv
        return bucket.compacted_rv

    async def reached(self, rv: int, timeout_s: float) -> bool:
        """Wait until the store's version is at least `rv`; False when the time is over."""
        deadline = self._monotonic() + timeout_s
        while self.rv < rv:
            left = deadline - self._monotonic()
            if left <= 0:
                return False
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.add(change)
            try:
                async with asyncio.timeout(left):
                    await change
            except TimeoutError:
                return self.rv >= rv  # it may have come in the very moment in which the time was over
            finally:
                self._changed.discard(change)
        return True

    def _note(self, bucket: Bucket, event: Event) -> None:
        bucket.record(event, self._max_events, self._max_bytes)
        for change in self._changed:
            if not change.done():
                change.set_result(None)


def _event_rv(event: Event) -> int:
    return event.rv
