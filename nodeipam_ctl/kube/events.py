"""How do we tell a user of the cluster what happened? Events: gathered, counted, limited, and lost quietly when they cannot be sent."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from nodeipam_ctl.errors import NodeIPAMError, NotFound, OutcomeUnknown, Transient
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.wire.events import (
    EventType,
    Target,
    encode_event,
    event_name,
    event_patch,
    events_path,
)

log = structlog.get_logger(__name__)

__all__ = ["EventRecorder", "EventType", "Target"]

_Key = tuple[str, str, str, str]


@dataclass(slots=True, kw_only=True)
class _Pending:
    """What happened since it was last told."""

    target: Target
    kind: EventType
    reason: str
    message: str
    count: int
    first_s: float
    last_s: float
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """An Event that the server has, as far as we know."""

    name: str
    count: int
    first_s: float


class EventRecorder:
    """Takes Events without ever waiting; a task that runs `run` sends them.

    The same reason about the same object is one Event whose count grows and whose message is the newest; a `topic` tells
    apart what a newer message must not cover. What waits is bounded: the oldest is dropped. Attempts are bounded: an Event
    is a courtesy.

    Args:
        per_second: how many requests it makes at most, on average; `burst` at once.
        most_waiting: how many different Events may wait.

    Attributes:
        lost: how many Events were given up.
    """

    def __init__(
        self,
        client: Client,
        *,
        component: str,
        instance: str,
        per_second: float = 20.0,
        burst: int = 100,
        most_waiting: int = 1000,
        attempts: int = 3,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.lost = 0
        self._client = client
        self._component = component
        self._instance = instance
        self._per_second = per_second
        self._burst = float(burst)
        self._most_waiting = most_waiting
        self._attempts = attempts
        self._wall_clock = wall_clock
        self._clock = clock
        self._sleep = sleep
        self._waiting: OrderedDict[_Key, _Pending] = OrderedDict()
        self._told: OrderedDict[_Key, _Told] = OrderedDict()
        self._something = asyncio.Event()
        self._tokens = self._burst
        self._tokens_at_s = clock()
        self._backoff = Backoff(first_s=0.5, cap_s=10.0)
        self._unique = random.getrandbits(63)

    @property
    def waiting(self) -> int:
        """How many Events wait to be sent."""
        return len(self._waiting)

    def normal(self, target: Target, reason: str, message: str) -> None:
        """Tells that something expected happened."""
        self.record(target, EventType.NORMAL, reason, message)

    def warning(self, target: Target, reason: str, message: str, *, topic: str = "") -> None:
        """Tells that somebody should look."""
        self.record(target, EventType.WARNING, reason, message, topic=topic)

    def record(self, target: Target, kind: EventType, reason: str, message: str, *, topic: str = "") -> None:
        """Takes one Event; never waits and never fails."""
        now_s = self._wall_clock()
        key = (target.uid or target.name, reason, kind.value, topic)
        pending = self._waiting.get(key)
        if pending is not None:
            pending.count += 1
            pending.message = message
            pending.last_s = now_s
            return
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popitem(last=False)
            self.lost += 1
        self._waiting[key] = _Pending(
            target=target, kind=kind, reason=reason, message=message, count=1, first_s=now_s, last_s=now_s
        )
        self._something.set()

    async def run(self) -> None:
        """Sends for ever; ends only by cancellation."""
        while True:
            await self.turn()

    async def turn(self) -> None:
        """Waits for one Event and for the right to send it, and sends it."""
        while not self._waiting:
            self._something.clear()
            await self._something.wait()
        await self._sleep(self._wait_s())
        if not self._waiting:
            return
        self._tokens -= 1
        key, pending = self._waiting.popitem(last=False)
        try:
            await self._send(key, pending)
        except Transient as exc:
            pending.attempts += 1
            if pending.attempts < self._attempts and key not in self._waiting:
                self._waiting[key] = pending
            else:
                self._give_up(exc)
            await self._sleep(self._backoff.next_s(at_least_s=exc.retry_after_s))
        except OutcomeUnknown as exc:
            self._give_up(exc)  # sending it twice would count it twice
            await self._sleep(self._backoff.next_s())
        except NodeIPAMError as exc:
            self._give_up(exc)
        else:
            self._backoff.reset()

    async def _send(self, key: _Key, pending: _Pending) -> None:
        told = self._told.get(key)
        if told is not None:
            count = told.count + pending.count
            try:
                await self._client.patch(
                    events_path(told.name),
                    event_patch(message=pending.message, count=count, last_s=pending.last_s),
                )
            except NotFound:
                del self._told[key]  # the server keeps Events for an hour
            else:
                self._remember(key, _Told(name=told.name, count=count, first_s=told.first_s))
                return
        self._unique += 1
        name = event_name(pending.target, self._unique)
        await self._client.create(
            events_path(),
            encode_event(
                pending.target,
                name=name,
                kind=pending.kind,
                reason=pending.reason,
                message=pending.message,
                component=self._component,
                instance=self._instance,
                count=pending.count,
                first_s=pending.first_s,
                last_s=pending.last_s,
            ),
        )
        self._remember(key, _Told(name=name, count=pending.count, first_s=pending.first_s))

    def _remember(self, key: _Key, told: _Told) -> None:
        self._told[key] = told
        self._told.move_to_end(key)
        while len(self._told) > self._most_waiting:
            self._told.popitem(last=False)

    def _wait_s(self) -> float:
        """Seconds until a request is allowed: a token bucket."""
        now_s = self._clock()
        self._tokens = min(self._burst, self._tokens + (now_s - self._tokens_at_s) * self._per_second)
        self._tokens_at_s = now_s
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._per_second

    def _give_up(self, exc: NodeIPAMError) -> None:
        self.lost += 1
        if self.lost == 1:
            log.warning("event_lost", reason=str(exc), note="further losses are only counted")
