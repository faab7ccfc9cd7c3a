"""One controller with its requests under way: each may arrive late, and so may its answer, or be lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.ledger import Ledger
from nodeipam_ctl.ipam.page_writes import PageWrite
from nodeipam_ctl.model import Assignment, ClusterCIDR, LedgerEntry, LedgerPage, LedgerState, Node, NodeUID
from nodeipam_ctl.prefixes import Network
from tests.ipam.server import Server


@dataclass(slots=True)
class Flight:
    """A request under way: `run` is what the server does when it arrives, None after that; then the answer is under way."""

    run: Callable[[], object] | None
    answer: Callable[[object], None]
    lost: Callable[[], None]
    result: object = None


@dataclass(slots=True)
class Replica:
    """One controller: it decides, writes pages, patches nodes, and learns from the log and from answers."""

    server: Server
    ledger_on: bool
    pools: list[ClusterCIDR]
    allocator: Allocator = field(default_factory=Allocator)
    ledger: Ledger = field(default_factory=Ledger)
    flights: list[Flight] = field(default_factory=list)
    seen_log: int = 0
    eager: bool = False
    pages_in_flight: list[Network] = field(default_factory=list)
    assignments: dict[NodeUID, Assignment] = field(default_factory=dict)
    patching: set[NodeUID] = field(default_factory=set)
    store: dict[NodeUID, Node] = field(default_factory=dict)

    def start(self, now: float) -> None:
        """Reads everything: pages first, then Nodes, so that a line without a Node is a Node that is gone."""
        self.allocator.set_pools(self.pools)
        for page in self.server.pages.values() if self.ledger_on else ():
            self.ledger.see(page)
        for stale in self.allocator.adopt(tuple(self.ledger.entries()), now):
            self.ledger.drop(stale.cidr, stale.node_uid)
        for node in self.server.nodes.values():
            self.take(node, now)
        self.seen_log = len(self.server.log)

    def take(self, item: Node | LedgerPage | NodeUID, now: float) -> None:
        """An event, or an object that was read."""
        if isinstance(item, Node):
            self.store[item.uid] = item
            observed = self.allocator.observe(item, now)
            for block in observed.returned:
                self.ledger.drop(block, item.uid)
            if item.pod_cidrs:
                self.assignments.pop(item.uid, None)
                if self.ledger_on:
                    for line in self.allocator.lines(item.uid):
                        self.ledger.want(line)
        elif isinstance(item, LedgerPage):
            if self.ledger_on:
                self.ledger.see(item)
                for stale in self.allocator.adopt(item.entries, now):
                    self.ledger.drop(stale.cidr, stale.node_uid)
        else:
            self.gone(item, now)

    def gone(self, uid: NodeUID, now: float) -> None:
        """The Node object of this uid is gone, for certain."""
        self.store.pop(uid, None)
        self.assignments.pop(uid, None)
        released = self.allocator.forget(uid, now)
        if released is None:
            return
        for block in released.shared:
            self.ledger.drop(block, uid)
        for block in released.blocks:
            if released.resting_until_s:
                self.ledger.want(
                    LedgerEntry(
                        cidr=block,
                        state=LedgerState.RESTING,
                        node=released.node,
                        node_uid=uid,
                        cluster_cidr=released.pool,
                        since_s=now,
                        reusable_at_s=released.resting_until_s,
                    )
                )
            else:
                self.ledger.drop(block, uid)

    # -- one action each -----------------------------------------------------------------------------------------

    def hear(self, now: float) -> None:
        """The next event of the watch."""
        if self.seen_log < len(self.server.log):
            self.seen_log += 1
            self.take(self.server.log[self.seen_log - 1], now)

    def check_unseen(self, now: float) -> None:
        """A live read of every node that only the ledger names."""
        for name, uid in self.allocator.unseen():
            node = self.server.nodes.get(name)
            if node is not None and node.uid == uid:
                self.take(node, now)
            else:
                self.gone(uid, now)

    def decide(self, now: float) -> None:
        """Decides for all nodes that are known to have nothing; what is promised and not sent yet may not be good any more."""
        for node in self.store.values():
            if not node.pod_cidrs and node.uid not in self.patching and not self.allocator.stands_by(node):
                self.assignments.pop(node.uid, None)
                self.allocator.reconsider(node)
        wanting = [
            node for node in self.store.values() if not node.pod_cidrs and node.uid not in self.assignments
        ]
        decisions = self.allocator.decide(wanting, now)
        for woken in self.allocator.woken():
            self.ledger.drop(woken.cidr, woken.uid)
        for decision in decisions:
            if isinstance(decision, Assignment):
                self.assignments[decision.uid] = decision
                if self.ledger_on:
                    for line in self.allocator.lines(decision.uid):
                        self.ledger.want(line)

    def write_pages(self, now: float) -> None:
        """Sends the next page writes; a patient replica waits until those before have their outcome."""
        if not self.ledger_on or (self.pages_in_flight and not self.eager):
            return
        step = self.ledger.step(now, self.pages_in_flight)
        for conflict in step.conflicts:
            uid = conflict.wanted.node_uid
            self.assignments.pop(uid, None)
            self.allocator.release(uid, [conflict.wanted.cidr])
            if conflict.held is not None:
                self.allocator.adopt([conflict.held], now)
        for write in step.writes:
            self.send_page(write, now)

    def send_page(self, write: PageWrite, now: float) -> None:
        self.pages_in_flight.append(write.page.page)

        def done(result: object) -> None:
            self.pages_in_flight.remove(write.page.page)
            if isinstance(result, LedgerPage):
                self.ledger.wrote(write, resource_version=result.resource_version, uid=result.uid)
            else:
                self.read_page(write.page, now)

        def lost() -> None:
            self.pages_in_flight.remove(write.page.page)
            self.read_page(write.page, now)

        self.flights.append(Flight(lambda: self.server.put(write.page), done, lost))

    def read_page(self, page: LedgerPage, now: float) -> None:
        present = self.server.pages.get(page.name)
        if present is None:
            self.ledger.missing(page.page)
        else:
            self.take(present, now)

    def patch(self) -> None:
        """Patches every node whose promise stands."""
        for uid, assignment in list(self.assignments.items()):
            if uid in self.patching or (self.ledger_on and not self.ledger.stands(uid, assignment.pod_cidrs)):
                continue
            if not self.allocator.stands_by(self.store[uid]):
                del self.assignments[uid]
                continue
            self.patching.add(uid)
            self.send_patch(assignment)

    def send_patch(self, assignment: Assignment) -> None:
        def done(result: object) -> None:
            self.patching.discard(assignment.uid)
            self.assignments.pop(assignment.uid, None)
            if result:
                self.allocator.settle(assignment.uid)

        def lost() -> None:
            self.patching.discard(assignment.uid)
            self.allocator.insist(assignment.uid)

        self.flights.append(Flight(lambda: self.server.patch(assignment), done, lost))
