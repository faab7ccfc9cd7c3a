"""Which nodes wait for a block, since when, and which of them should be looked at again?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from nodeipam_ctl.ipam.refusals import considered_names
from nodeipam_ctl.model import Node, NodeUID, PoolName, Refusal


@dataclass(slots=True, kw_only=True)
class _Waiting:
    node: Node
    refusal: Refusal
    version: int
    pools: tuple[PoolName, ...]


class WaitingRoom:
    """Nodes that were refused; each remembers the version of the world it was refused in.

    Attributes:
        for_pool: how many wait that a ClusterCIDR could serve if it had room.
    """

    __slots__ = ("_waiting", "for_pool")

    def __init__(self) -> None:
        self._waiting: dict[NodeUID, _Waiting] = {}
        self.for_pool: Counter[PoolName] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[Node, Refusal]]:
        for waiting in sorted(self._waiting.values(), key=lambda w: arrival(w.node)):
            yield waiting.node, waiting.refusal

    def refuse(self, node: Node, refusal: Refusal, version: int) -> bool:
        """The node waits on; returns whether the answer differs from the one it got before."""
        before = self._waiting.get(node.uid)
        self.leave(node.uid)
        pools = considered_names(refusal.considered)
        self._waiting[node.uid] = _Waiting(node=node, refusal=refusal, version=version, pools=pools)
        self.for_pool.update(pools)
        return before is None or (before.refusal.reason, before.pools) != (refusal.reason, pools)

    def leave(self, uid: NodeUID) -> None:
        """The node waits no longer; nothing happens when it did not."""
        gone = self._waiting.pop(uid, None)
        if gone is not None:
            self.for_pool.subtract(gone.pools)

    def renew(self, node: Node) -> None:
        """A waiting node as it is now; when it asks for something else than before it is due at once."""
        waiting = self._waiting.get(node.uid)
        if waiting is None:
            return
        if (waiting.node.labels, waiting.node.annotations) != (node.labels, node.annotations):
            waiting.version = -1
        waiting.node = node

    def due(self, version: int) -> list[Node]:
        """The nodes that were refused in another version of the world than this one."""
        return [w.node for w in self._waiting.values() if w.version != version]


def arrival(node: Node) -> tuple[float, str, str]:
    """Sorts nodes in order of arrival."""
    return node.created_s, node.name, node.uid
