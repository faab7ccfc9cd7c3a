"""How is a ledger page written, and read again when the answer leaves doubt? One request at a time for each page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from nodeipam_ctl.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NodeIPAMError,
    NotFound,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from nodeipam_ctl.ipam.page_writes import PageWrite
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client, segment
from nodeipam_ctl.kube.wire.envelope import Unreadable, decode_metadata
from nodeipam_ctl.kube.wire.slices import POD_CIDR_SLICES, decode_slice, encode_slice
from nodeipam_ctl.model import LedgerPage
from nodeipam_ctl.prefixes import Network

log = structlog.get_logger(__name__)

_STANDING_STILL_S = 5.0
"""How long a page rests that the server refuses for reasons a retry cannot change (RBAC, schema), in seconds."""


class Outcomes(Protocol):
    """Who wants to know what became of a page."""

    def wrote(self, write: PageWrite, *, resource_version: str, uid: str) -> None:
        """The write stands."""
        ...

    def reread(self, write: PageWrite, page: LedgerPage | None) -> None:
        """The write did not stand, or may not: this is the page now; None when it does not exist."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    write: PageWrite
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.02, cap_s=10.0))
    read_only: bool = False
    timer: asyncio.TimerHandle | None = None


class PageWriter:
    """Writes pages, so many at a time, and never two requests for one page.

    A write is tried once. Whatever its answer, if it is not a clear yes the page is read again until that succeeds: its
    resourceVersion decides what comes next, and a late copy of the write can then only fail.

    Attributes:
        idle: set while nothing is under way.
        problem: why pages cannot be written at present, one line; empty when they can.
    """

    def __init__(
        self,
        client: Client,
        outcomes: Outcomes,
        *,
        in_flight: int,
        counted: Callable[[str, int], None],
        timeout_s: float = 5.0,
    ) -> None:
        self._client = client
        self._outcomes = outcomes
        self._in_flight = in_flight
        self._counted = counted
        self._timeout_s = timeout_s
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._open: dict[str, _Job] = {}
        self.idle = asyncio.Event()
        self.idle.set()
        self.problem = ""

    def __contains__(self, name: object) -> bool:
        return name in self._open

    def __len__(self) -> int:
        return len(self._open)

    def under_way(self) -> tuple[Network, ...]:
        """The pages of which a write is under way."""
        return tuple(job.write.page.page for job in self._open.values())

    def submit(self, write: PageWrite) -> None:
        """Starts a write of a page of which none is under way."""
        assert write.page.name not in self._open, write.page.name
        job = self._open[write.page.name] = _Job(write=write)
        self.idle.clear()
        self._queue.put_nowait(job)

    async def run(self) -> None:
        """Works for ever; cancel it to stop."""
        try:
            async with asyncio.TaskGroup() as workers:
                for number in range(self._in_flight):
                    workers.create_task(self._work(), name=f"page-{number}")
        finally:
            for job in self._open.values():
                if job.timer is not None:
                    job.timer.cancel()

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            try:
                if not job.read_only:
                    job.read_only = True
                    await self._write(job)
                else:
                    await self._read(job)
            except NodeIPAMError as exc:
                self._later(job, exc)

    async def _write(self, job: _Job) -> None:
        page = job.write.page
        body = encode_slice(page)
        try:
            if page.resource_version:
                answer = await self._client.replace(_path(page), body, timeout_s=self._timeout_s)
            else:
                answer = await self._client.create(POD_CIDR_SLICES, body, timeout_s=self._timeout_s)
        except (Conflict, AlreadyExists) as exc:
            self._counted("conflict", 0)
            log.info("ledger_page_changed_by_another", page=page.name, reason=str(exc))
            await self._read(job)
        except OutcomeUnknown as exc:
            self._counted("unknown", 0)
            log.warning("ledger_page_unsettled", page=page.name, reason=str(exc))
            await self._read(job)
        except NotFound:
            await self._read(job)
        else:
            metadata = decode_metadata(answer)
            if metadata is None or not metadata.resourceVersion:
                raise Transient(f"page {page.name}: the server's answer has no resourceVersion")
            self._counted("written", len(page.entries))
            self._close(job)
            self._outcomes.wrote(job.write, resource_version=metadata.resourceVersion, uid=metadata.uid)

    async def _read(self, job: _Job) -> None:
        page = job.write.page
        try:
            found = decode_slice(await self._client.get(_path(page), timeout_s=self._timeout_s))
        except NotFound as exc:
            # A single 404 may come from a proxy, or mean that the CRD is missing: is the collection there?
            await self._client.get(f"{POD_CIDR_SLICES}?limit=1", timeout_s=self._timeout_s)
            log.debug("ledger_page_missing", page=page.name, reason=str(exc))
            found = None
        self._close(job)
        if isinstance(found, Unreadable):
            found = LedgerPage(
                name=page.name,
                page=page.page,
                uid=found.uid,
                resource_version=found.resource_version,
                findings=(found.finding,),
            )
        self._outcomes.reread(job.write, found)

    def _close(self, job: _Job) -> None:
        del self._open[job.write.page.name]
        if not self._open:
            self.idle.set()
        if self.problem:
            self.problem = ""
            log.info("ledger_writable_again")

    def _later(self, job: _Job, exc: NodeIPAMError) -> None:
        at_least_s = exc.retry_after_s if isinstance(exc, Transient) else None
        if isinstance(exc, Forbidden | Invalid | Permanent):
            at_least_s = _STANDING_STILL_S
        wait_s = job.backoff.next_s(at_least_s=at_least_s)
        if not self.problem:
            log.error("ledger_page_not_written", page=job.write.page.name, reason=str(exc))
        self.problem = f"ledger page {job.write.page.name} cannot be written: {exc}"
        job.timer = asyncio.get_running_loop().call_later(wait_s, self._queue.put_nowait, job)


def _path(page: LedgerPage) -> str:
    return f"{POD_CIDR_SLICES}/{segment(page.name)}"
