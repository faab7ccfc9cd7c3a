"""Who leads? At most one holder of a Lease, who stops acting before anybody else may start.

The holder renews every `retry_s`. When no renewal has succeeded for `renew_deadline_s`, counted from *before* the request that
last succeeded was sent, it does not lead any more, whatever the server may say later. Others take over only when they have watched the
Lease unchanged for `duration_s` on their own monotonic clock: no machine's wall clock is ever compared with another's, so
clock skew does no harm. `duration_s` (15) - `renew_deadline_s` (8) is what is left for writes that were on their way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from nodeipam_ctl.errors import AlreadyExists, Conflict, Invalid, NodeIPAMError, NotFound
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.wire.leases import Lease, decode_lease, encode_lease, lease_path
from nodeipam_ctl.settings import LeaseSettings

log = structlog.get_logger(__name__)


def boottime_s() -> float:
    """Monotonic seconds in which a suspended machine's sleep counts: others' clocks went on, and so did the Lease."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Elector:
    """One candidate for one Lease.

    Use: `await elector.acquire()`, then act while `elector.leading()`; `elector.hold()` beside it renews and returns when the
    Lease is lost, after which the program must end at once without another write. `release()` on a clean stop.

    Args:
        identity: unique per process, not per host: a restarted process must not inherit what its predecessor believed.
        clock: monotonic seconds.
        wall_clock: seconds since the epoch, only for what is written into the Lease for people to read.

    Attributes:
        blind: why a candidate cannot see or take the Lease, one line; empty when it can, or sees that another one leads.
    """

    def __init__(
        self,
        client: Client,
        settings: LeaseSettings,
        *,
        identity: str,
        clock: Callable[[], float] = boottime_s,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.identity = identity
        self._client = client
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._seen: Lease | None = None
        self._seen_at_s = 0.0
        self._leading_until_s: float | None = None
        self._problem = ""
        self.blind = ""

    @property
    def holder(self) -> str:
        """Who held the Lease when we last looked; empty for nobody."""
        return self._seen.holder if self._seen is not None else ""

    def leading(self) -> bool:
        """Whether we may act at this moment; asked before every write."""
        return self._leading_until_s is not None and self._clock() < self._leading_until_s

    def leads_for_s(self) -> float:
        """For how many seconds more we may act if no renewal succeeds; 0 when not leading."""
        if self._leading_until_s is None:
            return 0.0
        return max(0.0, self._leading_until_s - self._clock())

    async def acquire(self) -> None:
        """Returns when we lead; tries for ever."""
        while not await self.try_acquire():
            await self._sleep(self.settings.retry_s)

    async def try_acquire(self) -> bool:
        """One turn of a candidate: looks at the Lease and takes it if it is free or was left unrenewed."""
        sent_s = self._clock()
        try:
            lease = await self._read()
            if lease is None:
                lease = Lease(namespace=self.settings.namespace, name=self.settings.name)
            else:
                self._observe(lease)
                if lease.holder not in {"", self.identity} and not self._expired(lease):
                    self._wait_for(lease)
                    return False
            await self._write(lease, sent_s)
        except (Conflict, AlreadyExists):
            return False  # another candidate was faster
        except NodeIPAMError as exc:
            self.blind = f"cannot take the Lease: {exc}"
            self._say(self.blind)
            return False
        self._problem = self.blind = ""
        log.info("lease_acquired", lease=self._where, identity=self.identity)
        return True

    async def hold(self) -> None:
        """Renews for as long as it succeeds; returns when we do not lead any more."""
        while self.leading():
            await self._sleep(min(self.settings.retry_s, self.leads_for_s()))
            await self.renew()
        log.error(
            "lease_lost", lease=self._where, reason=self._problem or "not renewed in time", holder=self.holder
        )

    async def renew(self) -> bool:
        """One turn of a holder: one renewal; False when it failed, which only the deadline makes final."""
        if not self.leading():
            return False
        assert self._seen is not None
        sent_s = self._clock()
        try:
            # No answer can help after the deadline, so none is waited for.
            async with asyncio.timeout(max(0.001, self.leads_for_s())):
                await self._write(self._seen, sent_s)
        except (
            Conflict,
            NotFound,
            Invalid,
        ) as exc:  # a Lease that was deleted is 400 "resourceVersion should not be set"
            return await self._settle(exc)
        except (NodeIPAMError, TimeoutError) as exc:
            self._say(f"cannot renew: {str(exc) or 'timed out'}")
            return False
        self._problem = ""
        return True

    async def release(self) -> None:
        """Gives the Lease up, so that another candidate need not wait for it to run out; failing to does no harm."""
        if not self.leading() or self._seen is None:
            return
        self._leading_until_s = None
        empty = Lease(
            namespace=self._seen.namespace,
            name=self._seen.name,
            uid=self._seen.uid,
            resource_version=self._seen.resource_version,
            holder="",
            duration_s=1,
            acquire_time=self._seen.acquire_time,
            renew_time=self._seen.renew_time,
            transitions=self._seen.transitions,
        )
        try:
            await self._client.replace(
                lease_path(empty.namespace, empty.name),
                encode_lease(empty),
                timeout_s=self.settings.request_timeout_s,
            )
        except NodeIPAMError as exc:
            log.warning("lease_not_released", lease=self._where, reason=str(exc))
        else:
            log.info("lease_released", lease=self._where)

    async def _settle(self, exc: NodeIPAMError) -> bool:
        """A renewal met another version: it was our own earlier one whose answer got lost, or we are out."""
        try:
            async with asyncio.timeout(max(0.001, self.leads_for_s())):
                sent_s = self._clock()
                lease = await self._read()
                if lease is not None and lease.holder == self.identity:
                    self._observe(lease)
                    await self._write(lease, sent_s)
                    return True
        except (NodeIPAMError, TimeoutError) as again:
            self._say(f"cannot renew: {str(again) or 'timed out'}")
            return False
        self._leading_until_s = None
        self._problem = f"another holder: {lease.holder or 'nobody'}" if lease is not None else str(exc)
        if lease is not None:
            self._observe(lease)
        return False

    async def _read(self) -> Lease | None:
        settings = self.settings
        try:
            answer = await self._client.get(
                lease_path(settings.namespace, settings.name), timeout_s=settings.request_timeout_s
            )
        except NotFound:
            return None
        return decode_lease(answer, namespace=settings.namespace, name=settings.name)

    async def _write(self, lease: Lease, sent_s: float) -> None:
        """Writes us as the holder; `sent_s` is when the attempt began, from which our right to act counts."""
        settings = self.settings
        ours = lease.held_by(self.identity, duration_s=int(settings.duration_s), now_s=self._wall_clock())
        if lease.resource_version:
            answer = await self._client.replace(
                lease_path(settings.namespace, settings.name),
                encode_lease(ours),
                timeout_s=settings.request_timeout_s,
            )
        else:
            answer = await self._client.create(
                lease_path(settings.namespace), encode_lease(ours), timeout_s=settings.request_timeout_s
            )
        stored = decode_lease(answer, namespace=settings.namespace, name=settings.name)
        self._observe(stored)
        self._leading_until_s = sent_s + settings.renew_deadline_s

    def _observe(self, lease: Lease) -> None:
        if self._seen is None or self._seen.observed != lease.observed:
            self._seen_at_s = self._clock()
        self._seen = lease

    def _expired(self, lease: Lease) -> bool:
        """Whether we ourselves have seen the Lease unchanged for its whole duration.

        The holder's own word about the duration counts when it is longer than ours: it may run with other settings.
        """
        return self._clock() - self._seen_at_s >= max(float(lease.duration_s), self.settings.duration_s)

    def _wait_for(self, lease: Lease) -> None:
        self.blind = ""
        self._say(f"{lease.holder} leads", event="lease_held_by_another")

    def _say(self, problem: str, *, event: str = "lease_not_renewed") -> None:
        if problem != self._problem:
            self._problem = problem
            level = log.info if event == "lease_held_by_another" else log.warning
            level(event, lease=self._where, reason=problem)

    @property
    def _where(self) -> str:
        return f"{self.settings.namespace}/{self.settings.name}"


@contextlib.asynccontextmanager
async def leadership(elector: Elector, *, lost: Callable[[], None]) -> AsyncIterator[None]:
    """Leads inside the block; calls `lost` (the program's hard exit) when the Lease cannot be kept; releases it at the end.

    Args:
        elector: the candidate; entering waits until it leads.
        lost: must end the process without running anything else of it.
    """
    await elector.acquire()

    def ended(task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if task.exception() is not None:  # a bug must not leave a leader that renews nothing
            log.error("lease_failed", error=repr(task.exception()))
        lost()

    task = asyncio.create_task(elector.hold(), name="lease")
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await elector.release()
