"""Which blocks of one ClusterCIDR does a node get? All of its families, or none and nothing changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodeipam_ctl.ipam.fillers import fillers, told
from nodeipam_ctl.ipam.holders import Blocks, Promise, Rest
from nodeipam_ctl.ipam.pools import Pool, block_text
from nodeipam_ctl.ipam.refusals import asked_for
from nodeipam_ctl.ipam.rests import Rests
from nodeipam_ctl.ipam.window import Occupancy, Window
from nodeipam_ctl.model import NodeName, Retain
from nodeipam_ctl.prefixes import Family


@dataclass(slots=True, kw_only=True, eq=False)
class Served:
    """Blocks that are free for the node now.

    Attributes:
        ended: rests that were ended for it.
        waived: those of them that lay over a block that is promised to the node by name; the others ended because the
            node had them before or because nothing else was left.
        cursors: the windows whose search found a block, to be moved past it.
    """

    blocks: Blocks
    cursors: Sequence[tuple[Window, int]]
    rule: str = ""
    ended: Sequence[Rest] = ()
    waived: Sequence[Rest] = ()


def serve(
    pool: Pool,
    node: NodeName,
    mask_sizes: tuple[tuple[Family, int], ...],
    occupancies: dict[Family, Occupancy],
    rests: Rests,
    *,
    has: frozenset[Family] = frozenset(),
) -> Served | str:
    """Blocks for a node, not yet marked as its own; or why there are none, as the rule that decided.

    Args:
        pool: the ClusterCIDR.
        node: the node's name.
        mask_sizes: block lengths to use instead of the ClusterCIDR's own.
        occupancies: what is used.
        rests: what rests.
        has: families of which the node was promised a block before.
    """
    statics = dict(pool.statics.get(node, ())) if pool.statics else {}
    retained = (
        rests.of_name(node, pool.name) if pool.spec.retain is Retain.BY_NAME and rests.has_name(node) else {}
    )
    if not statics and not retained and not mask_sizes and not has:
        found: list[tuple[Family, int]] = []
        for family, window in pool.windows:
            key = window.next_fit()
            if not key:
                break
            found.append((family, key))
        else:
            return Served(
                blocks=tuple(found),
                cursors=tuple(
                    (window, key) for (_, window), (_, key) in zip(pool.windows, found, strict=True)
                ),
            )
    return _serve_with_care(pool, node, dict(mask_sizes), statics, retained, occupancies, rests, has)


def _serve_with_care(
    pool: Pool,
    node: NodeName,
    mask_sizes: dict[Family, int],
    statics: dict[Family, int],
    retained: dict[Family, Rest],
    occupancies: dict[Family, Occupancy],
    rests: Rests,
    has: frozenset[Family],
) -> Served | str:
    blocks: list[tuple[Family, int]] = []
    cursors: list[tuple[Window, int]] = []
    ended: list[Rest] = []
    waived: list[Rest] = []
    rule = ""
    refused = ""
    for family, window in pool.windows:
        if family in has:
            continue
        length = mask_sizes.get(family, window.length)
        if family in statics:
            refused = _in_the_way(occupancies[family], family, statics[family], node)
            if refused:
                break
            # What rests there, a part of it or all of it and more, gives way: the reservation names the node.
            resting = rests.touching(family, statics[family])
            for rest in resting:
                rests.remove(rest)
            ended += resting
            waived += resting
            blocks.append((family, statics[family]))
            rule = "static block"
            continue
        own = retained.get(family)
        if own is not None and own.key.bit_length() - 1 == length and window.contains(own.key):
            rests.remove(own)
            if occupancies[family].space.is_free(own.key):
                ended.append(own)
                blocks.append((family, own.key))
                rule = rule or "the block it had before (retain: ByName)"
                continue
            rests.add(own)
        key = window.next_fit(length)
        if not key:
            key, given_up = rests.give_up_oldest(family, window, length)
            ended.extend(given_up)
        if not key:
            refused = f"no free {family} block of /{length}"
            if family in mask_sizes:
                refused = asked_for(family, window, length)
            if filled := tuple(fillers(family, window)):
                refused += f": {told(filled)}"
            break
        blocks.append((family, key))
        cursors.append((window, key))
    if refused:
        for rest in ended:
            rests.add(rest)
        return refused
    return Served(blocks=tuple(blocks), rule=rule, ended=ended, waived=waived, cursors=cursors)


def _in_the_way(occupancy: Occupancy, family: Family, key: int, node: NodeName) -> str:
    """Who else holds a part of a node's static block, as the rule that refuses it; "" when nobody does or it only rests."""
    for _, holder in occupancy.space.touched(key):
        if isinstance(holder, Promise) and holder.node == node:
            continue
        if isinstance(holder, Rest):
            continue
        return f"its static block {block_text(family, key)} is held by {holder}"
    return ""
