"""When is the status of a ClusterCIDR written, and its finalizer? At most once a second per object, exact when things are quiet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from nodeipam_ctl.controller.conditions import status, status_of_unreadable
from nodeipam_ctl.errors import Conflict, Invalid, NodeIPAMError, NotFound
from nodeipam_ctl.ipam.outcomes import PoolUsage
from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.kube.client import Client, segment
from nodeipam_ctl.kube.history import is_behind, version_of
from nodeipam_ctl.kube.wire.cluster_cidrs import CLUSTER_CIDRS, X_K8S_GROUP
from nodeipam_ctl.kube.wire.envelope import Unreadable, rfc3339
from nodeipam_ctl.model import ClusterCIDR, Finding, PoolName

log = structlog.get_logger(__name__)

FINALIZER = "nodeipam.dev/in-use"
"""Keeps a ClusterCIDR until no node holds a block of it."""

_EVERY_S = 1.0
_IN_FLIGHT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """A ClusterCIDR and what is known about it now."""

    pool: ClusterCIDR
    usage: PoolUsage
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class _Written:
    """What the API server holds, as far as we know, and in which version of the object."""

    uid: str
    version: str
    status: Mapping[str, Any] = field(default_factory=dict)


class StatusWriter:
    """Writes status and finalizers of our ClusterCIDRs, whenever `changed` was called since the last round.

    Objects of networking.x-k8s.io have no status, and their finalizer belongs to their own controller.

    Args:
        views: all ClusterCIDRs that can be read now; asked once in a round.
        unreadable: those that cannot.
        clock: seconds since the epoch.
        allocates: False when the controller only mirrors what others allocate.
    """

    def __init__(
        self,
        client: Client,
        views: Callable[[], Iterable[PoolView]],
        *,
        unreadable: Callable[[], Iterable[Unreadable]] = tuple,
        clock: Callable[[], float],
        allocates: bool = True,
        every_s: float = _EVERY_S,
    ) -> None:
        self._client = client
        self._views = views
        self._unreadable = unreadable
        self._allocates = allocates
        self._clock = clock
        self._every_s = every_s
        self._wanted = asyncio.Event()
        self._written: dict[PoolName, _Written] = {}
        self._hopeless: dict[PoolName, str] = {}
        self._places = asyncio.Semaphore(_IN_FLIGHT)
        self._backoff = Backoff(first_s=1.0, cap_s=30.0)

    def changed(self) -> None:
        """Asks for a round; costs nothing, so it may be called for every node."""
        self._wanted.set()

    def forget(self) -> None:
        """What the API server holds is not known any more: its data may be others."""
        self._written.clear()
        self.changed()

    def seen(self, name: PoolName, version: str) -> None:
        """An object is shown in this version: unless we know it, somebody may have written its status, and it is read again."""
        known = self._written.get(name)
        if known is not None and is_behind(known.version, version):
            del self._written[name]
            self.changed()

    async def run(self) -> None:
        """Rounds for ever, never closer than a second."""
        while True:
            await self._wanted.wait()
            problem = await self.round()
            if problem is None:
                self._backoff.reset()
                await asyncio.sleep(self._every_s)
            else:
                if self._backoff.attempts == 0:
                    log.warning("cluster_cidr_status_not_written", reason=str(problem))
                self._wanted.set()
                await asyncio.sleep(self._backoff.next_s())

    async def round(self) -> NodeIPAMError | None:
        """Writes what differs from what the API server holds; the first failure, if any."""
        self._wanted.clear()
        views = [view for view in self._views() if not view.pool.name.startswith(f"{X_K8S_GROUP}/")]
        unreadable = [one for one in self._unreadable() if not one.name.startswith(f"{X_K8S_GROUP}/")]
        present = {view.pool.name for view in views} | {one.name for one in unreadable}
        for name in [name for name in self._written if name not in present]:
            del self._written[name]
        self._hopeless = {
            PoolName(one.name): v for one in unreadable if (v := self._hopeless.get(PoolName(one.name)))
        }
        results = await asyncio.gather(
            *(self._bring_up_to_date(view) for view in views), *(self._tell(one) for one in unreadable)
        )
        return next((result for result in results if result is not None), None)

    async def _bring_up_to_date(self, view: PoolView) -> NodeIPAMError | None:
        async with self._places:
            try:
                await self._finalizer(view)
                await self._status(view)
            except (NotFound, Conflict, Invalid) as exc:
                # Gone, re-created or changed since we saw it. What changed may be no difference to us, so that no event
                # comes: the next round starts from a fresh read.
                self._written.pop(view.pool.name, None)
                return exc
            except NodeIPAMError as exc:
                return exc
        return None

    async def _finalizer(self, view: PoolView) -> None:
        pool = view.pool
        has = FINALIZER in pool.finalizers
        if has == (not pool.terminating or view.usage.nodes > 0) or (pool.terminating and not has):
            return
        others = [name for name in pool.finalizers if name != FINALIZER]
        wanted = others if has else [*others, FINALIZER]
        # The whole list is replaced, so only if nobody else changed it meanwhile.
        metadata = {"uid": pool.uid, "resourceVersion": pool.resource_version, "finalizers": wanted}
        await self._client.patch(_path(pool.name), json.dumps({"metadata": metadata}).encode())
        if has:
            log.info("cluster_cidr_let_go", pool=pool.name, reason="it is being deleted and no node uses it")

    async def _status(self, view: PoolView) -> None:
        pool = view.pool
        if pool.terminating and view.usage.nodes == 0:
            return  # it is gone, or will be at once
        written = await self._as_written(pool.name, pool.uid)
        wanted = status(
            pool,
            view.usage,
            view.findings,
            before=written.status,
            now=rfc3339(self._clock()),
            allocates=self._allocates,
        )
        if await self._write(pool.name, written, wanted):
            log.debug("cluster_cidr_status_written", pool=pool.name, nodes=view.usage.nodes)

    async def _tell(self, found: Unreadable) -> NodeIPAMError | None:
        """Says in the status of an object that makes no sense what is wrong with it."""
        name = PoolName(found.name)
        if self._hopeless.get(name) == found.resource_version:
            return None
        async with self._places:
            try:
                written = await self._as_written(name, found.uid)
                held = FINALIZER in found.finalizers
                now = rfc3339(self._clock())
                wanted = status_of_unreadable(found, before=written.status, now=now, held=held)
                await self._write(name, written, wanted)
            except Invalid as exc:
                # Servers before 1.30 judge the spec again when the status is written. The others must not wait for this one.
                self._hopeless[name] = found.resource_version
                log.warning("cluster_cidr_status_refused", pool=name, reason=str(exc))
            except (NotFound, Conflict) as exc:
                self._written.pop(name, None)
                return exc
            except NodeIPAMError as exc:
                return exc
        return None

    async def _as_written(self, name: PoolName, uid: str) -> _Written:
        """The status that the API server holds."""
        known = self._written.get(name)
        if known is None or known.uid != uid:
            version, status = _status_of(await self._client.get(_path(name)))
            known = self._written[name] = _Written(uid=uid, version=version, status=status)
        return known

    async def _write(self, name: PoolName, written: _Written, wanted: Mapping[str, Any]) -> bool:
        """Makes the status so, unless it is; whether a request was needed."""
        if {key: value for key, value in wanted.items() if value is not None} == written.status:
            return False
        body = json.dumps({"metadata": {"uid": written.uid}, "status": wanted}).encode()
        answer = await self._client.patch(f"{_path(name)}/status", body)
        written.version, written.status = _status_of(answer)
        return True


def _path(name: PoolName) -> str:
    return f"{CLUSTER_CIDRS}/{segment(name)}"


def _status_of(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """An object's resourceVersion and its status; empty where there is none."""
    try:
        document = json.loads(body)
    except ValueError:
        return "", {}
    found = document.get("status") if isinstance(document, dict) else None
    return version_of(body), found if isinstance(found, dict) else {}
