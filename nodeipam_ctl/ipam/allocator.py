"""Which blocks does each node get now? The decisions, and the reservations that hold until their outcome is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.adoption import Adoption
from nodeipam_ctl.ipam.blocks import families_of, network_of
from nodeipam_ctl.ipam.decider import Decider, Full, as_woken
from nodeipam_ctl.ipam.eligibility import Order
from nodeipam_ctl.ipam.fillers import fillers
from nodeipam_ctl.ipam.holders import NO_POOL, Blocks
from nodeipam_ctl.ipam.outcomes import Observed, PoolUsage, Released, Woken
from nodeipam_ctl.ipam.podcidrs import is_too_large
from nodeipam_ctl.ipam.tenancy import Tenancy
from nodeipam_ctl.ipam.waiting import Round, WaitingRoom
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    Decision,
    Finding,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Refusal,
)
from nodeipam_ctl.prefixes import Network

_NONE: Mapping[PoolName, str] = {}
_WANTS = Observed(wants=True)
_CONTENT = Observed(wants=False)


class Allocator:
    """Decides podCIDRs from what it was told, and keeps what it decided reserved until the outcome is known.

    The contract, for the controller:

    - `set_pools(all ClusterCIDRs)` whenever one changes, `set_reserved(source, networks)` for service ranges and the
      like: both replace what they were given before. `observe(node, now)` for every Node event, `forget(uid, now)` when
      the Node object is gone (never for a mere deletionTimestamp). Nothing may be decided before the first complete
      lists of ClusterCIDRs, Nodes and ledger pages were given, or used blocks look free.
    - `decide(batch, now)` answers for the batch, plus for the nodes that wait and for which something changed since. An
      `Assignment` reserves its blocks under the node's uid before it is returned. Asked again, the same node gets the
      same blocks until its outcome is known, unless `reconsider` found them to be no good any more.
    - After writing: success needs nothing more (the Node's own event, or `settle(uid)`, confirms it); a definite failure
      is `release(uid)`; an unknown outcome is left alone, and the next `observe` of the same uid settles it: a Node that
      shows podCIDRs is adopted as it is, one that shows none is decided again with the same blocks.
    - `woken()` names the rests that ended since it was last called, so that their ledger lines can go.
    - Times are seconds since the epoch and are passed in. No method raises for anything an operator can do.

    Decisions do not depend on the order of a batch or of the ClusterCIDRs: nodes are served in order of arrival
    (creationTimestamp, then name).
    """

    def __init__(self) -> None:
        self.tenancy = Tenancy()
        self.version = 0
        """Grows whenever a node that was refused might now be served."""
        self._waiting = WaitingRoom()
        self._decider = Decider(self.tenancy)
        self._adoption = Adoption(self.tenancy, self._decider, self._waiting)

    # -- what is known of the world ------------------------------------------------------------------------------

    def set_pools(
        self, pools: Iterable[ClusterCIDR], unreadable: Mapping[PoolName, str] = _NONE
    ) -> tuple[Finding, ...]:
        """These are all ClusterCIDRs there are; returns what is wrong with them. Cheap when nothing changed.

        Args:
            pools: those that could be read.
            unreadable: why the others could not; a node that gets nothing is told of them.
        """
        specs = {pool.name: _without_versions(pool) for pool in sorted(pools, key=lambda p: p.name)}
        if specs != self.tenancy.specs or unreadable != self.tenancy.unreadable:
            self.tenancy.set_pools(specs, unreadable)
            self._decider.renew()
            self._waiting.disband()
            self.version += 1
        return pool_rules.findings(specs.values())

    def set_reserved(
        self, source: str, networks: Iterable[Network], *, remedy: str | None = None
    ) -> tuple[tuple[NodeUID, Finding], ...]:
        """These networks are never handed out, as long as `source` (such as `servicecidr/kubernetes`) says so.

        Args:
            source: who says so.
            networks: all of them.
            remedy: what frees them, when they belong to nobody and only our ledger is in the way.

        Returns:
            What is wrong with nodes that have a part of them already, when that is news.
        """
        named = [(network, f"{source} {network}") for network in networks]
        if not self.tenancy.exclude(f"reserved {source}", named, remedy=remedy):
            return ()
        self.version += 1
        return tuple(
            (record.uid, finding)
            for record in self.tenancy.nodes_in(network for network, _ in named)
            for finding in self.tenancy.conflict_findings(record, record.actual)
            if f"held by {source} " in finding.message
        )

    def observe(self, node: Node, now: float) -> Observed:
        """A Node as the API server shows it now; what it holds is occupied, whoever gave it."""
        tenancy = self.tenancy
        earlier = tenancy.uid_of(node.name)
        if earlier is not None and earlier != node.uid:
            self.forget(earlier, now)  # one name, one object: the one of the other uid is gone
        record = tenancy.meet(node.uid, node.name)
        if not record.seen:
            record.created_s = node.created_s
            tenancy.see(record)
        if record.addresses != node.internal_ips and tenancy.set_addresses(record, node.internal_ips):
            self.version += 1
        if not node.pod_cidrs:
            if record.shown:
                return _CONTENT  # an old event: podCIDRs never go away again
            if node.deleting:
                self._waiting.leave(node.uid)
                return _CONTENT
            self._waiting.renew(node)
            return _WANTS
        blocks = families_of(node.pod_cidrs)
        if blocks == record.shown and not record.noted:
            return _CONTENT
        findings = tenancy.conflict_findings(record, blocks)
        record.unfit = tuple(block for block in blocks if is_too_large(*block))
        blocks = tuple(block for block in blocks if block not in record.unfit)
        returned = tuple(network_of(key, f) for f, key in record.held if (f, key) not in blocks)
        self.version += self._decider.end_rests(blocks, record.name)
        tenancy.hold(record, actual=blocks)
        record.since_s = record.since_s or now
        self._waiting.leave(node.uid)
        if returned:
            self.version += 1
        return (
            Observed(wants=False, findings=findings, returned=returned) if findings or returned else _CONTENT
        )

    def forget(self, uid: NodeUID, now: float) -> Released | None:
        """The Node object of this uid is gone: its blocks rest, or are free. None when it was not known."""
        self._waiting.leave(uid)
        record = self.tenancy.records.get(uid)
        if record is None:
            return None
        pool, held = record.pool, record.held
        self.tenancy.part(record)
        spec = self.tenancy.specs.get(pool)
        delay = spec.reuse_delay_s if spec is not None else 0.0
        left: Blocks = tuple(block for block in held if not self.tenancy.is_used(block))
        if delay > 0:
            self.tenancy.rest(record, left, pool, released_s=now, until_s=now + delay)
            self._waiting.single_out(self.tenancy.uid_of(record.name))
        self.version += 1
        return Released(
            node=record.name,
            uid=uid,
            pool=pool,
            blocks=tuple(network_of(key, family) for family, key in left),
            shared=tuple(network_of(key, family) for family, key in held if (family, key) not in left),
            resting_until_s=now + delay if delay > 0 and left else 0.0,
        )

    def settle(self, uid: NodeUID) -> None:
        """The promise to this node is known to stand in its spec."""
        record = self.tenancy.records.get(uid)
        if record is not None and record.promised and not record.shown:
            # What else was noted for it stays until its event says that these lines can go.
            self.tenancy.hold(record, actual=record.promised, noted=record.noted)

    def set_back(self, uid: NodeUID) -> None:
        """The server's history was set back and a node lost its podCIDRs: it is to get the same again, if nobody else has them."""
        tenancy = self.tenancy
        record = tenancy.records.get(uid)
        if record is None or not record.shown:
            return
        blocks, record.unfit, record.whole = record.actual, (), True
        disputed = not record.pool or tenancy.conflict_findings(record, blocks)
        tenancy.hold(record, actual=(), promised=() if disputed else blocks)
        self.version += 1

    def release(self, uid: NodeUID, blocks: Iterable[Network] | None = None) -> None:
        """A promise to this node is known not to stand, neither in its spec nor in the ledger: its blocks are free.

        Args:
            uid: the node; it is decided again when it is asked for.
            blocks: those that do not stand; all that was promised when not given. A block whose ledger line does stand
                must not be among them while the node lives and shows no podCIDRs: whoever read the line may use it.
        """
        record = self.tenancy.records.get(uid)
        if record is None or not record.promised:
            return
        gone = record.promised if blocks is None else families_of(tuple(blocks))
        promised = tuple(block for block in record.promised if block not in gone)
        record.whole = False
        self.tenancy.hold(record, actual=record.actual, promised=promised, noted=record.noted)
        self.version += 1

    def insist(self, uid: NodeUID) -> None:
        """Nobody knows what became of a request that gives a node its promise: `reconsider` leaves it alone."""
        if (record := self.tenancy.records.get(uid)) is not None:
            record.revocable = False

    def stands_by(self, node: Node) -> bool:
        """Whether a promise is still a good one, or must be kept in any case."""
        return self._decider.stands_by(node, self.tenancy.records.get(node.uid))

    def reconsider(self, node: Node) -> None:
        """No request that gives the node its promise is under way: it is decided anew if it is no good any more."""
        if not self.stands_by(node):
            self.tenancy.revoke(self.tenancy.records[node.uid])

    def adopt(self, entries: Iterable[LedgerEntry], now: float) -> tuple[LedgerEntry, ...]:
        """Lines that stand in the ledger, at start and whenever a page changed: what they promise is occupied.

        Returns:
            Lines that can go: the node shows other podCIDRs, or the rest is over.
        """
        stale, freed = self._adoption.adopt(entries, now)
        self.version += freed
        return stale

    def unseen(self) -> tuple[tuple[NodeName, NodeUID], ...]:
        """Nodes that only the ledger knows: read each from the API server, then `observe` or `forget` it."""
        return tuple((r.name, r.uid) for r in self.tenancy.records.values() if not r.seen)

    def lines(self, uid: NodeUID) -> tuple[LedgerEntry, ...]:
        """The lines that should stand for a node: what it holds, or what it is promised."""
        record = self.tenancy.records.get(uid)
        if record is None:
            return ()
        return tuple(
            LedgerEntry(
                cidr=network_of(key, family),
                state=LedgerState.BOUND,
                node=record.name,
                node_uid=uid,
                cluster_cidr=record.pool,
                addresses=record.addresses,
                since_s=record.since_s,
            )
            for family, key in record.actual or record.promised
        )

    # -- decisions -----------------------------------------------------------------------------------------------

    def decide(self, batch: Iterable[Node], now: float) -> list[Decision]:
        """Decisions for the batch and for waiting nodes that something changed for, in order of arrival.

        Nodes that already have podCIDRs, or are being deleted without any, get no decision. A waiting node that is not
        in the batch gets one only when the answer is another than before.
        """
        self.tick(now)
        asked = {node.uid: node for node in batch}
        decisions: dict[NodeUID, Decision] = {}
        version = None
        while version != self.version:  # once more when a decision freed more than it took
            version = self.version
            self._decide(asked, decisions, now)
            asked = {}
        return list(decisions.values())

    def order(self, node: Node) -> Order:
        """Which ClusterCIDRs may serve a node, in which order; nothing is changed."""
        return self._decider.order(node)

    def tick(self, now: float) -> None:
        """Ends the rests whose time is over; `decide` does it as well."""
        over = self.tenancy.rests.expire(now)
        if over:
            self._decider.woken.extend(as_woken(rest) for rest in over)
            self.version += 1

    def woken(self) -> list[Woken]:
        """The rests that ended since this was last asked, in order."""
        taken, self._decider.woken = self._decider.woken, []
        return taken

    # -- what can be asked ---------------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[Node, Refusal]]:
        """The nodes that wait for a block, in order of arrival, each with its refusal."""
        return list(self._waiting)

    def has_due(self) -> bool:
        """Whether `decide((), now)` would look at a waiting node again."""
        return self._waiting.is_due(self.version)

    def next_end_s(self) -> float | None:
        """When the next rest ends and `tick` or `decide` should be called, in seconds since the epoch."""
        return self.tenancy.rests.next_end_s()

    def usage(self, name: PoolName) -> PoolUsage:
        """How full a ClusterCIDR is; zeros for one that is unknown or cannot be used."""
        pool = self.tenancy.pools.get(name)
        return PoolUsage(
            families={family: window.usage() for family, window in pool.windows} if pool is not None else {},
            nodes=self.tenancy.nodes_of[name],
            waiting=self._waiting.for_pool[name],
            filled=tuple(f for family, window in pool.windows for f in fillers(family, window))
            if pool
            else (),
        )

    def held_by(self, uid: NodeUID) -> tuple[Network, ...]:
        """The blocks a node holds or was promised, IPv4 first."""
        record = self.tenancy.records.get(uid)
        return tuple(network_of(key, family) for family, key in record.held) if record is not None else ()

    def pool_of(self, uid: NodeUID) -> PoolName:
        """The ClusterCIDR under which a node's blocks are counted; "" when they lie outside every range."""
        return record.pool if (record := self.tenancy.records.get(uid)) is not None else NO_POOL

    # -- private -------------------------------------------------------------------------------------------------

    def _decide(self, asked: Mapping[NodeUID, Node], decisions: dict[NodeUID, Decision], now: float) -> None:
        """One round: everybody who was asked for, and of those who wait as many as can be served."""
        full: Full = {}
        turns = Round(self._waiting, asked.values(), lambda: self.version)
        for node in turns:
            record = self.tenancy.records.get(node.uid)
            if record is None or not record.seen:
                self.observe(node, now)
                record = self.tenancy.records[node.uid]
            if record.shown or node.deleting or node.pod_cidrs:
                self._waiting.leave(node.uid)
                continue
            decision = self._decider.decide(node, record, full, now)
            if isinstance(decision, Assignment):
                self._waiting.leave(node.uid)
                decisions[node.uid] = decision
                if self._decider.freed_more:
                    self._decider.freed_more = False
                    self.version += 1
                    full.clear()
                    turns.renew()
                continue
            line = self._decider.line_of(node, record)
            if self._waiting.refuse(node, decision, self.version, line) or node.uid in asked:
                decisions[node.uid] = decision


def _without_versions(pool: ClusterCIDR) -> ClusterCIDR:
    """A ClusterCIDR without what changes whenever its status or its finalizers are written."""
    return replace(pool, resource_version="", generation=0, finalizers=())
