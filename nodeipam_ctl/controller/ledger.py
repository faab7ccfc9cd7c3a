"""Which lines should stand in the ledger, and when may a Node be patched? Promises first, pages next, patches last.

The order of page writes is decided in `ipam/ledger.py`; how one is made stands in `page_writer.py`. Here the two meet the
allocator: what a page says that others wrote is occupied, and a promise that meets another's line is decided again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from nodeipam_ctl.controller.closed import Closed
from nodeipam_ctl.controller.echoes import Echo, Echoes, PageRecord
from nodeipam_ctl.controller.page_writer import PageWriter
from nodeipam_ctl.controller.unseen import Unseen
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.ledger import Ledger
from nodeipam_ctl.ipam.outcomes import Released, Woken
from nodeipam_ctl.ipam.page_writes import Conflict, PageWrite
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.kube.deltas import Added, Changed, Delta, Removed
from nodeipam_ctl.kube.history import is_behind
from nodeipam_ctl.kube.wire.envelope import Unreadable
from nodeipam_ctl.model import (
    Assignment,
    Finding,
    LedgerEntry,
    LedgerPage,
    LedgerState,
    Node,
    NodeUID,
    PoolName,
    Severity,
)
from nodeipam_ctl.prefixes import Network, contains
from nodeipam_ctl.routing import mixing, wireguard_keys

log = structlog.get_logger(__name__)

PACE_S = 0.003
"""The least time between two steps: what is wanted meanwhile goes into the same page writes."""

PAGES_IN_FLIGHT = 16


class LedgerKeeper:
    """Keeps the ledger's pages in agreement with the allocator, and lets Nodes be patched once their lines stand.

    Args:
        nodes: the informer's store, by uid.
        submit: starts the patch of a Node whose lines stand.
        decide_again: puts a Node back into the queue.
        released: tells that blocks became free, which waiting nodes may get.
        collided: tells of a Node whose podCIDR the ledger promises to another one.
        impossible: tells of an assignment that no page can hold.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        client: Client,
        allocator: Allocator,
        *,
        nodes: Mapping[str, Node],
        submit: Callable[[Assignment], None],
        decide_again: Callable[[NodeUID], None],
        released: Callable[[], None],
        collided: Callable[[Node, Finding], None],
        impossible: Callable[[Assignment, str], None],
        counted: Callable[[str, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._allocator = allocator
        self._nodes = nodes
        self._submit = submit
        self._decide_again = decide_again
        self._released = released
        self._collided = collided
        self._impossible = impossible
        self._clock = clock
        self._ledger = Ledger()
        self._writer = PageWriter(client, self, in_flight=PAGES_IN_FLIGHT, counted=counted)
        self.echoes = Echoes(self._writer)
        self._open: dict[NodeUID, Assignment] = {}
        self._uids: dict[str, str] = {}  # of each page, as last read or written
        self._closed = Closed(allocator)
        # Nodes whose lines met another's, and what was said of it.
        self._refused: dict[NodeUID, dict[str, str]] = {}
        self._wanted = asyncio.Event()
        self._unseen = Unseen(client, allocator, nodes=nodes, gone=self._forget)
        self._started = False
        self._refresh_wanted = False

    @property
    def problem(self) -> str:
        """Why the ledger cannot be written at present, one line; empty when it can."""
        return self._writer.problem

    def stands(self, node: Node) -> bool:
        """Whether the ledger, as far as we know it, promises a Node the podCIDRs that it has."""
        return self._ledger.stands(node.uid, node.pod_cidrs)

    # ---- from the reconciler ----

    def promise(self, assignment: Assignment) -> None:
        """Writes the lines of an assignment, then has its Node patched."""
        self._open[assignment.uid] = assignment
        node = self._nodes[assignment.uid]
        for line in self._lines(node, assignment.pod_cidrs, assignment.pool):
            if not self._ledger.want(line):
                del self._open[assignment.uid]
                self._impossible(
                    assignment, f"{line.cidr} is too large for a page of the ledger; use smaller blocks"
                )
                return
        self._stands_already(assignment.uid)
        self._wanted.set()

    def observe(self, node: Node) -> None:
        """A Node's lines should say what it has and where it is reached."""
        if not self._started:
            return
        self._open.pop(node.uid, None)
        for line in self._lines(node, node.pod_cidrs, self._allocator.pool_of(node.uid)):
            self._ledger.want(line)
        self._wake()

    def withdraw(self, uid: NodeUID, cidrs: Iterable[Network]) -> None:
        """Blocks were promised to a Node that shows others: their lines go."""
        self._open.pop(uid, None)
        for cidr in cidrs:
            self._ledger.drop(cidr, uid)
        self._try_refused()
        self._wake()

    def release(self, released: Released) -> None:
        """A Node is gone: its lines rest, or go."""
        self._open.pop(released.uid, None)
        now_s = self._clock()
        for cidr in released.blocks:
            if released.resting_until_s:
                self._ledger.want(
                    LedgerEntry(
                        cidr=cidr,
                        state=LedgerState.RESTING,
                        node=released.node,
                        node_uid=released.uid,
                        cluster_cidr=released.pool,
                        since_s=now_s,
                        reusable_at_s=released.resting_until_s,
                    )
                )
            else:
                self._ledger.drop(cidr, released.uid)
        for cidr in released.shared:
            self._ledger.drop(cidr, released.uid)
        self._try_refused()
        self._wake()

    def woke(self, woken: Woken) -> None:
        """A rest is over: its line goes."""
        self._ledger.drop(woken.cidr, woken.uid)
        self._try_refused()
        self._wake()

    def refresh(self) -> None:
        """ClusterCIDRs changed: lines that name another one than before are written again, in the background."""
        self._refresh_wanted = True
        self._wake()

    # ---- from the pages ----

    def on_page(self, delta: Delta[PageRecord]) -> None:
        """One difference in the ledger's pages, from their informer: an echo of ours, or somebody else's write."""
        match delta:
            case Changed(old=old, new=LedgerPage() as page) if is_behind(
                page.resource_version, old.resource_version
            ):
                self._set_back(page)
            case Added(new=page) | Changed(new=page):
                if isinstance(page, Unreadable):
                    log.error("ledger_page_unreadable", page=page.name, problem=str(page.finding))
                elif not isinstance(page, Echo):
                    self._see(page)
            case Removed(old=page):
                if not isinstance(page, Unreadable) and not self.echoes.waits(delta):
                    self._page_deleted(page)

    def wrote(self, write: PageWrite, *, resource_version: str, uid: str) -> None:
        """A page write stands, from the writer."""
        page = write.page
        self._ledger.wrote(write, resource_version=resource_version, uid=uid)
        self._uids[page.name] = uid or page.uid
        if self._closed.reopen(page):
            self._released()
        self.echoes.wrote(page.name, resource_version)
        self._settled(page.name)
        for line in page.entries:
            if line.state is LedgerState.BOUND and line.node_uid in self._open:
                self._stands_already(line.node_uid)
        if self._ledger.busy:
            self._wanted.set()

    def reread(self, write: PageWrite, page: LedgerPage | None) -> None:
        """A page write did not stand, or may not, and this is the page now, from the writer."""
        if page is None:
            self._uids.pop(write.page.name, None)
            self._ledger.missing(write.page.page)
        elif is_behind(page.resource_version, write.page.resource_version):
            self._set_back(page)
        else:
            self._see(page)
        self._settled(write.page.name)
        for line in page.entries if page is not None else ():
            if line.node_uid in self._open:
                self._stands_already(line.node_uid)
        self._wanted.set()

    # ---- the program ----

    def start(self) -> None:
        """Nodes, ClusterCIDRs and pages are all completely known: what the pages promise is occupied from now on."""
        self._started = True
        now_s = self._clock()
        for line in self._allocator.adopt(tuple(self._ledger.entries()), now_s):
            self._ledger.drop(line.cidr, line.node_uid)
        self._unseen.look()
        for node in self._nodes.values():
            if node.pod_cidrs:
                self.observe(node)
        self._wake()

    async def run(self) -> None:
        """Keeps the ledger for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._writer.run(), name="pages")
            tasks.create_task(self._unseen.run(), name="unseen-nodes")
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                began_s = time.thread_time()
                self.step()
                # A large ledger that is written for the first time must not keep the loop from everything else. CPU time: a busy
                # machine makes a step long and would make pauses of 100 ms, in which pages and nodes pile up.
                await asyncio.sleep(3 * (time.thread_time() - began_s))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PACE_S):
                        await self._writer.idle.wait()

    def step(self) -> None:
        """Starts the page writes that can be made now."""
        if self._refresh_wanted:
            self._refresh_wanted = False
            for node in self._nodes.values():
                if node.pod_cidrs and self._ledger.stands(node.uid, node.pod_cidrs):
                    self.observe(node)
        step = self._ledger.step(self._clock(), self._writer.under_way())
        for conflict in step.conflicts:
            self._conflicted(conflict)
        # In the order of the addresses, not family by family: a node needs its blocks of both.
        for write in sorted(step.writes, key=lambda write: write.page.page.network_address.packed[-4:]):
            self.echoes.writing(write.page)
            self._writer.submit(write)

    # ---- private ----

    def _lines(self, node: Node, cidrs: tuple[Network, ...], pool: PoolName) -> list[LedgerEntry]:
        now_s = self._clock()
        return [
            LedgerEntry(
                cidr=cidr,
                state=LedgerState.BOUND,
                node=node.name,
                node_uid=node.uid,
                cluster_cidr=pool,
                addresses=node.internal_ips,
                backend=mixing.published(node.annotations),
                wireguard_public_key=wireguard_keys.published(node.annotations),
                since_s=now_s,
            )
            for cidr in cidrs
        ]

    def _wake(self) -> None:
        if (self._started and self._ledger.busy) or self._refresh_wanted:
            self._wanted.set()

    def _settled(self, name: str) -> None:
        """A page's write is over: what others did to the page meanwhile is looked at now."""
        for delta in self.echoes.put_aside(name):
            self.on_page(delta)

    def _see(self, page: LedgerPage) -> None:
        if not self._ledger.see(page):
            return
        self._uids[page.name] = page.uid
        if not self._started:
            return
        if self._closed.reopen(page):
            self._released()
        for line in self._allocator.adopt(page.entries, self._clock()):
            self._ledger.drop(line.cidr, line.node_uid)
        if any(line.node_uid and line.node_uid not in self._nodes for line in page.entries):
            self._unseen.look()
        self._try_refused()
        self._wake()

    def _page_deleted(self, page: LedgerPage | Echo) -> None:
        """Somebody deleted a page: its lines are written again."""
        if self._uids.get(page.name, page.uid) != page.uid or not self._started:
            return  # it has been written again already
        log.warning(
            "ledger_page_deleted_by_another", page=page.name, remedy="leave these objects to nodeipam-ctl"
        )
        self._uids.pop(page.name, None)
        uids = self._promised_on(page.page)
        self._ledger.missing(page.page)
        self._write_again(uids)

    def _set_back(self, page: LedgerPage) -> None:
        """The server's history was set back, as by a restored etcd: what the page lost is written again."""
        log.warning("ledger_page_set_back", page=page.name, to_version=page.resource_version)
        uids = self._promised_on(page.page)
        self.echoes.forget(page.name)
        self._ledger.set_back(page)
        self._see(page)
        if self._started:
            self._write_again(uids)

    def _promised_on(self, page: Network) -> set[NodeUID]:
        return {entry.node_uid for entry in self._ledger.entries() if contains(page, entry.cidr)}

    def _write_again(self, uids: Iterable[NodeUID]) -> None:
        for uid in uids:
            for wanted in self._allocator.lines(uid):
                self._ledger.want(wanted)
            node = self._nodes.get(uid)
            if node is not None and node.pod_cidrs:
                self.observe(node)  # what only the Node says, its WireGuard key
        self._wake()

    def _stands_already(self, uid: NodeUID) -> None:
        """Has a Node patched if all its lines stand."""
        if self._ledger.stands(uid, self._open[uid].pod_cidrs):
            self._submit(self._open.pop(uid))

    def _conflicted(self, conflict: Conflict) -> None:
        """A promise met another's line: that block is occupied, and the Node is decided again."""
        wanted, held = conflict.wanted, conflict.held
        said = {"pod_cidr": str(wanted.cidr), "reason": conflict.reason}
        if self._refused.get(wanted.node_uid) != said:
            log.warning("ledger_line_refused", node=wanted.node, **said)
        assignment = self._open.pop(wanted.node_uid, None)
        if assignment is not None:
            self._allocator.release(wanted.node_uid, (wanted.cidr,))
        if held is not None and held.state is not LedgerState.SPLIT:
            self._allocator.adopt((held,), self._clock())
            self._unseen.look()
        else:
            self._closed.close(conflict)
        node = self._nodes.get(wanted.node_uid)
        if assignment is not None:
            self._decide_again(wanted.node_uid)
        elif node is not None and wanted.cidr in node.pod_cidrs:
            self._refused[node.uid] = said
            self._collided(node, _collision(conflict))

    def _try_refused(self) -> None:
        """Lines went or changed: those that were refused before may stand now."""
        for uid in tuple(self._refused):
            node = self._nodes.get(uid)
            if node is None or self.stands(node):
                del self._refused[uid]
            else:
                self.observe(node)

    def _forget(self, uid: NodeUID) -> None:
        released = self._allocator.forget(uid, self._clock())
        if released is not None:
            log.info(
                "ledger_line_without_node", node=released.node, pod_cidrs=[str(c) for c in released.blocks]
            )
            self.release(released)
            self._released()


def _collision(conflict: Conflict) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="LedgerConflict",
        subject=f"node/{conflict.wanted.node}",
        message=f"podCIDR {conflict.wanted.cidr} is not promised to it: {conflict.reason}",
        remedy="delete and re-create one of the two nodes; run one allocator only",
    )
