"""May this line stand on this page, and what is in its way? One page at a time, nothing remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nodeipam_ctl.ipam.blocks import collide, key_of
from nodeipam_ctl.model import LedgerEntry, LedgerState, NodeUID

Lines = dict[int, LedgerEntry]
"""The lines of one page by the key of their block."""


@dataclass(slots=True, kw_only=True)
class InTheWay:
    """What keeps a line off a page.

    Attributes:
        held: a line of somebody else that stands.
        split: units that have pages below, which would have to be empty.
    """

    held: LedgerEntry | None = None
    split: tuple[int, ...] = ()


def by_key(entries: Iterable[LedgerEntry]) -> Lines:
    """The lines of a page by the key of their block."""
    return {key_of(entry.cidr): entry for entry in entries}


def place(lines: Lines, entry: LedgerEntry, *, may_go: Callable[[LedgerEntry], bool]) -> InTheWay | None:
    """Puts a line on a page, in place of those that may go; None when it stands, and nothing is changed otherwise.

    Args:
        lines: the page's lines; changed in place.
        entry: the line.
        may_go: whether a line that overlaps it may be removed for it.
    """
    key = key_of(entry.cidr)
    bits = key.bit_length()
    # Two blocks of one length share all or nothing: the usual case costs no more than a comparison.
    over = [o for o in lines if o == key or (o.bit_length() != bits and collide(o, key))]
    split = []
    for other in over:
        line = lines[other]
        if line.state is LedgerState.SPLIT:
            split.append(other)
        elif may_go(line) or (other == key and entry.node_uid and line.node_uid == entry.node_uid):
            continue
        else:
            return InTheWay(held=line)
    if split:
        return InTheWay(split=tuple(sorted(split)))
    present = lines.get(key)
    if present is not None and present.node_uid == entry.node_uid and present.state is entry.state:
        entry = replace(entry, since_s=present.since_s)  # the promise is as old as it is
    for other in over:
        del lines[other]
    lines[key] = entry
    return None


def same(a: LedgerEntry, b: LedgerEntry) -> bool:
    """Whether two lines of one block say the same; the time since which they stand is left out."""
    return (
        a.node_uid == b.node_uid
        and a.state is b.state
        and a.addresses == b.addresses
        and a.backend == b.backend
        and a.wireguard_public_key == b.wireguard_public_key
        and a.cluster_cidr == b.cluster_cidr
        and a.reusable_at_s == b.reusable_at_s
        and a.node == b.node
    )


def is_over(line: LedgerEntry, now: float) -> bool:
    """Whether a line is a rest whose time is over."""
    return line.state is LedgerState.RESTING and line.reusable_at_s <= now


def stands(lines: Lines, key: int, uid: NodeUID) -> bool:
    """Whether a block is promised to a node by these lines."""
    line = lines.get(key)
    return line is not None and line.state is LedgerState.BOUND and line.node_uid == uid
