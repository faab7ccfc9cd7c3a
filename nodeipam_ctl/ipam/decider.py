"""What is the answer for one node, and what did it take to give it? Orders, servings and refusals become decisions."""

from __future__ import annotations

from nodeipam_ctl.ipam.blocks import covers, length_of, network_of
from nodeipam_ctl.ipam.eligibility import MANY_ANSWERS, Eligibility, Order
from nodeipam_ctl.ipam.holders import Blocks, MaskSizes, NodeRecord, Rest
from nodeipam_ctl.ipam.outcomes import NOBODY, Waiver, Woken
from nodeipam_ctl.ipam.pools import Pool
from nodeipam_ctl.ipam.refusals import full_message, none_message
from nodeipam_ctl.ipam.serving import Served, serve
from nodeipam_ctl.ipam.tenancy import Tenancy
from nodeipam_ctl.ipam.waiting import Line
from nodeipam_ctl.model import (
    Assignment,
    Considered,
    Decision,
    Node,
    NodeName,
    PoolName,
    Refusal,
    RefusalReason,
    Verdict,
)
from nodeipam_ctl.prefixes import Family

Full = dict[tuple[PoolName, tuple[tuple[Family, int], ...]], str]
"""ClusterCIDRs found full for a block size in this batch, with the rule: the next node need not search again."""


class Decider:
    """Answers for nodes and marks what it promised.

    Args:
        tenancy: who holds what.

    Attributes:
        woken: rests that ended since somebody took this list.
        freed_more: a rest ended for a block that is smaller than what rested; whoever saw it may take it back.
    """

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._eligibility = Eligibility(())
        self._considered: dict[Order, tuple[Considered, ...]] = {}
        self.woken: list[Woken] = []
        self.freed_more = False

    def renew(self) -> None:
        """The ClusterCIDRs changed."""
        self._eligibility = Eligibility(
            (pool.spec for pool in self._tenancy.pools.values()), self._tenancy.invalid
        )
        self._considered.clear()

    def order(self, node: Node) -> Order:
        """Which ClusterCIDRs may serve a node, in which order."""
        return self._eligibility.order(node)

    def line_of(self, node: Node, record: NodeRecord) -> Line:
        """Whom a node that was refused waits behind: those that would be refused for the same reason at any time."""
        if not record.promised and not record.earlier:
            order = self._eligibility.order(node)
            if self._tenancy.first_by_name(node.name, order) is order.places:
                return (*(place.pool for place in order.places), order.mask_sizes, order.refusal)
        return (node.uid,)

    def decide(self, node: Node, record: NodeRecord, full: Full, now: float) -> Decision:
        """The answer for a node that shows no podCIDRs; blocks of an assignment are marked as its own."""
        if record.earlier and not record.promised:
            self._restore(node, record)
        return self._again(node, record, now) if record.promised else self._anew(node, record, full, now)

    def stands_by(self, node: Node, record: NodeRecord | None) -> bool:
        """Whether a promise is still a good one, or may have been kept already: its ClusterCIDR, its addresses, its size."""
        if record is None or not record.promised or not record.revocable:
            return True
        order = self._eligibility.order(node)
        return (
            order.refusal is None
            and any(place.pool == record.pool for place in order.places)
            and self._is_as_asked(order, record, record.pool, record.promised, record.asked)
            and not self._tenancy.is_disputed(record, record.promised)
        )

    def end_rests(self, blocks: Blocks, taken_by: NodeName) -> bool:
        """Addresses that a node has do not rest, whoever gave them to it; whether more is free now than that.

        A block rests as a whole or not at all.
        """
        more = False
        for family, key in blocks:
            for rest in self._tenancy.rests.touching(family, key):
                self._tenancy.rests.remove(rest)
                self.woken.append(as_woken(rest, taken_by, Waiver.SHOWN))
                more = more or rest.key != key
        return more

    def _restore(self, node: Node, record: NodeRecord) -> None:
        """Promises the node the latest of what it was promised earlier that is good."""
        order = self._eligibility.order(node)
        may_serve = {place.pool for place in order.places} if order.refusal is None else ()
        for earlier in reversed(record.earlier):
            if (
                earlier.pool in may_serve
                and self._is_as_asked(order, record, earlier.pool, earlier.blocks, earlier.asked)
                and self._tenancy.restore(record, earlier)
            ):
                return

    def _is_as_asked(
        self, order: Order, record: NodeRecord, name: PoolName, blocks: Blocks, asked: MaskSizes | None
    ) -> bool:
        """Whether blocks of a ClusterCIDR are the node's static ones, or as long as it asks for now, or as when they were chosen."""
        pool = self._tenancy.pools[name]
        statics = dict(pool.statics.get(record.name, ()))
        lengths = {family: window.length for family, window in pool.windows} | dict(order.mask_sizes)
        before, now = dict(asked or ()), dict(order.mask_sizes)
        return all(
            key == statics[family]
            if family in statics
            else length_of(key) == lengths.get(family)
            or (asked is not None and before.get(family) == now.get(family))
            for family, key in blocks
        )

    def _again(self, node: Node, record: NodeRecord, now: float) -> Decision:
        """The same answer as before while its outcome is open, completed by the families whose promise did not stand."""
        rule = "promised before, outcome not yet known"
        pool = self._tenancy.pools.get(record.pool)
        has = frozenset(family for family, _ in record.promised)
        if pool is not None and not record.whole and not has.issuperset(pool.spec.families):
            masks = self._eligibility.order(node).mask_sizes
            served = serve(pool, record.name, masks, self._tenancy.occupancies, self._tenancy.rests, has=has)
            if not isinstance(served, Served):
                looked = (Considered(pool=pool.name, verdict=Verdict.FULL, rule=served),)
                return Refusal(
                    node=record.name,
                    uid=record.uid,
                    reason=RefusalReason.FULL,
                    message=full_message([(pool, served)], masks),
                    considered=looked,
                )
            self._take(record, pool, served, now)
            rule = "completes what was promised before"
        return Assignment(
            node=record.name,
            uid=record.uid,
            pool=record.pool,
            pod_cidrs=tuple(network_of(key, family) for family, key in record.promised),
            considered=(Considered(pool=record.pool, verdict=Verdict.CHOSEN, rule=rule),),
        )

    def _anew(
        self,
        node: Node,
        record: NodeRecord,
        full: Full,
        now: float,
    ) -> Decision:
        order = self._eligibility.order(node)
        if order.refusal is not None:
            reason, message = order.refusal
            return Refusal(
                node=node.name,
                uid=node.uid,
                reason=reason,
                message=message,
                considered=_considered(order, [], None, ""),
            )
        tenancy = self._tenancy
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
                message=full_message(tried, order.mask_sizes),
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
        self._take(record, pool, served, now)
        record.revocable, record.asked = True, order.mask_sizes
        considered = None if tried or served.rule else self._considered.get(order)
        if considered is None:
            considered = _considered(order, tried, pool.name, served.rule)
            if not tried and not served.rule and not order.mask_sizes:
                if len(self._considered) >= MANY_ANSWERS:
                    self._considered.clear()
                self._considered[order] = considered
        return Assignment(
            node=node.name,
            uid=node.uid,
            pool=pool.name,
            pod_cidrs=tuple([network_of(key, family) for family, key in served.blocks]),
            considered=considered,
        )

    def _take(self, record: NodeRecord, pool: Pool, served: Served, now: float) -> None:
        self._tenancy.promise(record, served.blocks, pool.name)
        record.since_s = now
        for window, key in served.cursors:
            window.advance(key)
        for rest in served.ended:
            taken = any(family is rest.family and covers(key, rest.key) for family, key in served.blocks)
            self.freed_more = self.freed_more or not taken
            waiver = Waiver.STATIC if rest in served.waived else Waiver.SHORTAGE
            self.woken.append(as_woken(rest, record.name, waiver))


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


def as_woken(rest: Rest, taken_by: NodeName = NOBODY, waiver: Waiver | None = None) -> Woken:
    """A rest that ended, as an outcome; who has a block back has waited for nobody, so nothing was waived for it."""
    return Woken(
        cidr=network_of(rest.key, rest.family),
        node=rest.node,
        uid=rest.uid,
        pool=rest.pool,
        waiver=waiver if rest.node != taken_by else None,
        taken_by=taken_by,
    )
