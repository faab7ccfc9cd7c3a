"""What goes wrong on demand? Faults for the tests of everything that talks to this server."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from nodeipam_ctl.demo.apiserver.errors import ApiError, expired, too_many_requests
from nodeipam_ctl.demo.apiserver.paths import Target
from nodeipam_ctl.demo.apiserver.watch import Tap


class Effect(StrEnum):
    """What happens to a request that a fault matches."""

    DELAY = "delay"  # answered `delay_s` late
    REFUSE = "refuse"  # answered with `status` (429 carries Retry-After), nothing is written
    CUT_BEFORE = "cut-before"  # the connection dies, nothing is written
    CUT_AFTER = "cut-after"  # the write takes effect, then the connection dies: the lost reply
    HANG = "hang"  # no answer until the client gives up
    EXPIRE = "expire"  # a list or watch is answered 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: which requests, what happens, how often.

    Attributes:
        effect: What happens.
        verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or `*`.
        resource: Plural name (`nodes`, `leases`) or `*`.
        subresource: `status` and the like, empty for the object itself, or `*`.
        namespace: One namespace, or `*`.
        name: One object, or `*`.
        times: How many requests it hits; None for all until removed.
        skip: How many matching requests pass before it starts.
        delay_s: Seconds, for `delay`.
        status: HTTP status, for `refuse`.
        retry_after_s: Seconds in Retry-After, for `refuse` with 429 or 503.
    """

    effect: Effect
    verb: str = "*"
    resource: str = "*"
    subresource: str = "*"
    namespace: str = "*"
    name: str = "*"
    times: int | None = None
    skip: int = 0
    delay_s: float = 0.0
    status: int = 500
    retry_after_s: int = 1

    def matches(self, verb: str, target: Target) -> bool:
        """Is this request hit?"""
        return (
            self.verb in ("*", verb)
            and self.resource in ("*", target.resource)
            and self.subresource in ("*", target.subresource)
            and self.namespace in ("*", target.namespace)
            and self.name in ("*", target.name)
        )


_NONE: Final[tuple[Fault, ...]] = ()


class Cut(Exception):
    """A fault: the connection dies here."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    skipped: int = 0
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The faults in force, and the running watches they may cut or stall.

    Attributes:
        watch_lag_s: Watches, and reads with resourceVersion=0, see the past of so many seconds ago.
        lease_skew_s: Added to acquireTime and renewTime of every Lease written: a holder with a wrong clock.
    """

    watch_lag_s: float = 0.0
    lease_skew_s: float = 0.0
    _armed: dict[int, _Armed] = field(default_factory=dict)
    _stalled: set[str] = field(default_factory=set)
    _taps: dict[Tap, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, fault: Fault) -> int:
        """Put a fault in force; the number to remove it by."""
        number = next(self._numbers)
        self._armed[number] = _Armed(fault)
        return number

    def remove(self, number: int) -> None:
        """Lift one fault."""
        self._armed.pop(number, None)

    def clear(self) -> None:
        """Lift everything: faults, stalls, lag and skew."""
        self._armed.clear()
        self._stalled.clear()
        self.watch_lag_s = 0.0
        self.lease_skew_s = 0.0
        for tap in self._taps:
            tap.stalled, tap.lag_s = False, 0.0
            tap.wake()

    def hits(self, number: int) -> int:
        """How many requests a fault has hit so far."""
        armed = self._armed.get(number)
        return armed.hits if armed else 0

    def strike(self, verb: str, target: Target) -> tuple[Fault, ...]:
        """The faults this request meets, each counted as used."""
        if not self._armed:
            return _NONE
        struck = []
        for armed in self._armed.values():
            if not armed.fault.matches(verb, target):
                continue
            if armed.skipped < armed.fault.skip:
                armed.skipped += 1
            elif armed.fault.times is None or armed.hits < armed.fault.times:
                armed.hits += 1
                struck.append(armed.fault)
        return tuple(struck)

    def cut_watches(self, resource: str = "*") -> int:
        """End every running watch of a resource at once; how many there were."""
        cut = [tap for tap, watched in self._taps.items() if resource in ("*", watched)]
        for tap in cut:
            tap.cut = True
            tap.wake()
        return len(cut)

    def stall_watches(self, resource: str = "*") -> None:
        """Let running and new watches of a resource fall silent: connected, but nothing comes."""
        self._stalled.add(resource)
        self._retune()

    def resume_watches(self, resource: str = "*") -> None:
        """Let stalled watches continue where they stopped."""
        if resource == "*":
            self._stalled.clear()
        self._stalled.discard(resource)
        self._retune()

    def lag_watches(self, lag_s: float) -> None:
        """Let watches and cached reads lag; 0 ends it."""
        self.watch_lag_s = lag_s
        self._retune()

    def running_watches(self, resource: str = "*") -> int:
        """How many watches are open."""
        return sum(resource in ("*", watched) for watched in self._taps.values())

    def open_tap(self, resource: str) -> Tap:
        """The hand on a watch that starts now."""
        tap = Tap()
        self._taps[tap] = resource
        self._tune(tap, resource)
        return tap

    def close_tap(self, tap: Tap) -> None:
        """The watch ended."""
        self._taps.pop(tap, None)

    def describe(self) -> dict[str, Any]:
        """Everything in force, for the admin endpoint."""
        return {
            "faults": {
                str(number): {name: getattr(armed.fault, name) for name in Fault.__dataclass_fields__}
                | {"hits": armed.hits}
                for number, armed in self._armed.items()
            },
            "stalled": sorted(self._stalled),
            "watchLagSeconds": self.watch_lag_s,
            "leaseSkewSeconds": self.lease_skew_s,
            "runningWatches": len(self._taps),
        }

    def _retune(self) -> None:
        for tap, resource in self._taps.items():
            self._tune(tap, resource)
            tap.wake()

    def _tune(self, tap: Tap, resource: str) -> None:
        tap.stalled = bool(self._stalled & {"*", resource})
        tap.lag_s = self.watch_lag_s


async def happen_before(struck: tuple[Fault, ...]) -> None:
    """Let the faults happen that come before the request takes effect.

    Raises:
        Cut: the connection is to die.
        ApiError: 410, 429, 5xx.
    """
    for fault in struck:
        match fault.effect:
            case Effect.DELAY:
                await asyncio.sleep(fault.delay_s)
            case Effect.HANG:
                await asyncio.Event().wait()
            case Effect.CUT_BEFORE:
                raise Cut
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
