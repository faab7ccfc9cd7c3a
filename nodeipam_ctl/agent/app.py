"""How do the agent's parts run together? One loop of turns, woken by the feed, the kernel and the clock; a clean stop leaves forwarding as it is."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from nodeipam_ctl.agent import kernel
from nodeipam_ctl.agent.annotations import AnnotationWriter, announcements
from nodeipam_ctl.agent.feed import Feed
from nodeipam_ctl.agent.metrics import AgentMetrics, ProbeMetrics
from nodeipam_ctl.agent.news import News
from nodeipam_ctl.agent.predecessor_rules import PredecessorRules
from nodeipam_ctl.agent.probe import Probe
from nodeipam_ctl.agent.reconcile import Reconciler, Turn
from nodeipam_ctl.agent.report import Reporter
from nodeipam_ctl.agent.surroundings import open_host, read_template
from nodeipam_ctl.agent.truth import Truth, not_programmed
from nodeipam_ctl.agent.verdict import repaired
from nodeipam_ctl.errors import NodeIPAMError, UsageError
from nodeipam_ctl.kube.auth import load as load_access
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.events import EventRecorder
from nodeipam_ctl.linux import nftables
from nodeipam_ctl.linux.host import Host, Outcome
from nodeipam_ctl.model import Severity
from nodeipam_ctl.plan import Op
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import owned_files
from nodeipam_ctl.routing.forwarding import dropping
from nodeipam_ctl.routing.state import Kind
from nodeipam_ctl.settings import AgentSettings
from nodeipam_ctl.telemetry.http import TelemetryServer, parse_address
from nodeipam_ctl.telemetry.readiness import Readiness

T = TypeVar("T")

log = structlog.get_logger(__name__)

_DEBOUNCE_S, _FIRST_DEBOUNCE_S, _QUIET_S = 0.02, 0.003, 0.1
"""News come in bursts: one that comes alone waits a little for more, and those that follow each other closely wait longer."""
_RETRY_S = 1.0
_MANY = 1000
_LOOK_S = 10.0
"""After new routes: somebody's better one to the same destination was no concern of ours before, and the kernel is silent about it."""
_COMPONENT = "nodeipam-ctl-agent"


async def run(settings: AgentSettings) -> None:
    """Runs the agent until SIGTERM or SIGINT.

    Raises:
        UsageError: a flag, the kubeconfig or the CNI template cannot be used, or privileges are missing.
    """
    if settings.flannel_compat and (settings.backend != "vxlan" or settings.feed != "nodes"):
        raise UsageError(
            "--flannel-compat needs --backend vxlan and --feed nodes: annotations are not in the ledger"
        )
    if settings.backend == "wireguard" and settings.direct_routing:
        raise UsageError(
            "--direct-routing with --backend wireguard would send pods' packets in clear: drop it"
        )
    if settings.metrics_address is not None:
        parse_address(settings.metrics_address)  # before anything is opened or said
    if settings.masquerade and not nftables.available():
        raise UsageError("nft is not installed: install nftables, or use --no-masquerade")
    access = await load_access(settings.kubeconfig)
    template = read_template(settings)
    backend = backends.load(settings.backend)
    with open_host(settings) as host:
        reconciler = Reconciler(settings, host, backend, template=template)
        async with Client(access, component=_COMPONENT, connections=4) as client:
            agent = Agent(settings, client, host, reconciler)
            log.info("agent_started", node=settings.node_name, backend=settings.backend, server=access.server)
            # A turn passes over thousands of peers and leaves next to nothing behind.
            gc.set_threshold(20_000, 20, 20)
            await _until_stopped(agent)
    log.info("agent_stopped", node=settings.node_name, forwarding="stays")


class _Heard(Protocol[T]):
    """Something that hears of changes and never blocks."""

    def fileno(self) -> int: ...

    def read(self) -> tuple[list[T], bool]:
        """What was heard, and whether something was lost."""
        ...

    def close(self) -> None: ...


class Agent:
    """The loop of turns and what wakes it."""

    def __init__(self, settings: AgentSettings, client: Client, host: Host, reconciler: Reconciler) -> None:
        self.settings = settings
        self.readiness = Readiness()
        self.metrics = AgentMetrics()
        self._host = host
        self._reconciler = reconciler
        self._wake = asyncio.Event()
        self._feed = Feed(client, settings, changed=self._wake.set)
        self._truth = Truth(client, settings)
        self._predecessor = PredecessorRules(settings)
        # Without nft the reconciler does not even look, which must not pass for "nothing drops".
        self._unseen = (
            dropping((), (), problem="nft is not installed")
            if settings.forward_accept and not nftables.available()
            else ()
        )
        self._legacy = kernel.LegacyForward(reconciler, touched=self._disturb)
        self._annotations = AnnotationWriter(client, settings.node_name)
        self._reporter = Reporter()
        self._events = EventRecorder(client, component=_COMPONENT, instance=settings.node_name)
        self._news = News(self._events)
        self._probe = (
            Probe(
                settings,
                ProbeMetrics(self.metrics.metrics),
                turn=lambda: self._turn,
                facts=lambda: self._reconciler.facts,
                changed=self._wake.set,
            )
            if settings.probe != "off"
            else None
        )
        self._disturbed_s: float | None = None
        self._look_at_s: float | None = None
        self._relist_at_s: float | None = None
        self._retry_at_s: float | None = None
        self._news_at_s: float | None = None
        self._turn: Turn | None = None
        self._alive_s = _loop_time_s()
        self.readiness.check("feed", self._feed_problem)
        self.readiness.check("host", self._host_problem)
        self.readiness.remark("host", self._host_remark)

    async def run(self) -> None:
        """Serves probes and metrics, follows the cluster and keeps the host, for ever."""
        async with contextlib.AsyncExitStack() as stack:
            if self.settings.metrics_address is not None:
                server = TelemetryServer(
                    self.settings.metrics_address,
                    metrics=self.metrics.metrics.exposition,
                    readiness=self.readiness,
                    stuck=self._stuck,
                )
                await stack.enter_async_context(server)
            heard = kernel.monitor(neighbours=bool(self._reconciler.devices))
            stack.enter_context(
                self._listening(
                    heard, lambda messages: kernel.mark(self._reconciler, messages, echo_port=self._host.port)
                )
            )
            filters = self.settings.masquerade or self.settings.forward_accept
            if filters:
                stack.enter_context(
                    self._listening(
                        kernel.nft_monitor(), lambda messages: kernel.mark_nft(self._reconciler, messages)
                    )
                )
            own_files = frozenset(map(Path, owned_files(self.settings)))
            names = frozenset(path.name for path in own_files)
            for watch in kernel.watches({path.parent for path in own_files}):
                stack.enter_context(
                    self._listening(watch, partial(kernel.mark_files, self._reconciler, own=names))
                )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed.run(), name="feed")
                tasks.create_task(self._events.run(), name="events")
                tasks.create_task(self._turns(), name="turns")
                if filters:
                    tasks.create_task(self._legacy.run(), name="legacy-iptables")
                if self._probe is not None:
                    tasks.create_task(self._probe.run(), name="probe")

    async def _turns(self) -> None:
        audit_at_s = self._next_audit_s()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._earliest_s(audit_at_s)):
                    await self._wake.wait()
            quiet = _loop_time_s() - self._alive_s > _QUIET_S
            await asyncio.sleep(_FIRST_DEBOUNCE_S if quiet else _DEBOUNCE_S)
            self._wake.clear()
            now_s = self._alive_s = _loop_time_s()
            if audit_at_s <= now_s:
                self._reconciler.dirty.everything()
                audit_at_s = self._next_audit_s()
            if self._look_at_s is not None and self._look_at_s <= now_s:
                self._look_at_s = None
                self._reconciler.dirty.kinds.add(Kind.ROUTE)
            if self._relist_at_s is not None and self._relist_at_s <= now_s:
                self._relist_at_s = None
                self._feed.relist()
            try:
                await self.one_turn()
            except Exception as exc:  # a bug of ours: routes stay as they are, and the next turn looks afresh
                problem = f"a turn failed, which is a bug: {type(exc).__name__}: {exc}"
                if problem != self._truth.problem:
                    log.exception("turn_failed", error=f"{type(exc).__name__}: {exc}")
                await self._no_turn(problem)

    async def one_turn(self) -> Turn | None:
        """One turn, if the cluster is known; what it did, None when nothing could be done."""
        snapshot = self._feed.snapshot()
        if snapshot.lists == 0:
            return None
        disturbed_s, self._disturbed_s = self._disturbed_s, None
        self._retry_at_s = None
        doubtful = bool(self._reconciler.dirty)
        began_s = time.monotonic()
        try:
            turn = await asyncio.to_thread(self._reconciler.turn, snapshot)
        except NodeIPAMError as exc:
            self._reporter.unreadable(str(exc))
            await self._no_turn(str(exc))
            return None
        ended_s = time.monotonic()
        if self._reconciler.entries.differed:
            self._disturb()
        self._legacy.turn(turn)
        if disturbed_s is None and doubtful and turn.outcome.done:
            disturbed_s, self._disturbed_s = self._disturbed_s, None  # it was heard of while the turn ran
        turn = replace(
            turn,
            findings=turn.findings
            + self._predecessor.findings
            + self._unseen
            + (self._probe.findings if self._probe is not None else ()),
        )
        self.metrics.took(turn, peers=len(snapshot.peers), seconds=ended_s - began_s)
        before = self._turn.desired.state if doubtful and self._turn is not None else None
        healed = repaired(turn.outcome.done, before) if before is not None else ()
        if healed:
            self.metrics.healed(healed, seconds=None if disturbed_s is None else ended_s - disturbed_s)
        self._reporter.turn(turn, seconds=ended_s - began_s, healed=healed)
        if self._turn is None or len(turn.outcome.done) >= _MANY:
            gc.collect()
            gc.freeze()  # most of it lives as long as we do: a collection need not walk it all again
        self._turn = replace(turn, outcome=Outcome(failed=turn.outcome.failed), refused=())
        if turn.retry:
            self._retry_at_s = _loop_time_s() + _RETRY_S
        if self._look_at_s is None and any(
            c.op is Op.ADD and c.key.kind is Kind.ROUTE for c in turn.outcome.done
        ):
            self._look_at_s = _loop_time_s() + _LOOK_S
        if turn.held and self._relist_at_s is None:
            self._relist_at_s = _loop_time_s() + self.settings.mass_removal_delay_s
        self._tell_news(turn)
        await self._tell_node(turn)
        if self._predecessor.due(turn) and await asyncio.to_thread(self._predecessor.look):
            self._wake.set()
        return turn

    async def _no_turn(self, problem: str) -> None:
        self._reconciler.dirty.everything()
        self._retry_at_s = _loop_time_s() + _RETRY_S
        await self._truth.no_turn(self._feed.own_node, problem)

    def _tell_news(self, turn: Turn) -> None:
        node = self._feed.own_node
        wait_s = self._news.turn(node, turn) if node is not None else None
        self._news_at_s = None if wait_s is None else _loop_time_s() + wait_s

    async def _tell_node(self, turn: Turn) -> None:
        node = self._feed.own_node
        view, key = self._reconciler.view(turn.snapshot), self._reconciler.facts.wireguard_key
        said = announcements(node, turn, view, key=key) if node is not None else {}
        told = await self._truth.turn(node, turn, said)
        if node is not None:
            told &= await self._annotations.tell(node, said, sent=self._truth.carried)
        if not told:
            self._retry_at_s = _loop_time_s() + _RETRY_S

    @contextlib.contextmanager
    def _listening(self, heard: _Heard[T], mark: Callable[[list[T]], bool]) -> Iterator[None]:
        """Wakes the loop of turns when events arrive in which `mark` finds something."""

        def arrived() -> None:
            messages, lost = heard.read()
            if lost:
                log.warning("kernel_events_lost", effect="everything is read again")
                self._reconciler.dirty.everything()
            if mark(messages) or lost:
                self._disturb()

        loop = asyncio.get_running_loop()
        loop.add_reader(heard.fileno(), arrived)
        try:
            yield
        finally:
            loop.remove_reader(heard.fileno())
            heard.close()

    def _disturb(self) -> None:
        if self._disturbed_s is None:
            self._disturbed_s = time.monotonic()
        self._wake.set()

    def _next_audit_s(self) -> float:
        return _loop_time_s() + self.settings.audit_period_s * random.uniform(0.8, 1.2)

    def _earliest_s(self, audit_at_s: float) -> float:
        return min(
            at
            for at in (audit_at_s, self._look_at_s, self._relist_at_s, self._retry_at_s, self._news_at_s)
            if at is not None
        )

    def _stuck(self) -> str:
        silent_s = _loop_time_s() - self._alive_s
        if silent_s <= 3 * self.settings.audit_period_s:
            return ""
        return f"no turn has begun for {silent_s:.0f} s: the host or a library call hangs"

    def _feed_problem(self) -> str:
        return self._feed.problem or ("" if self._feed.synced else "the first list is not complete")

    def _host_problem(self) -> str:
        if self._truth.problem:
            return self._truth.problem
        if self._turn is None:
            return "no turn has been completed"
        return self._turn.desired.waiting or not_programmed(self._turn)

    def _host_remark(self) -> str:
        """What stays wrong without being this node's fault: it serves its pods, and one peer out of reach must not restart it."""
        findings = () if self._turn is None else self._turn.findings
        errors = [f for f in findings if f.severity is Severity.ERROR]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return f"{errors[0]}{more}" if errors else ""


async def _until_stopped(agent: Agent) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(agent.run(), name="agent")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _loop_time_s() -> float:
    return asyncio.get_running_loop().time()
