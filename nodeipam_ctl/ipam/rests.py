"""Which released blocks rest, until when, who gets one back by name, and which is given up first when nothing is free?"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from nodeipam_ctl.ipam.holders import Rest
from nodeipam_ctl.ipam.window import Occupancy, Window
from nodeipam_ctl.model import NodeName, PoolName
from nodeipam_ctl.prefixes import Family


class Rests:
    """All resting blocks; each is also a holder in its family's space.

    Args:
        occupancies: where the blocks are marked.
    """

    __slots__ = ("_by_block", "_by_name", "_occupancies", "_queue", "_serial", "_sorted")

    def __init__(self, occupancies: dict[Family, Occupancy]) -> None:
        self._occupancies = occupancies
        self._by_block: dict[tuple[Family, int], Rest] = {}  # oldest first
        self._by_name: dict[NodeName, list[Rest]] = {}
        self._queue: list[tuple[float, int, Rest]] = []
        self._serial = 0
        self._sorted = True

    def __len__(self) -> int:
        return len(self._by_block)

    def __iter__(self) -> Iterator[Rest]:
        return iter(self._by_block.values())

    def touching(self, family: Family, key: int) -> list[Rest]:
        """The rests that share an address with a block."""
        if not self._by_block:
            return []
        touched = self._occupancies[family].space.touched(key)
        return [holder for _, holder in touched if isinstance(holder, Rest)]

    def add(self, rest: Rest) -> None:
        """A block rests from now on; a block rests once, and the later end holds."""
        present = self._by_block.get((rest.family, rest.key))
        if present is not None:
            if present.reusable_at_s >= rest.reusable_at_s:
                return
            self.remove(present)
        newest = next(reversed(self._by_block.values()), None)
        self._sorted = self._sorted and (newest is None or _age(newest) <= _age(rest))
        self._by_block[rest.family, rest.key] = rest
        self._by_name.setdefault(rest.node, []).append(rest)
        self._serial += 1
        heapq.heappush(self._queue, (rest.reusable_at_s, self._serial, rest))
        self._occupancies[rest.family].add(rest.key, rest)

    def remove(self, rest: Rest) -> None:
        """A block rests no longer."""
        del self._by_block[rest.family, rest.key]
        same_name = self._by_name[rest.node]
        same_name.remove(rest)
        if not same_name:
            del self._by_name[rest.node]
        self._occupancies[rest.family].remove(rest.key, rest)

    def expire(self, now: float) -> list[Rest]:
        """Ends the rests whose time is over, and says which."""
        over = []
        while self._queue and self._queue[0][0] <= now:
            rest = heapq.heappop(self._queue)[2]
            if self._by_block.get((rest.family, rest.key)) is rest:
                self.remove(rest)
                over.append(rest)
        return over

    def next_end_s(self) -> float | None:
        """When the next rest ends, in seconds since the epoch."""
        while self._queue:
            end, _, rest = self._queue[0]
            if self._by_block.get((rest.family, rest.key)) is rest:
                return end
            heapq.heappop(self._queue)
        return None

    def of_name(self, node: NodeName, pool: PoolName) -> dict[Family, Rest]:
        """The blocks that rest after a node of this name in one ClusterCIDR, the latest of each family."""
        latest: dict[Family, Rest] = {}
        for rest in self._by_name.get(node, ()):
            if rest.pool == pool:
                known = latest.get(rest.family)
                if known is None or rest.released_s >= known.released_s:
                    latest[rest.family] = rest
        return latest

    def has_name(self, node: NodeName) -> bool:
        """Whether anything rests after a node of this name."""
        return node in self._by_name

    def give_up_oldest(self, family: Family, window: Window, length: int) -> tuple[int, list[Rest]]:
        """Ends the rest that began first among those which make a block of this length free in the window.

        Returns:
            The block that is free now and the rests that were ended for it; (0, []) when no rest would help.
        """
        if not self._sorted:
            ordered = sorted(self._by_block.values(), key=_age)
            self._by_block = {(r.family, r.key): r for r in ordered}
            self._sorted = True
        occupancy = self._occupancies[family]
        for rest in tuple(self._by_block.values()):
            if rest.family is not family or not window.touches(rest.key):
                continue
            shift = length - (rest.key.bit_length() - 1)
            unit = rest.key if shift >= 0 else rest.key >> -shift
            if not window.contains(unit):
                continue
            holders = [holder for _, holder in occupancy.space.touched(unit)]
            ended = [holder for holder in holders if isinstance(holder, Rest)]
            if shift < 0 and len(ended) < len(holders):
                continue  # somebody who does not rest has a part of it
            if not all(window.contains(one.key) for one in ended):
                continue  # what rests beyond the ranges of this ClusterCIDR is not its to give up
            if shift > 0:
                ended = [rest]
            for one in ended:
                self.remove(one)
            low, high = (unit << shift, (unit + 1) << shift) if shift > 0 else (unit, unit + 1)
            found = occupancy.space.first_free(length, low, high)
            if found:
                return found, ended
            for one in ended:
                self.add(one)
        return 0, []


def _age(rest: Rest) -> tuple[float, Family, int]:
    """Sorts rests, the oldest first, and those of one moment by their addresses."""
    return rest.released_s, rest.family, rest.key
