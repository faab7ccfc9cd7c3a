"""Why did this node get what it has, or nothing, and what would happen now? For `nodeipam-ctl explain`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nodeipam_ctl.ipam.forecast import World, allocator_of
from nodeipam_ctl.ipam.refusals import free_text
from nodeipam_ctl.model import (
    Assignment,
    Considered,
    Finding,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Verdict,
)
from nodeipam_ctl.prefixes import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One ClusterCIDR as the node meets it.

    Attributes:
        place: 1 for the one that is tried first; 0 when it may not serve the node.
        placed_by: the rule that put it before the next one; "" when it may not serve the node.
        rule: the rule that decided about it.
        free: what is left in it, as a person reads it.
    """

    place: int
    placed_by: str
    pool: PoolName
    verdict: Verdict
    rule: str
    free: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The whole answer.

    Attributes:
        pod_cidrs: what the node has.
        pool: the ClusterCIDR under which that is counted; "" for none.
        lines: what the ledger says of the node.
        looked: every ClusterCIDR, in the order in which they would be tried now.
        outcome: what a node like this one would get now, or the refusal, on one line.
        would_get: the podCIDRs it would get now.
        findings: what is wrong with what it has.
    """

    node: NodeName
    uid: NodeUID
    pod_cidrs: tuple[Network, ...]
    pool: PoolName
    lines: tuple[LedgerEntry, ...]
    looked: tuple[Looked, ...]
    outcome: str
    would_get: tuple[Network, ...] = ()
    findings: tuple[Finding, ...] = ()


def explain(world: World, node: Node, now: float) -> Explanation:
    """Everything about one node; a node that has podCIDRs is decided once more as if it registered now.

    Args:
        world: ClusterCIDRs, all Nodes (this one too, if it exists), reserved ranges and the ledger's lines.
        node: the node, which need not exist.
        now: seconds since the epoch.
    """
    entries = [entry for entry in world.entries if entry.state is not LedgerState.SPLIT]
    allocator = allocator_of(world, now)
    record = allocator.tenancy.records.get(node.uid)
    findings = allocator.tenancy.conflict_findings(record, record.shown) if record is not None else ()
    pool = allocator.pool_of(node.uid)
    free = {name: free_text(pool) for name, pool in allocator.tenancy.pools.items()}
    asked = node
    if node.pod_cidrs:
        asked = replace(node, uid=NodeUID(f"{node.uid}-again"), pod_cidrs=(), deleting=False)
        if record is not None:
            allocator.tenancy.part(record)
    considered: tuple[Considered, ...] = ()
    outcome = "nothing: the node is being deleted"
    would_get: tuple[Network, ...] = ()
    # Nodes that came earlier are served first, as the controller would.
    wanting = [other for other in world.nodes if not other.pod_cidrs and other.uid != asked.uid]
    for decision in allocator.decide([*wanting, asked], now):
        if decision.uid != asked.uid:
            continue
        considered = decision.considered
        if isinstance(decision, Assignment):
            would_get = decision.pod_cidrs
            outcome = f"{', '.join(map(str, would_get))} from ClusterCIDR {decision.pool}"
        else:
            outcome = f"nothing: {decision.message}"
    places = {place.pool: (i, place.rule) for i, place in enumerate(allocator.order(asked).places, start=1)}
    looked = [
        Looked(
            place=places.get(c.pool, (0, ""))[0],
            placed_by=places.get(c.pool, (0, ""))[1],
            pool=c.pool,
            verdict=c.verdict,
            rule=c.rule,
            free=free.get(c.pool, ""),
        )
        for c in considered
    ]
    looked.sort(key=lambda one: (one.place or len(considered) + 1, one.pool))
    return Explanation(
        node=node.name,
        uid=node.uid,
        pod_cidrs=node.pod_cidrs,
        pool=pool,
        lines=tuple(e for e in entries if e.node_uid == node.uid),
        looked=tuple(looked),
        outcome=outcome,
        would_get=would_get,
        findings=findings,
    )
