"""Who holds a block? A node, the rest after a node, an exclusion, or a promise to a node by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from nodeipam_ctl.ipam.space import Kind
from nodeipam_ctl.model import NodeName, NodeUID, PoolName
from nodeipam_ctl.prefixes import Address, Family

NO_POOL: Final = PoolName("")
"""The ClusterCIDR of blocks that lie outside every range."""

Blocks = tuple[tuple[Family, int], ...]
"""Blocks as (family, key), IPv4 first."""


MaskSizes = tuple[tuple[Family, int], ...]
"""Block lengths that a node's annotations ask for, instead of the ClusterCIDR's own."""


def in_order(blocks: Blocks) -> Blocks:
    """The same blocks, IPv4 first, then by address."""
    return tuple(sorted(blocks, key=lambda block: (block[0] is Family.IPV6, block[1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Blocks of one ClusterCIDR that were promised to a node, and are its own still: it gets them again rather than others.

    Attributes:
        asked: what its annotations asked for then; None when only the ledger tells of the promise, of which a line may be
            missing and a request may be under way.
    """

    pool: PoolName
    blocks: Blocks
    asked: MaskSizes | None


@dataclass(slots=True, kw_only=True, eq=False)
class NodeRecord:
    """One node, by uid, and what it holds: what its `spec.podCIDRs` says, and what was promised to it before.

    Attributes:
        actual: blocks in the node's spec; they never change once they are there.
        unfit: blocks in the node's spec that are too large to be a node's (`podcidrs.py`): they hold nothing.
        promised: blocks of an assignment, or of a ledger line, that the node's spec does not show yet.
        whole: the promise is a whole answer; one that was read from the ledger, or of which a part failed, may lack a
            family.
        revocable: the promise was made here, and no request that gives it to the node has, or had, an end that is not certain.
        asked: the block lengths that its annotations asked for when the promise was made here.
        noted: further blocks that ledger lines promise it; another controller may be about to give it those.
        earlier: those of them that make up a promise, oldest first.
        pool: the ClusterCIDR its blocks are counted under; "" while they lie outside every range.
        seen: the Node object was observed; a record that comes from the ledger alone was not.
        addresses: the node's own addresses, which are kept out of what is handed out.
        excluded: those of them that are marked, because they lie in a range.
    """

    kind: ClassVar[Kind] = Kind.ALLOCATED

    uid: NodeUID
    name: NodeName
    created_s: float = 0.0
    actual: Blocks = ()
    unfit: Blocks = ()
    promised: Blocks = ()
    whole: bool = False
    revocable: bool = False
    asked: MaskSizes = ()
    noted: Blocks = ()
    earlier: tuple[Earlier, ...] = ()
    pool: PoolName = NO_POOL
    since_s: float = 0.0
    seen: bool = False
    addresses: tuple[Address, ...] = ()
    excluded: tuple[Exclusion, ...] = ()

    @property
    def shown(self) -> Blocks:
        """Every block in the node's spec, whether it can be one or not, IPv4 first."""
        return in_order((*self.actual, *self.unfit)) if self.unfit else self.actual

    @property
    def held(self) -> Blocks:
        """Every block it holds."""
        if not self.promised and not self.noted:
            return self.actual
        return tuple(dict.fromkeys((*self.actual, *self.promised, *self.noted)))

    def __str__(self) -> str:
        return f"node {self.name}"


@dataclass(slots=True, kw_only=True, eq=False)
class Rest:
    """A released block that waits before another node may have it.

    Attributes:
        reusable_at_s: when the wait is over, in seconds since the epoch.
        released_s: when the node was found gone.
    """

    kind: ClassVar[Kind] = Kind.RESTING

    family: Family
    key: int
    node: NodeName
    uid: NodeUID
    pool: PoolName
    released_s: float
    reusable_at_s: float

    def __str__(self) -> str:
        return f"a rest after node {self.node}"


@dataclass(slots=True, kw_only=True, eq=False)
class Exclusion:
    """Addresses that are never handed out, and why.

    Attributes:
        remedy: what frees them; without a semicolon, so that it can stand among other remedies.
        belongs: they are somebody else's; False where only our ledger is in the way, and what was promised before stands.
    """

    kind: ClassVar[Kind] = Kind.EXCLUDED

    family: Family
    key: int
    why: str
    remedy: str = "separate the range from it"
    belongs: bool = True

    def __str__(self) -> str:
        return self.why


@dataclass(slots=True, kw_only=True, eq=False)
class Promise:
    """A block that a ClusterCIDR's `static` promises to one node by name."""

    kind: ClassVar[Kind] = Kind.EXCLUDED

    family: Family
    key: int
    node: NodeName
    pool: PoolName

    def __str__(self) -> str:
        return f"the promise to node {self.node} in ClusterCIDR {self.pool}"
