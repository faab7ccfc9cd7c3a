"""Which blocks does each node get now? The decisions, and the reservations that hold until their outcome is known."""

from __future__ import annotations

from collections.abc import Iterable

from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.blocks import families_of, network_of
from nodeipam_ctl.ipam.eligibility import Eligibility, Order
from nodeipam_ctl.ipam.holders import NO_POOL, Blocks, NodeRecord, Rest
from nodeipam_ctl.ipam.outcomes import NOBODY, Observed, PoolUsage, Released, Woken
from nodeipam_ctl.ipam.pools import Pool
from nodeipam_ctl.ipam.refusals import full_message, none_message
from nodeipam_ctl.ipam.serving import Served, serve
from nodeipam_ctl.ipam.tenancy import Tenancy
from nodeipam_ctl.ipam.waiting import WaitingRoom, arrival
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    Considered,
    Decision,
    Finding,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Refusal,
    RefusalReason,
    Verdict,
)
from nodeipam_ctl.prefixes import Family, Network

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
      same blocks until its outcome is known.
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
        self._eligibility = Eligibility(())
        self._waiting = WaitingRoom()
        self._considered: dict[tuple[Order, int], tuple[Considered, ...]] = {}
        self._woken: list[Woken] = []

    # -- what is known of the world ------------------------------------------------------------------------------

    def set_pools(self, pools: Iterable[ClusterCIDR]) -> tuple[Finding, ...]:
        """These are all ClusterCIDRs there are; returns what is wrong with them. Cheap when nothing changed."""
        specs = {pool.name: pool for pool in sorted(pools, key=lambda p: p.name)}
        if specs != self.tenancy.specs:
            self.tenancy.set_pools(specs)
            usable = (pool.spec for pool in self.tenancy.pools.values())
            self._eligibility = Eligibility(usable, self.tenancy.invalid)
            self._considered.clear()
            self.version += 1
        return pool_rules.findings(specs.values())

    def set_reserved(self, source: str, networks: Iterable[Network]) -> None:
        """These networks are never handed out, as long as `source` (such as `servicecidr/kubernetes`) says so."""
        self.tenancy.exclude(f"reserved {source}", [(network, f"{source} {network}") for network in networks])
        self.version += 1

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
        if record.addresses != node.internal_ips:
            tenancy.set_addresses(record, node.internal_ips)
        if not node.pod_cidrs:
            if record.actual:
                return _CONTENT  # an old event: podCIDRs never go away again
            if node.deleting:
                self._waiting.leave(node.uid)
                return _CONTENT
            self._waiting.renew(node)
            return _WANTS
        blocks = families_of(node.pod_cidrs)
        if blocks == record.actual:
            return _CONTENT
        findings = tenancy.conflict_findings(record, blocks)
        returned = tuple(network_of(key, f) for f, key in record.promised if (f, key) not in blocks)
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
        left: Blocks = tuple(block for block in held if not self._used_by_a_node(block))
        if delay > 0:
            self.tenancy.rest(record, left, pool, released_s=now, until_s=now + delay)
        self.version += 1
        return Released(
            node=record.name,
            uid=uid,
            pool=pool,
            blocks=tuple(network_of(key, family) for family, key in left),
            resting_until_s=now + delay if delay > 0 and left else 0.0,
        )

    def settle(self, uid: NodeUID) -> None:
        """The promise to this node is known to stand in its spec."""
        record = self.tenancy.records.get(uid)
        if record is not None and record.promised and not record.actual:
            self.tenancy.hold(record, actual=record.promised)

    def release(self, uid: NodeUID) -> None:
        """The promise to this node is known not to stand, neither in its spec nor in the ledger: its blocks are free."""
        record = self.tenancy.records.get(uid)
        if record is not None and record.promised:
            self.tenancy.hold(record, actual=record.actual)
            self.version += 1

    # -- decisions -----------------------------------------------------------------------------------------------

    def decide(self, batch: Iterable[Node], now: float) -> list[Decision]:
        """Decisions for the batch and for waiting nodes that something changed for, in order of arrival.

        Nodes that already have podCIDRs, or are being deleted without any, get no decision. A waiting node that is not
        in the batch gets one only when the answer is another than before.
        """
        self.tick(now)
        asked = {node.uid: node for node in batch}
        batched = frozenset(asked)
        for node in self._waiting.due(self.version):
            asked.setdefault(node.uid, node)
        full: dict[tuple[PoolName, tuple[tuple[Family, int], ...]], str] = {}
        decisions: list[Decision] = []
        for node in sorted(asked.values(), key=arrival) if len(asked) > 1 else list(asked.values()):
            record = self.tenancy.records.get(node.uid)
            if record is None or not record.seen:
                self.observe(node, now)
                record = self.tenancy.records[node.uid]
            if record.actual or node.deleting or node.pod_cidrs:
                continue
            decision = self._again(record) or self._decide(node, record, now, full)
            if isinstance(decision, Assignment):
                self._waiting.leave(node.uid)
                decisions.append(decision)
            elif self._waiting.refuse(node, decision, self.version) or node.uid in batched:
                decisions.append(decision)
        return decisions

    def order(self, node: Node) -> Order:
        """Which ClusterCIDRs may serve a node, in which order; nothing is changed."""
        return self._eligibility.order(node)

    def tick(self, now: float) -> None:
        """Ends the rests whose time is over; `decide` does it as well."""
        over = self.tenancy.rests.expire(now)
        if over:
            self._woken.extend(_woken(rest) for rest in over)
            self.version += 1

    def woken(self) -> list[Woken]:
        """The rests that ended since this was last asked, in order."""
        taken, self._woken = self._woken, []
        return taken

    # -- what can be asked ---------------------------------------------------------------------------------------

    def waiting(self) -> list[tuple[Node, Refusal]]:
        """The nodes that wait for a block, in order of arrival, each with its refusal."""
        return list(self._waiting)

    def has_due(self) -> bool:
        """Whether `decide((), now)` would look at a waiting node again."""
        return bool(self._waiting.due(self.version))

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
        )

    def held_by(self, uid: NodeUID) -> tuple[Network, ...]:
        """The blocks a node holds or was promised, IPv4 first."""
        record = self.tenancy.records.get(uid)
        return tuple(network_of(key, family) for family, key in record.held) if record is not None else ()

    def pool_of(self, uid: NodeUID) -> PoolName:
        """The ClusterCIDR under which a node's blocks are counted; "" when they lie outside every range."""
        record = self.tenancy.records.get(uid)
        return record.pool if record is not None else NO_POOL

    # -- private -------------------------------------------------------------------------------------------------

    def _again(self, record: NodeRecord) -> Assignment | None:
        """The same answer as before, while the outcome of the earlier one is open."""
        if not record.promised:
            return None
        return Assignment(
            node=record.name,
            uid=record.uid,
            pool=record.pool,
            pod_cidrs=tuple(network_of(key, family) for family, key in record.promised),
            considered=(
                Considered(
                    pool=record.pool, verdict=Verdict.CHOSEN, rule="promised before, outcome not yet known"
                ),
            ),
        )

    def _decide(
        self,
        node: Node,
        record: NodeRecord,
        now: float,
        full: dict[tuple[PoolName, tuple[tuple[Family, int], ...]], str],
    ) -> Decision:
        order = self._eligibility.order(node)
        if order.refusal is not None:
            reason, message = order.refusal
            return Refusal(node=node.name, uid=node.uid, reason=reason, message=message)
        tenancy = self.tenancy
        tried: list[tuple[Pool, str]] = []
        own_first = tenancy.first_by_name(node.name, order)
        for place in own_first:
            pool = tenancy.pools[place.pool]
            personal = own_first is not order.places
            known = (place.pool, order.mask_sizes)
            why = full.get(known) if full and not personal else None
            if why is None:
                served = serve(pool, node.name, order.mask_sizes, tenancy.occupancies, tenancy.rests)
                if isinstance(served, Served):
                    return self._assign(node, record, pool, served, order, tried, now)
                why = served
                if not personal:
                    full[known] = why
            tried.append((pool, why))
        if tried:
            return Refusal(
                node=node.name,
                uid=node.uid,
                reason=RefusalReason.FULL,
                message=full_message(tried),
                considered=_considered(order, tried, None, ""),
            )
        reason, message = none_message(order.passed_over)
        return Refusal(
            node=node.name,
            uid=node.uid,
            reason=reason,
            message=message,
            considered=_considered(order, tried, None, ""),
        )

    def _assign(
        self,
        node: Node,
        record: NodeRecord,
        pool: Pool,
        served: Served,
        order: Order,
        tried: list[tuple[Pool, str]],
        now: float,
    ) -> Assignment:
        self.tenancy.promise(record, served.blocks, pool.name)
        record.since_s = now
        for window, key in served.cursors:
            window.advance(key)
        for rest in served.ended:
            self._woken.append(_woken(rest, taken_by=node.name, early=rest.node != node.name))
        considered = None if tried or served.rule else self._considered.get((order, 0))
        if considered is None:
            considered = _considered(order, tried, pool.name, served.rule)
            if not tried and not served.rule and not order.mask_sizes:
                self._considered[order, 0] = considered
        return Assignment(
            node=node.name,
            uid=node.uid,
            pool=pool.name,
            pod_cidrs=tuple([network_of(key, family) for family, key in served.blocks]),
            considered=considered,
        )

    def _used_by_a_node(self, block: tuple[Family, int]) -> bool:
        family, key = block
        return any(isinstance(h, NodeRecord) for h in self.tenancy.occupancies[family].space.holders(key))


def _considered(
    order: Order, tried: list[tuple[Pool, str]], chosen: PoolName | None, rule: str
) -> tuple[Considered, ...]:
    refused = {pool.name: why for pool, why in tried}
    looked: list[Considered] = []
    for place in order.places:
        if place.pool == chosen:
            looked.append(Considered(pool=place.pool, verdict=Verdict.CHOSEN, rule=rule or place.rule))
        elif place.pool in refused:
            looked.append(Considered(pool=place.pool, verdict=Verdict.FULL, rule=refused[place.pool]))
        else:
            looked.append(Considered(pool=place.pool, verdict=Verdict.NOT_REACHED, rule=place.rule))
    looked.extend(
        Considered(pool=name, verdict=verdict, rule=why) for name, verdict, why in order.passed_over
    )
    return tuple(looked)


def _woken(rest: Rest, *, taken_by: NodeName = NOBODY, early: bool = False) -> Woken:
    return Woken(
        cidr=network_of(rest.key, rest.family),
        node=rest.node,
        uid=rest.uid,
        pool=rest.pool,
        early=early,
        taken_by=taken_by,
    )
