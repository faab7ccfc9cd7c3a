"""Which nodes wait for a block, since when, and which of them should be looked at again?

Nodes that ask for the same of the same ClusterCIDRs stand in one line, in order of arrival: when the first gets nothing,
nobody behind it would. So a freed block costs one look at the first of each line and one for each node that is served,
however many wait. A node that may get what its neighbours may not (a static block, its old block by name, the rest of what
it was promised) stands in a line of its own.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nodeipam_ctl.ipam.refusals import considered_names
from nodeipam_ctl.model import Node, NodeUID, PoolName, Refusal

Line = tuple[object, ...]
"""What the nodes of a line have in common."""

_NEVER: Final = -1

_Arrival = tuple[float, str, NodeUID]


@dataclass(slots=True, kw_only=True)
class _Waiting:
    node: Node
    arrived: _Arrival
    refusal: Refusal
    pools: tuple[PoolName, ...]
    line: Line


@dataclass(slots=True, kw_only=True)
class _Queue:
    """The nodes of one line, and the version of the world in which one of them was refused last."""

    version: int
    nodes: list[_Arrival] = field(default_factory=list)


class WaitingRoom:
    """Nodes that were refused, in lines; each line remembers the version of the world it was refused in.

    Attributes:
        for_pool: how many wait that a ClusterCIDR could serve if it had room.
    """

    __slots__ = ("_lines", "_waiting", "for_pool")

    def __init__(self) -> None:
        self._waiting: dict[NodeUID, _Waiting] = {}
        self._lines: dict[Line, _Queue] = {}
        self.for_pool: Counter[PoolName] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[tuple[Node, Refusal]]:
        for waiting in sorted(self._waiting.values(), key=lambda w: w.arrived):
            yield waiting.node, waiting.refusal

    def refuse(self, node: Node, refusal: Refusal, version: int, line: Line) -> bool:
        """The node waits on, in this line; returns whether the answer differs from the one it got before."""
        before = self._waiting.get(node.uid)
        pools = considered_names(refusal.considered)
        if before is None:
            self._waiting[node.uid] = _Waiting(
                node=node, arrived=arrival(node), refusal=refusal, pools=pools, line=line
            )
            self.for_pool.update(pools)
            self._enter(self._waiting[node.uid])
            news = True
        else:
            news = (before.refusal.reason, before.pools) != (refusal.reason, pools)
            if before.pools != pools:
                self.for_pool.subtract(before.pools)
                self.for_pool.update(pools)
            self._move(before, line)
            before.node, before.refusal, before.pools = node, refusal, pools
        self._lines[line].version = version
        return news

    def leave(self, uid: NodeUID) -> None:
        """The node waits no longer; nothing happens when it did not."""
        gone = self._waiting.pop(uid, None)
        if gone is not None:
            self.for_pool.subtract(gone.pools)
            self._exit(gone)

    def renew(self, node: Node) -> None:
        """A waiting node as it is now; when it asks for something else than before it is due at once."""
        waiting = self._waiting.get(node.uid)
        if waiting is None:
            return
        if (waiting.node.labels, waiting.node.annotations) != (node.labels, node.annotations):
            self.single_out(node.uid)
        waiting.node = node

    def single_out(self, uid: NodeUID | None) -> None:
        """Something changed for this node alone: if it waits, it is due, whoever stands before it."""
        waiting = self._waiting.get(uid) if uid is not None else None
        if waiting is not None:
            line = (waiting.node.uid,)
            self._move(waiting, line)
            self._lines[line].version = _NEVER

    def disband(self) -> None:
        """The ClusterCIDRs changed: what the nodes of a line had in common need not be so any more."""
        self._lines.clear()
        for waiting in self._waiting.values():
            waiting.line = (waiting.node.uid,)
            self._enter(waiting)

    def is_due(self, version: int) -> bool:
        """Whether a line was refused in another version of the world than this one."""
        return any(queue.version != version for queue in self._lines.values())

    # -- called by Round -----------------------------------------------------------------------------------------

    def due(self, version: int) -> list[Line]:
        """The lines that were refused in another version of the world than this one."""
        return [line for line, queue in self._lines.items() if queue.version != version]

    def line_of(self, uid: NodeUID) -> Line | None:
        """Where a node stands; None when it does not wait."""
        waiting = self._waiting.get(uid)
        return waiting.line if waiting is not None else None

    def first(self, line: Line) -> Node | None:
        """The node that waits longest in a line; None when nobody stands there."""
        queue = self._lines.get(line)
        return self._waiting[queue.nodes[0][2]].node if queue is not None else None

    def is_refused(self, uid: NodeUID, version: int) -> bool:
        """Whether a waiting node's line was refused in this version of the world."""
        line = self.line_of(uid)
        return line is not None and self._lines[line].version == version

    # -- private -------------------------------------------------------------------------------------------------

    def _enter(self, waiting: _Waiting) -> None:
        queue = self._lines.get(waiting.line)
        if queue is None:
            queue = self._lines[waiting.line] = _Queue(version=_NEVER)
        insort(queue.nodes, waiting.arrived)

    def _exit(self, waiting: _Waiting) -> None:
        nodes = self._lines[waiting.line].nodes
        del nodes[bisect_left(nodes, waiting.arrived)]
        if not nodes:
            del self._lines[waiting.line]

    def _move(self, waiting: _Waiting, line: Line) -> None:
        if waiting.line != line:
            self._exit(waiting)
            waiting.line = line
            self._enter(waiting)


class Round:
    """The nodes to decide about now, in order of arrival: a batch, and from each line that is due as many as are served.

    Args:
        room: who waits.
        batch: nodes that are looked at in any case.
        version: of the world, asked whenever it matters.
    """

    def __init__(self, room: WaitingRoom, batch: Collection[Node], version: Callable[[], int]) -> None:
        self._room = room
        self._version = version
        self._batch = sorted(batch, key=arrival, reverse=True)
        self._ahead = {node.uid for node in batch}
        self._heap: list[tuple[_Arrival, Node]] = []
        self._called: set[NodeUID] = set()
        self._call(room.due(version()))

    def renew(self) -> None:
        """More became free: those who got nothing in this round come before whoever arrived later."""
        self._heap.clear()
        self._called.clear()
        self._call(self._room.due(self._version()))

    def __iter__(self) -> Iterator[Node]:
        batch, heap = self._batch, self._heap
        while batch or heap:
            if not heap or (batch and arrival(batch[-1]) < heap[0][0]):
                node = batch.pop()
                self._ahead.discard(node.uid)
            else:
                node = heapq.heappop(heap)[1]
                if self._room.is_refused(node.uid, self._version()):
                    continue  # one of the batch, who stands in this line as well, got nothing
            line = self._room.line_of(node.uid)
            yield node
            if line is not None and self._room.line_of(node.uid) is None:
                self._call((line,))

    def _call(self, lines: Iterable[Line]) -> None:
        for line in lines:
            first = self._room.first(line)
            if first is not None and first.uid not in self._called and first.uid not in self._ahead:
                self._called.add(first.uid)
                heapq.heappush(self._heap, (arrival(first), first))


def arrival(node: Node) -> _Arrival:
    """Sorts nodes in order of arrival."""
    return node.created_s, node.name, node.uid
