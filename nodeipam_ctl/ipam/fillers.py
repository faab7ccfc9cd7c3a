"""Does one single block lie over a whole range of a ClusterCIDR? Then that is why the range is full, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nodeipam_ctl.ipam.blocks import network_of
from nodeipam_ctl.ipam.holders import Exclusion, NodeRecord, Rest
from nodeipam_ctl.ipam.window import Occupancy, Window
from nodeipam_ctl.model import Finding, NodeName, Severity
from nodeipam_ctl.prefixes import Family, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """A block that leaves nothing free in a range of a ClusterCIDR.

    Attributes:
        range: the range.
        held: whose the block is that contains the range, as the end of a sentence.
        remedy: what frees the range; without a semicolon, so that it can stand among other remedies.
    """

    family: Family
    range: Network
    held: str
    remedy: str

    def __str__(self) -> str:
        return f"all of {self.range} {self.held}"


def fillers(family: Family, window: Window) -> Iterator[Filler]:
    """The blocks that lie over whole ranges of a window, at most one for each range; of its holders a node first."""
    for one, key, holders in window.covered():
        holder = min(holders, key=lambda h: h.kind)
        match holder:
            case NodeRecord():
                block = network_of(key, family)
                held = f"belongs to {holder}" if key == one else f"lies in {block} of {holder}"
                remedy = f"delete and re-create Node {holder.name}"
            case Rest():
                held, remedy = f"lies in {network_of(key, family)}, {holder}", "wait until the rest is over"
            case Exclusion():
                held, remedy = f"lies in {holder}", holder.remedy
            case _:
                held, remedy = f"lies in {holder}", "separate the range from it"
        yield Filler(family=family, range=network_of(one, family), held=held, remedy=remedy)


def told(found: Sequence[Filler]) -> str:
    """Several of them in a message that stays short."""
    more = f" (and {len(found) - 1} more ranges like it)" if len(found) > 1 else ""
    return f"{found[0]}{more}"


def covering(node: NodeName, occupancy: Occupancy, key: int) -> Iterator[Finding]:
    """What is said of a node whose podCIDR lies over whole ranges of ClusterCIDRs."""
    for window, ranges in occupancy.ranges_within(key):
        more = f" and {len(ranges) - 1} more ranges" if len(ranges) > 1 else ""
        yield Finding(
            severity=Severity.ERROR,
            code="CoversClusterCIDR",
            subject=f"node/{node}",
            message=f"its podCIDR {network_of(key, occupancy.family)} covers all of {network_of(ranges[0], occupancy.family)}"
            f"{more} of ClusterCIDR {window.owner}: no other node gets a block there",
            remedy="delete and re-create the Node, so that it gets a block of its own",
        )
