"""How are the controller's parts put together, started and stopped? Wiring only: every decision is somewhere else.

A standby holds no state and reads nothing but the Lease: it costs the API server one request in two seconds. It is ready,
because it does what it should, and a rolling update must not wait for it to lead. Who takes over reads everything anew,
so nothing of what the former leader did is missed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, NoReturn

import structlog

from nodeipam_ctl.controller.conflicts import Conflicts
from nodeipam_ctl.controller.direct import NoLedger
from nodeipam_ctl.controller.echoes import PageRecord
from nodeipam_ctl.controller.eventing import NodeEvents
from nodeipam_ctl.controller.ledger import LedgerKeeper
from nodeipam_ctl.controller.metrics import ControllerMetrics
from nodeipam_ctl.controller.patcher import Outcome, Patcher, Settled
from nodeipam_ctl.controller.pools import CustomResources
from nodeipam_ctl.controller.queue import NodeQueue
from nodeipam_ctl.controller.reconcile import Ledger, Reconciler
from nodeipam_ctl.controller.reminder import remind
from nodeipam_ctl.controller.sources import (
    node_resource,
    page_resource,
    pool_resources,
    same_pool,
    service_resource,
    why_stale,
)
from nodeipam_ctl.controller.status import PoolView, StatusWriter
from nodeipam_ctl.controller.surroundings import Surroundings
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.kube.auth import Access, load
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.deltas import Changed, Delta, Removed
from nodeipam_ctl.kube.events import EventRecorder
from nodeipam_ctl.kube.informer import Informer
from nodeipam_ctl.kube.lease import Elector, leadership
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import Assignment, ClusterCIDR, Finding, Node, NodeUID, PoolName, ServiceCIDR
from nodeipam_ctl.settings import ControllerSettings
from nodeipam_ctl.telemetry.http import TelemetryServer
from nodeipam_ctl.telemetry.metrics import Metrics
from nodeipam_ctl.telemetry.readiness import Readiness

log = structlog.get_logger(__name__)

COMPONENT = "nodeipam-ctl-controller"


def main(settings: ControllerSettings) -> int:
    """Runs the controller until SIGTERM or SIGINT; the exit code.

    Raises:
        UsageError: the kubeconfig or the metrics address cannot be used.
    """
    return asyncio.run(_until_signalled(settings))


async def _until_signalled(settings: ControllerSettings) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    stopped = False

    def stop(number: signal.Signals) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            log.info("stopping", signal=number.name)
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    try:
        await run(settings)
    except asyncio.CancelledError:
        if not stopped:
            raise
    except NodeIPAMError:
        raise
    except Exception as exc:
        log.critical("controller_failed", exc_info=_first(exc))
        return 1
    log.info("stopped")
    return 0


async def run(settings: ControllerSettings, *, access: Access | None = None) -> None:
    """The controller, until cancelled."""
    access = access if access is not None else await load(settings.kubeconfig)
    metrics, readiness = Metrics("controller"), Readiness()
    identity = settings.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(access, component=COMPONENT))
        if settings.metrics_address is not None:
            await stack.enter_async_context(
                TelemetryServer(settings.metrics_address, metrics=metrics.exposition, readiness=readiness)
            )
        elector = Elector(client, settings.lease, identity=identity)
        log.info(
            "controller_started",
            server=client.server,
            identity=identity,
            leader_election=settings.leader_elect,
        )
        leading: Callable[[], bool] = _always
        if settings.leader_elect:
            readiness.check("lease", lambda: elector.blind)
            await stack.enter_async_context(leadership(elector, lost=_start_over))
            leading = elector.leading
        controller = Controller(
            settings, client, access, metrics, readiness, identity=identity, leading=leading
        )
        await controller.run()


def _always() -> bool:
    return True


def _first(exc: Exception) -> BaseException:
    """What went wrong first, out of a TaskGroup's wrapping."""
    first: BaseException = exc
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _start_over() -> NoReturn:
    """Becomes a new process at once, same command line, same pid: nothing that this one still meant to write can leave.

    Another replica may lead by now, or nobody can, because the API server is away: either way there is work left for a
    standby, which says in /readyz what it waits for.
    """
    log.error("leadership_lost", consequence="everything known is dropped, starting over as a standby")
    sys.stderr.flush()
    with suppress(OSError):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves again
    os._exit(1)


class Controller:
    """The leader: everything that reads and writes, put together.

    Args:
        clock: seconds since the epoch.
        leading: asked before each write leaves; while it says no, nothing is written.

    Attributes:
        started: set when all lists are in and allocation has begun.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        client: Client,
        access: Access,
        metrics: Metrics,
        readiness: Readiness,
        *,
        identity: str,
        clock: Callable[[], float] = time.time,
        leading: Callable[[], bool] = _always,
    ) -> None:
        client = client.fenced(leading)
        self._settings = settings
        self._readiness = readiness
        self.started = asyncio.Event()
        counters = ControllerMetrics(metrics)
        allocator = Allocator()
        queue = NodeQueue(window_s=settings.batch_window_s)
        self._reachability = client.reachability
        self._recorder = EventRecorder(client, component=COMPONENT, instance=identity)
        told = NodeEvents(self._recorder, monotonic=time.monotonic)
        self._status = StatusWriter(
            client, self.pool_views, unreadable=self._unreadable, clock=clock, allocates=settings.allocate
        )
        self._nodes = Informer(client, node_resource(), self._on_node)
        self._pools = CustomResources(client, access, pool_resources(), self._on_pool)
        self._services = Informer(client, service_resource(), self._on_service)
        self._findings: tuple[Finding, ...] = ()
        self.reconciler = Reconciler(
            allocator=allocator,
            nodes=self._nodes.store,
            queue=queue,
            told=told,
            metrics=counters,
            changed=self._status.changed,
            clock=clock,
            monotonic=time.monotonic,
            certain=client.reachability.certain,
            allocate=settings.allocate,
        )
        self._surroundings = Surroundings(
            allocator,
            settings.service_cidrs,
            changed=self.reconciler.space_changed,
            collided=self._on_service_collision,
        )
        self._patcher = Patcher(
            client,
            in_flight=settings.patches_in_flight,
            settled=self.reconciler.on_settled,
            good=self.reconciler.is_good,
        )
        self._keeper: LedgerKeeper | None = None
        self._pages: Informer[PageRecord] | None = None
        ledger: Ledger = NoLedger(self._patcher.submit)
        if settings.ledger:
            ledger = self._keeper = LedgerKeeper(
                client,
                allocator,
                nodes=self._nodes.store,
                submit=self._patcher.submit,
                decide_again=queue.put,
                released=self.reconciler.space_changed,
                collided=self._on_collision,
                impossible=self._on_impossible,
                counted=counters.page_written,
                clock=clock,
            )
            self._pages = Informer(client, page_resource(self._keeper.echoes), self._keeper.on_page)
        self._conflicts = Conflicts(
            nodes=self._nodes.store, stands=ledger.stands, adopt=ledger.observe, told=told, metrics=counters
        )
        self.reconciler.patches = self._patcher
        self.reconciler.ledger = ledger
        self.reconciler.conflicts = self._conflicts
        counters.watch(nodes=lambda: len(self._nodes.store), queued=lambda: len(queue), leading=leading)
        counters.watch_pools(self.pool_views)
        self._report_readiness(readiness)

    def pool_views(self) -> Iterator[PoolView]:
        """Every ClusterCIDR with its usage and findings."""
        for pool in self._pools.values():
            if isinstance(pool, ClusterCIDR):
                subject = f"clustercidr/{pool.name}"
                yield PoolView(
                    pool=pool,
                    usage=self.reconciler.allocator.usage(pool.name),
                    findings=(
                        *(finding for finding in self._findings if finding.subject == subject),
                        *self._surroundings.findings(pool),
                    ),
                )

    async def run(self) -> None:
        """Reads everything, then allocates, until cancelled."""
        sources: list[Informer[Any]] = [self._nodes, self._services]
        if self._pages is not None:
            sources.append(self._pages)
        try:
            with self._reachability.when_replaced(self._status.forget):
                async with asyncio.TaskGroup() as tasks:
                    for informer in sources:
                        tasks.create_task(informer.run(), name=informer.resource.name)
                    tasks.create_task(self._pools.run(), name="clustercidrs")
                    tasks.create_task(self._recorder.run(), name="events")
                    for synced in (*(informer.synced for informer in sources), self._pools.synced):
                        await synced.wait()
                    self._begin(tasks)
        finally:
            gc.unfreeze()
            self._conflicts.close()

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """All lists are in: from here on decisions are made."""
        self._set_pools()
        if self._keeper is not None:
            self._keeper.start()
            tasks.create_task(self._keeper.run(), name="ledger")
        tasks.create_task(self._patcher.run(), name="patcher")
        tasks.create_task(self.reconciler.run(), name="reconciler")
        tasks.create_task(remind(self.reconciler.allocator, self.reconciler.queue), name="reminder")
        tasks.create_task(self._status.run(), name="status")
        self._status.changed()
        gc.collect()
        gc.freeze()  # the lists live as long as we do: a collection need not walk them all again
        self.started.set()
        log.info(
            "allocation_began",
            nodes=len(self._nodes.store),
            cluster_cidrs=len(self._pools.values()),
            ledger_pages=len(self._pages.store) if self._pages is not None else 0,
        )

    def _report_readiness(self, readiness: Readiness) -> None:
        readiness.check("nodes", lambda: why_stale(self._nodes))
        readiness.check("servicecidrs", lambda: why_stale(self._services))
        readiness.check("clustercidrs", lambda: self._pools.problem)
        readiness.check("allocation", self._why_not_allocating)
        if self._pages is not None and self._keeper is not None:
            pages, keeper = self._pages, self._keeper
            readiness.check("ledger", lambda: why_stale(pages) or keeper.problem)

    def _why_not_allocating(self) -> str:
        if not self.started.is_set():
            return "waits for the first complete lists"
        doubted = self._reachability.doubted
        if doubted:
            return f"the API server was lost; waits until these are known to be as it has them now: {', '.join(doubted)}"
        return ""

    def _on_node(self, delta: Delta[Node]) -> None:
        self.reconciler.on_node(delta)
        if isinstance(delta, Removed):
            self._surroundings.on_node(delta.old, gone=True)
        else:
            self._surroundings.on_node(delta.new)

    def _on_pool(self, delta: Delta[ClusterCIDR | Unreadable]) -> None:
        if not isinstance(delta, Removed):
            self._status.seen(PoolName(delta.new.name), delta.new.resource_version)
        if isinstance(delta, Changed) and same_pool(delta.old, delta.new):
            return
        if not isinstance(delta, Removed) and isinstance(delta.new, Unreadable):
            before = delta.old if isinstance(delta, Changed) else None
            if not isinstance(before, Unreadable) or before.finding != delta.new.finding:
                finding = delta.new.finding
                log.warning("cluster_cidr_not_understood", pool=delta.new.name, problem=finding.message)
        if self.started.is_set():
            self._set_pools()
            if self._keeper is not None:
                self._keeper.refresh()

    def _on_service(self, delta: Delta[ServiceCIDR | Unreadable]) -> None:
        self._surroundings.on_service_cidr(delta)

    def _on_collision(self, node: Node, finding: Finding) -> None:
        self._conflicts.report(node, finding)

    def _on_service_collision(self, uid: NodeUID, finding: Finding) -> None:
        node = self._nodes.store.get(uid)
        if node is not None:
            self._conflicts.report(node, finding)

    def _on_impossible(self, assignment: Assignment, reason: str) -> None:
        self.reconciler.on_settled(Settled(assignment=assignment, outcome=Outcome.REFUSED, reason=reason))

    def _unreadable(self) -> list[Unreadable]:
        return [pool for pool in self._pools.values() if isinstance(pool, Unreadable)]

    def _set_pools(self) -> None:
        pools = [pool for pool in self._pools.values() if isinstance(pool, ClusterCIDR)]
        unreadable = {PoolName(one.name): one.finding.message for one in self._unreadable()}
        self._findings = self.reconciler.set_pools(pools, unreadable)
        self._surroundings.on_pools(pools)
        for node in self._nodes.store.values():
            self._surroundings.on_node(node)
