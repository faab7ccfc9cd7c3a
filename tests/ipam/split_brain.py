"""Two full allocators that both believe they lead, against one API server: writes are delayed, lost, or answered too late."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.ledger import Ledger
from nodeipam_ctl.ipam.page_writes import PageWrite
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    FamilySpec,
    LedgerEntry,
    LedgerPage,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Retain,
)
from nodeipam_ctl.prefixes import Family, Network, overlaps


class Server:
    """What the API server keeps: Nodes whose podCIDRs change only from empty, pages with versions, and a log of changes."""

    def __init__(self) -> None:
        self.nodes: dict[NodeName, Node] = {}
        self.pages: dict[str, LedgerPage] = {}
        self.log: list[Node | LedgerPage | NodeUID] = []
        self.serial = 0
        self.patched = False

    def create(self, name: str, now: float) -> None:
        """A kubelet registers, unless a Node of this name is there."""
        if name in self.nodes:
            return
        self.serial += 1
        node = Node(name=NodeName(name), uid=NodeUID(f"u{self.serial}"), created_s=now)
        self.nodes[node.name] = node
        self.log.append(node)

    def delete(self, name: NodeName) -> None:
        """The Node object is gone."""
        self.log.append(self.nodes.pop(name).uid)

    def patch(self, assignment: Assignment) -> bool:
        """Sets podCIDRs if the uid is the same and none are there."""
        node = self.nodes.get(assignment.node)
        if (
            node is None
            or node.uid != assignment.uid
            or (node.pod_cidrs and node.pod_cidrs != assignment.pod_cidrs)
        ):
            return False
        self.nodes[node.name] = replace(node, pod_cidrs=assignment.pod_cidrs)
        self.log.append(self.nodes[node.name])
        self.patched = True
        return True

    def put(self, page: LedgerPage) -> LedgerPage | None:
        """Writes a page at its version; an unchanged one keeps its version, as kube-apiserver does."""
        present = self.pages.get(page.name)
        if (present.resource_version if present else "") != page.resource_version:
            return None
        if present is not None and (present.entries, present.turn) == (page.entries, page.turn):
            return present
        self.serial += 1
        self.pages[page.name] = written = replace(
            page, resource_version=str(self.serial), uid=present.uid if present else f"p{self.serial}"
        )
        self.log.append(written)
        return written

    def overlap(self) -> tuple[Node, Node] | None:
        """Two nodes that have an address in common; looked for only after a patch."""
        if not self.patched:
            return None
        self.patched = False
        nodes = [node for node in self.nodes.values() if node.pod_cidrs]
        for i, a in enumerate(nodes):
            for b in nodes[i + 1 :]:
                if any(overlaps(x, y) for x in a.pod_cidrs for y in b.pod_cidrs):
                    return a, b
        return None


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
        for page in self.server.pages.values():
            self.take(page, now)
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
        """Decides for all nodes that are known to have nothing."""
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
            self.patching.add(uid)
            self.send_patch(assignment)

    def send_patch(self, assignment: Assignment) -> None:
        def done(result: object) -> None:
            self.patching.discard(assignment.uid)
            self.assignments.pop(assignment.uid, None)

        def lost() -> None:
            self.patching.discard(assignment.uid)

        self.flights.append(Flight(lambda: self.server.patch(assignment), done, lost))


def play(
    seed: int, pools: list[list[ClusterCIDR]], *, ledger_on: bool, steps: int = 200, settle: bool = True
) -> tuple[Server, tuple[Node, Node] | None, list[Replica]]:
    """One random history; stops at the first overlap. `pools` is what each replica believes the ClusterCIDRs to be."""
    rng = random.Random(seed)
    server = Server()
    now = 1000.0
    for i in range(rng.randint(0, 3)):
        server.create(f"n{i}", now)
    eager = rng.random() < 0.5
    replicas = [Replica(server, ledger_on, own, eager=eager) for own in pools]
    for replica in replicas:
        replica.start(now)
    names = 0
    for _ in range(steps):
        now += rng.choice((0.0, 0.0, 1.0, 30.0))
        event = rng.random()
        if event < 0.10 and len(server.nodes) < 9:
            names += 1
            server.create(rng.choice((f"n{names}", f"n{rng.randint(0, 3)}x{names}")), now)
        elif event < 0.20 and server.nodes:
            server.delete(rng.choice(sorted(server.nodes)))
        elif event < 0.21:
            i = rng.randrange(len(replicas))  # a replica restarts; what it had sent is still under way
            orphans = [Flight(f.run, lambda _: None, lambda: None) for f in replicas[i].flights if f.run]
            replicas[i] = Replica(server, ledger_on, pools[i], eager=eager, flights=orphans)
            replicas[i].start(now)
        else:
            act(rng, rng.choice(replicas), now)
        found = server.overlap()
        if found is not None:
            return server, found, replicas
    if settle:
        for _ in range(400):
            now += 10.0
            for replica in replicas:
                if rng.random() < 0.3:
                    continue  # controllers do not run in step
                while replica.flights:
                    land(rng, replica, reliable=True)
                while replica.seen_log < len(server.log):
                    replica.hear(now)
                replica.check_unseen(now)
                replica.decide(now)
                replica.write_pages(now)
                replica.patch()
            found = server.overlap()
            if found is not None:
                return server, found, replicas
            if not any(r.flights or r.seen_log < len(server.log) or r.ledger.busy for r in replicas):
                break
    return server, None, replicas


def act(rng: random.Random, replica: Replica, now: float) -> None:
    """One thing that may happen to a replica next: a single step, or a whole turn that goes well."""
    match rng.randrange(10):
        case 0 | 1:
            if replica.flights:
                land(rng, replica)
        case 2:
            for _ in range(rng.randint(1, 6)):
                replica.hear(now)
        case 3:
            replica.decide(now)
        case 4:
            replica.write_pages(now)
        case 5:
            replica.patch()
        case 6:
            replica.check_unseen(now)
        case _:
            turn(rng, replica, now, rounds=rng.randint(1, 3))


def turn(rng: random.Random, replica: Replica, now: float, *, rounds: int) -> None:
    """Hears everything, decides, and lets most of what is sent arrive."""
    while replica.seen_log < len(replica.server.log):
        replica.hear(now)
    replica.check_unseen(now)
    replica.decide(now)
    for _ in range(rounds):
        replica.write_pages(now)
        for _ in range(2 * len(replica.flights)):
            if replica.flights and rng.random() < 0.9:
                land(rng, replica, reliable=True)
        replica.patch()


def land(rng: random.Random, replica: Replica, *, reliable: bool = False) -> None:
    """A request arrives, or an answer does, or silence is noticed while the request is still under way."""
    flight = rng.choice(replica.flights)
    if flight.run is None:
        replica.flights.remove(flight)
        if reliable or rng.random() < 0.75:
            flight.answer(flight.result)
        else:
            flight.lost()
    elif reliable or rng.random() < 0.85:
        flight.result = flight.run()
        flight.run = None
    else:  # the sender gives up waiting; the request may still arrive, or never
        lost = flight.lost
        flight.lost, flight.answer = (lambda: None), (lambda _: None)
        if rng.random() < 0.3:
            replica.flights.remove(flight)
        lost()


def beliefs(seed: int) -> list[list[ClusterCIDR]]:
    """What two replicas believe one ClusterCIDR to be: the same range, often cut into blocks of different sizes."""
    rng = random.Random(seed)
    base = ip_network(rng.choice(("10.0.0.0/22", "10.0.0.0/20", "10.0.0.0/19")))
    dual = rng.random() < 0.5
    delay_s = rng.choice((0.0, 0.0, 20.0))

    def belief(masks: tuple[int, ...]) -> list[ClusterCIDR]:
        families = {
            Family.IPV4: FamilySpec(cidrs=(base,), node_mask_size=max(rng.choice(masks), base.prefixlen))
        }
        if dual:
            size = rng.choice((122, 124))
            families[Family.IPV6] = FamilySpec(cidrs=(ip_network("fd00::/120"),), node_mask_size=size)
        retain = rng.choice(tuple(Retain))
        return [ClusterCIDR(name=PoolName("p"), families=families, reuse_delay_s=delay_s, retain=retain)]

    return [belief((24, 25, 26, 28)), belief((20, 21, 22, 23, 24, 25, 27))]


def overlaps_found(seeds: range, *, ledger_on: bool) -> list[int]:
    """The seeds whose history ends with two nodes that share an address."""
    return [s for s in seeds if play(s, beliefs(s), ledger_on=ledger_on, settle=False)[1] is not None]


def main() -> None:
    """Plays as many histories as the first argument says, with the ledger and without it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    for ledger_on in (True, False):
        found = overlaps_found(range(count), ledger_on=ledger_on)
        print(
            f"ledger {'on' if ledger_on else 'off'}: {len(found)} of {count} histories end with an overlap {found[:5]}"
        )


if __name__ == "__main__":
    main()
