"""How are the controller's parts put together, started and stopped? Wiring only: every decision is somewhere else.

A standby holds no state and reads nothing but the Lease: it costs the API server one request in two seconds. It is ready,
because it does what it should, and a rolling update must not wait for it to lead. Who takes over reads everything anew,
so nothing of what the former leader did is missed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import structlog

from nodeipam_ctl.controller.direct import NoLedger
from nodeipam_ctl.controller.eventing import NodeEvents
from nodeipam_ctl.controller.metrics import ControllerMetrics
from nodeipam_ctl.controller.patcher import Patcher
from nodeipam_ctl.controller.pools import CustomResources
from nodeipam_ctl.controller.queue import NodeQueue
from nodeipam_ctl.controller.reconcile import Reconciler
from nodeipam_ctl.controller.sources import node_resource, pool_resources, why_stale
from nodeipam_ctl.controller.status import PoolView, StatusWriter
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.kube.auth import Access, load
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.events import EventRecorder
from nodeipam_ctl.kube.informer import Delta, Informer
from nodeipam_ctl.kube.lease import Elector, leadership
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import ClusterCIDR, Finding, Node
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
        if settings.leader_elect:
            await stack.enter_async_context(leadership(elector, lost=_die))
        controller = Controller(settings, client, access, metrics, readiness, identity=identity)
        await controller.run()


def _first(exc: Exception) -> BaseException:
    """What went wrong first, out of a TaskGroup's wrapping."""
    first: BaseException = exc
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


def _die() -> None:
    """Ends the process at once: another replica leads now, and a write of ours that is still to come could do harm."""
    log.error("leadership_lost", consequence="exiting at once; the other replica goes on")
    os._exit(1)


class Controller:
    """The leader: everything that reads and writes, put together.

    Args:
        clock: seconds since the epoch.

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
    ) -> None:
        self._settings = settings
        self._readiness = readiness
        self.started = asyncio.Event()
        counters = ControllerMetrics(metrics)
        allocator = Allocator()
        queue = NodeQueue(window_s=settings.batch_window_s)
        self._recorder = EventRecorder(client, component=COMPONENT, instance=identity)
        self._status = StatusWriter(client, self.pool_views, clock=clock)
        self._nodes = Informer(client, node_resource(), self._on_node)
        self._pools = CustomResources(client, access, pool_resources(), self._on_pool)
        self._findings: tuple[Finding, ...] = ()
        self.reconciler = Reconciler(
            allocator=allocator,
            nodes=self._nodes.store,
            queue=queue,
            told=NodeEvents(self._recorder, monotonic=time.monotonic),
            metrics=counters,
            changed=self._status.changed,
            clock=clock,
            monotonic=time.monotonic,
        )
        self._patcher = Patcher(
            client, in_flight=settings.patches_in_flight, settled=self.reconciler.on_settled
        )
        self.reconciler.patches = self._patcher
        self.reconciler.ledger = NoLedger(self._patcher.submit)
        counters.watch(nodes=lambda: len(self._nodes.store), queued=lambda: len(queue), leading=lambda: True)
        counters.watch_pools(self.pool_views)
        readiness.check("nodes", lambda: why_stale(self._nodes))
        readiness.check("clustercidrs", lambda: self._pools.problem)

    def pool_views(self) -> Iterator[PoolView]:
        """Every ClusterCIDR with its usage and findings."""
        for pool in self._pools.values():
            if isinstance(pool, ClusterCIDR):
                subject = f"clustercidr/{pool.name}"
                yield PoolView(
                    pool=pool,
                    usage=self.reconciler.allocator.usage(pool.name),
                    findings=tuple(finding for finding in self._findings if finding.subject == subject),
                )

    async def run(self) -> None:
        """Reads everything, then allocates, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.run(), name="nodes")
            tasks.create_task(self._pools.run(), name="clustercidrs")
            tasks.create_task(self._recorder.run(), name="events")
            await self._nodes.synced.wait()
            await self._pools.synced.wait()
            self._set_pools()
            tasks.create_task(self._patcher.run(), name="patcher")
            tasks.create_task(self.reconciler.run(), name="reconciler")
            tasks.create_task(self._status.run(), name="status")
            log.info(
                "allocation_began", nodes=len(self._nodes.store), cluster_cidrs=len(self._pools.values())
            )
            self.started.set()
            self._status.changed()

    def _on_node(self, delta: Delta[Node]) -> None:
        self.reconciler.on_node(delta)

    def _on_pool(self, _delta: Delta[ClusterCIDR | Unreadable]) -> None:
        if self.started.is_set():
            self._set_pools()

    def _set_pools(self) -> None:
        pools = [pool for pool in self._pools.values() if isinstance(pool, ClusterCIDR)]
        self._findings = self.reconciler.set_pools(pools)
