"""What happens between a Node without podCIDRs and a Node with them? One turn: queue, decision, ledger, PATCH, outcome.

::

    informer ─▶ on_node ─▶ queue ─▶ turn: allocator.decide ─▶ ledger.promise ─▶ patcher.submit ─▶ on_settled
                   │                                            (line stands)                        │
                   └─▶ allocator.observe / forget                                events, metrics, log line

The allocator (pure) reserves a block before it is written anywhere, and keeps it until the outcome is certain. Nothing here
waits for a request: the ledger and the patcher call back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

import structlog

from nodeipam_ctl.controller.metrics import ControllerMetrics
from nodeipam_ctl.controller.patcher import Outcome, Settled
from nodeipam_ctl.controller.queue import NodeQueue
from nodeipam_ctl.controller.retries import Retries
from nodeipam_ctl.controller.sources import asks_anew, same_line
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.outcomes import Released, Woken
from nodeipam_ctl.kube.deltas import Added, Changed, Delta, Removed
from nodeipam_ctl.model import Assignment, ClusterCIDR, Decision, Finding, Node, NodeUID, PoolName, Refusal
from nodeipam_ctl.prefixes import Network

log = structlog.get_logger(__name__)

RETRY_GONE_S = 2.0
"""How long the informer has to confirm that a Node is gone, in seconds."""


class Ledger(Protocol):
    """Where promises are written before a Node is patched; `submit` of the patcher follows once the line stands."""

    def promise(self, assignment: Assignment) -> None:
        """Writes the lines of an assignment, then has its Node patched."""
        ...

    def stands(self, node: Node) -> bool:
        """Whether the podCIDRs of a Node are promised to it."""
        ...

    def observe(self, node: Node) -> None:
        """A Node has podCIDRs or other addresses than its lines say."""
        ...

    def withdraw(self, uid: NodeUID, cidrs: tuple[Network, ...]) -> None:
        """Blocks were promised to a node that did not take them: their lines go."""
        ...

    def release(self, released: Released) -> None:
        """A node is gone: its lines rest or go."""
        ...

    def woke(self, woken: Woken) -> None:
        """A rest is over: its line goes."""
        ...


class Patches(Protocol):
    """The patcher, as far as it is needed here."""

    def __contains__(self, uid: NodeUID) -> bool: ...

    def seen(self, node: Node) -> None:
        """A Node has podCIDRs now, which settles an open attempt."""
        ...

    def cancel(self, uid: NodeUID) -> None:
        """Stops trying."""
        ...


class Told(Protocol):
    """Who tells people: events."""

    def assigned(self, assignment: Assignment) -> None:
        """A Node has its podCIDRs now."""
        ...

    def refused(self, refusal: Refusal) -> bool:
        """A Node gets nothing now; says whether that is news."""
        ...

    def failed(self, settled: Settled) -> bool:
        """The API server refused an assignment; says whether that is news."""
        ...

    def reused_early(self, woken: Woken, uid: NodeUID) -> None:
        """A block went to another node before its rest was over, because nothing else was left."""
        ...

    def gone(self, uid: NodeUID) -> None:
        """Nothing more will be said about this Node."""
        ...


class Reports(Protocol):
    """Who reports collisions."""

    def report(self, node: Node, finding: Finding) -> None:
        """A Node's podCIDRs collide with something."""
        ...

    def suspect(self, node: Node, *, registered: bool) -> None:
        """A Node got podCIDRs that we did not give it, or was `registered` with them."""
        ...

    def second_allocator(self, node: Node) -> None:
        """Somebody else set the podCIDRs that we were about to set."""
        ...

    def gone(self, uid: NodeUID) -> None:
        """The Node is gone."""
        ...


class Reconciler:
    """The controller's state and its turns.

    Args:
        nodes: the informer's store, by uid.
        changed: called when the ClusterCIDRs' usage may have changed.
        clock: seconds since the epoch.
        monotonic: seconds, for durations.
        certain: waits until what we know is surely the server's; nothing is decided before.
        allocate: False only mirrors what others allocate.
    """

    def __init__(
        self,
        *,
        allocator: Allocator,
        nodes: Mapping[str, Node],
        queue: NodeQueue,
        told: Told,
        metrics: ControllerMetrics,
        changed: Callable[[], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        certain: Callable[[], Awaitable[None]],
        allocate: bool = True,
    ) -> None:
        self.allocator = allocator
        self.queue = queue
        self._nodes = nodes
        self._told = told
        self._metrics = metrics
        self._changed = changed
        self._clock = clock
        self._monotonic = monotonic
        self._certain = certain
        self._allocate = allocate
        self._seen_at_s: dict[NodeUID, float] = {}
        self._due: asyncio.TimerHandle | None = None
        self._retries = Retries(queue.put)
        self._ours: set[NodeUID] = set()
        self._running = False
        self.ledger: Ledger
        self.patches: Patches
        self.conflicts: Reports

    async def run(self) -> None:
        """Takes turns for ever. Start it only when Nodes, ClusterCIDRs and ledger pages are all completely known."""
        self._running = True
        try:
            while True:
                batch = await self.queue.batch()
                await self._certain()
                self.turn(batch)
        finally:
            self._retries.stop()
            if self._due is not None:
                self._due.cancel()

    def turn(self, batch: Iterable[NodeUID]) -> None:
        """Decides for a batch, and for waiting nodes whose answer changed."""
        now_s = self._clock()
        if not self._allocate:
            self.allocator.tick(now_s)
            self._after_turn((), now_s)
            return
        asked = [
            node
            for uid in batch
            if (node := self._nodes.get(uid)) is not None and not node.pod_cidrs and uid not in self.patches
        ]
        for node in asked:
            self.allocator.reconsider(node)
        decisions = self.allocator.decide(asked, now_s)
        for decision in decisions:
            match decision:
                case Assignment():
                    if decision.uid in self._nodes and decision.uid not in self.patches:
                        self._metrics.decided("assigned")
                        self.ledger.promise(decision)
                case Refusal():
                    self._refused(decision)
        self._after_turn(decisions, now_s)

    def on_node(self, delta: Delta[Node]) -> None:
        """One difference in the cluster's Nodes, from the informer."""
        match delta:
            case Added(new=node):
                self._observe(node)
            case Changed(old=old, new=node):
                self._observe(node, old)
            case Removed(old=node):
                self._removed(node)

    def set_pools(
        self, pools: Iterable[ClusterCIDR], unreadable: Mapping[PoolName, str]
    ) -> tuple[Finding, ...]:
        """These are all ClusterCIDRs now, and why some make no sense; waiting nodes are looked at again."""
        findings = self.allocator.set_pools(pools, unreadable)
        self.space_changed()
        return findings

    def space_changed(self) -> None:
        """Blocks may have become free: nodes that wait are looked at again."""
        self._changed()
        if self.allocator.has_due():
            self.queue.wake()

    def is_good(self, assignment: Assignment) -> bool:
        """Whether an assignment is still what its Node should get, asked by the patcher before it tries."""
        node = self._nodes.get(assignment.uid)
        return node is None or self.allocator.stands_by(node)

    def on_settled(self, settled: Settled) -> None:
        """The certain end of an attempt to patch a Node, from the patcher."""
        assignment = settled.assignment
        uid = assignment.uid
        self._metrics.settled(settled.outcome)
        if not settled.certain:
            self.allocator.insist(uid)
        match settled.outcome:
            case Outcome.BOUND:
                self.allocator.settle(uid)
                self._retries.done(uid)
                self._ours.add(uid)
                took_s = self._monotonic() - self._seen_at_s.pop(uid, self._monotonic())
                self._metrics.assigned_after(took_s)
                log.info(
                    "pod_cidr_assigned",
                    node=assignment.node,
                    pod_cidrs=[str(cidr) for cidr in assignment.pod_cidrs],
                    pool=assignment.pool,
                    took_ms=round(took_s * 1000, 1),
                )
                self._told.assigned(assignment)
            case Outcome.TAKEN:
                self._taken(settled)
            case Outcome.REFUSED:
                # The promise is kept as long as it is good: the same blocks are tried again, so nothing leaks.
                if uid in self._nodes:
                    retry_in_s = self._retries.refused(uid)
                    if self._told.failed(settled):
                        log.error(
                            "pod_cidr_assignment_failed",
                            node=assignment.node,
                            reason=settled.reason,
                            retry_in_s=round(retry_in_s, 2),
                        )
            case Outcome.GONE:
                log.info("node_gone_before_assignment", node=assignment.node)
                # The informer tells as well, with everything that follows from it. If it does not, somebody said 404 in error.
                if uid in self._nodes:
                    self._retries.after(uid, RETRY_GONE_S)
            case Outcome.STALE:
                log.info("pod_cidr_decided_again", node=assignment.node, instead_of=assignment.pool)
                self.queue.put(uid)
            case Outcome.CANCELLED:
                log.info("pod_cidr_assignment_cancelled", node=assignment.node, reason="the Node is gone")

    def _observe(self, node: Node, old: Node | None = None) -> None:
        if old is not None and old.pod_cidrs and not node.pod_cidrs:
            self.allocator.set_back(node.uid)
        observed = self.allocator.observe(node, self._clock())
        for finding in observed.findings:
            self.conflicts.report(node, finding)
        if observed.returned:
            self.ledger.withdraw(node.uid, observed.returned)
            self.space_changed()
        elif old is not None and old.internal_ips != node.internal_ips:
            self.space_changed()  # an address that lay in a pool may be free now
        if node.pod_cidrs:
            self._has_podcidrs(node, old)
        elif observed.wants and (old is None or asks_anew(old, node)):
            if old is None:
                self._seen_at_s[node.uid] = self._monotonic()
            if node.uid not in self.patches:
                self.queue.put(node.uid)
        for problem in node.problems if old is None or old.problems != node.problems else ():
            log.warning("node_not_understood", node=node.name, problem=problem)

    def _has_podcidrs(self, node: Node, old: Node | None) -> None:
        had_none = old is None or not old.pod_cidrs
        if had_none:
            self.patches.seen(node)
            self._retries.forget(node.uid)
            self.queue.discard(node.uid)
            self._rests_ended(
                ()
            )  # what rested there is its own now, and the line of the rest makes way for its line
        elif old is not None and same_line(old, node):
            return
        if had_none and self._running and self._allocate and node.uid not in self._ours:
            self.conflicts.suspect(node, registered=node.uid not in self._seen_at_s)
        else:
            self._ours.discard(node.uid)
            self.ledger.observe(node)
        self._changed()

    def _removed(self, node: Node) -> None:
        uid = node.uid
        self.queue.discard(uid)
        self._seen_at_s.pop(uid, None)
        self._retries.forget(uid)
        self.patches.cancel(uid)
        self._told.gone(uid)
        self.conflicts.gone(uid)
        self._ours.discard(uid)
        released = self.allocator.forget(uid, self._clock())
        if released is not None and released.blocks:
            log.info(
                "pod_cidr_released",
                node=node.name,
                pod_cidrs=[str(cidr) for cidr in released.blocks],
                pool=released.pool,
                rests_s=round(max(0.0, released.resting_until_s - self._clock()), 1),
            )
            self._metrics.released(len(released.blocks))
        if released is not None:
            self.ledger.release(released)
            self._wait_for_rests(self._clock())
        self.space_changed()

    def _refused(self, refusal: Refusal) -> None:
        self._metrics.decided("refused")
        if self._told.refused(refusal):
            log.warning(
                "pod_cidr_not_available",
                node=refusal.node,
                reason=refusal.reason.value,
                message=refusal.message,
            )

    def _taken(self, settled: Settled) -> None:
        node = settled.node
        assert node is not None
        assignment = settled.assignment
        if node.pod_cidrs:
            self._observe(node)
        else:
            self.conflicts.second_allocator(node)
            self.allocator.release(assignment.uid)
            self.ledger.withdraw(assignment.uid, assignment.pod_cidrs)
            self.space_changed()

    def _after_turn(self, decisions: Iterable[Decision], now_s: float) -> None:
        self._rests_ended(decisions)
        self._wait_for_rests(now_s)
        self._changed()

    def _rests_ended(self, decisions: Iterable[Decision]) -> None:
        for woken in self.allocator.woken():
            self._woke(woken, decisions)

    def _woke(self, woken: Woken, decisions: Iterable[Decision]) -> None:
        log.info(
            "pod_cidr_rested",
            pod_cidr=str(woken.cidr),
            after=woken.node,
            pool=woken.pool,
            early=woken.waiver,
            taken_by=woken.taken_by,
        )
        if woken.early:
            known = self.allocator.tenancy.uid_of(woken.taken_by) or NodeUID("")
            uid = next((d.uid for d in decisions if d.node == woken.taken_by), known)
            self._told.reused_early(woken, uid)
        self.ledger.woke(woken)

    def _wait_for_rests(self, now_s: float) -> None:
        """Takes a turn when the next rest ends: a node may wait for the block, and its ledger line goes."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        end_s = self.allocator.next_end_s()
        if end_s is not None:
            wait_s = max(0.0, end_s - now_s) + 0.001
            self._due = asyncio.get_running_loop().call_later(wait_s, self.queue.wake)
