"""What does the allocator answer besides a decision? Usage of a ClusterCIDR, what a Node calls for, what it left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from nodeipam_ctl.ipam.fillers import Filler
from nodeipam_ctl.ipam.window import Usage
from nodeipam_ctl.model import Finding, NodeName, NodeUID, PoolName
from nodeipam_ctl.prefixes import Family, Network

NOBODY: Final = NodeName("")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """How full a ClusterCIDR is.

    Attributes:
        families: per family, in node blocks of this ClusterCIDR's size.
        nodes: nodes that hold a block from here.
        waiting: nodes that wait for a block and could be served from here.
        filled: ranges that lie whole in one block that is no node block of this ClusterCIDR.
    """

    families: Mapping[Family, Usage] = field(default_factory=dict)
    nodes: int = 0
    waiting: int = 0
    filled: tuple[Filler, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What an observed Node calls for.

    Attributes:
        wants: it has no podCIDR: give it to the next `decide`.
        findings: what is wrong with the podCIDRs it shows for the first time; the subject is the node.
        returned: blocks that were promised to it and that it did not take: their ledger lines can go.
    """

    wants: bool
    findings: tuple[Finding, ...] = ()
    returned: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What a node that is gone left behind.

    Attributes:
        pool: the ClusterCIDR its blocks were counted under; "" for none.
        blocks: blocks of which no node holds a part any more.
        shared: blocks that another node uses as well, whole or in part: they stay used, and the lines of this node can go
            at once.
        resting_until_s: when they may go to another node, in seconds since the epoch; 0 when at once.
    """

    node: NodeName
    uid: NodeUID
    pool: PoolName
    blocks: tuple[Network, ...]
    shared: tuple[Network, ...] = ()
    resting_until_s: float = 0.0


class Waiver(StrEnum):
    """Why a rest ended before its time."""

    SHORTAGE = "nothing else was left"
    STATIC = "the addresses are promised to the node by name"
    SHOWN = "the node showed up with the addresses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """A rest that ended: its ledger line can go.

    Attributes:
        waiver: why it ended before its time; None when its time was over, or when the node it rested after has the block
            back.
        taken_by: the node for which it ended; "" when its time was over.
    """

    cidr: Network
    node: NodeName
    uid: NodeUID
    pool: PoolName
    waiver: Waiver | None = None
    taken_by: NodeName = NOBODY

    @property
    def early(self) -> bool:
        """Whether it ended before its time, for another node than the one it rested after."""
        return self.waiver is not None
