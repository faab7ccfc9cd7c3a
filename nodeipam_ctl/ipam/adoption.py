"""What do the lines of the ledger promise to whom, at start and whenever a page changed? That is occupied, or rests, or can go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.decider import Decider
from nodeipam_ctl.ipam.holders import Blocks, Earlier, Rest, in_order
from nodeipam_ctl.ipam.podcidrs import is_too_large
from nodeipam_ctl.ipam.tenancy import Tenancy
from nodeipam_ctl.ipam.waiting import WaitingRoom
from nodeipam_ctl.model import LedgerEntry, LedgerState, NodeUID
from nodeipam_ctl.prefixes import Family, family_of


class Adoption:
    """Takes lines in.

    Args:
        tenancy: who holds what.
        decider: told of rests that end.
        waiting: nodes of which a line tells wait on their own.
    """

    def __init__(self, tenancy: Tenancy, decider: Decider, waiting: WaitingRoom) -> None:
        self._tenancy = tenancy
        self._decider = decider
        self._waiting = waiting

    def adopt(self, entries: Iterable[LedgerEntry], now: float) -> tuple[tuple[LedgerEntry, ...], bool]:
        """Takes in lines; returns those that can go, and whether something became free."""
        entries = tuple(entries)
        rivals = _rivals(entry for entry in entries if not self._is_answered(entry.node_uid))
        stale: list[LedgerEntry] = []
        freed = False
        for entry in entries:
            stands, more = self._adopt(entry, now, rivals)
            freed = freed or more
            if not stands:
                stale.append(entry)
        return tuple(stale), freed

    def _is_answered(self, uid: NodeUID) -> bool:
        """Whether a node shows what it has, as nearly all do: it does not matter then what it was promised."""
        record = self._tenancy.records.get(uid)
        return record is not None and bool(record.actual or record.unfit)

    def _adopt(
        self, entry: LedgerEntry, now: float, rivals: dict[NodeUID, tuple[Earlier, ...]]
    ) -> tuple[bool, bool]:
        """Takes in one line: whether it stands, and whether something became free."""
        block, tenancy = (family_of(entry.cidr), key_of(entry.cidr)), self._tenancy
        if is_too_large(*block):
            return False, False
        match entry.state:
            case LedgerState.BOUND:
                if not entry.node_uid:
                    return True, False
                record = tenancy.meet(entry.node_uid, entry.node)
                if record.shown:
                    return block in record.actual, False
                freed = self._decider.end_rests((block,), record.name)
                if entry.node_uid in rivals and not record.promised:
                    tenancy.choose_later(record, rivals[entry.node_uid])
                else:
                    tenancy.note(record, block, entry.cluster_cidr)
                record.since_s = record.since_s or entry.since_s
                self._waiting.single_out(record.uid)
                return True, freed
            case LedgerState.RESTING:
                if entry.reusable_at_s <= now or tenancy.is_used(block):
                    return False, False
                tenancy.rests.add(
                    Rest(
                        family=block[0],
                        key=block[1],
                        node=entry.node,
                        uid=entry.node_uid,
                        pool=entry.cluster_cidr,
                        released_s=entry.since_s,
                        reusable_at_s=entry.reusable_at_s,
                    )
                )
                self._waiting.single_out(tenancy.uid_of(entry.node))
                return True, False
            case LedgerState.SPLIT:
                return True, False
        assert_never(entry.state)


def _rivals(entries: Iterable[LedgerEntry]) -> dict[NodeUID, tuple[Earlier, ...]]:
    """Of each node with lines of more than one promise: the promises, oldest first.

    A promise has one ClusterCIDR, and one block of each family: the latest of each are the latest promise.
    """
    lines: dict[NodeUID, list[LedgerEntry]] = {}
    for entry in entries:
        if entry.state is LedgerState.BOUND and entry.node_uid:
            lines.setdefault(entry.node_uid, []).append(entry)
    found = ((uid, _promises(own)) for uid, own in lines.items() if len(own) > 1)
    return {uid: promises for uid, promises in found if len(promises) > 1}


def _promises(lines: Iterable[LedgerEntry]) -> tuple[Earlier, ...]:
    groups: list[tuple[LedgerEntry, dict[Family, int]]] = []
    for line in sorted(lines, key=lambda line: (line.since_s, str(line.cidr)), reverse=True):
        family, key = family_of(line.cidr), key_of(line.cidr)
        if is_too_large(family, key):
            continue
        for newest, blocks in groups:
            if newest.cluster_cidr == line.cluster_cidr and family not in blocks:
                blocks[family] = key
                break
        else:
            groups.append((line, {family: key}))
    return tuple(
        Earlier(pool=newest.cluster_cidr, blocks=_blocks(blocks), asked=None)
        for newest, blocks in reversed(groups)
    )


def _blocks(blocks: dict[Family, int]) -> Blocks:
    return in_order(tuple(blocks.items()))
