"""Which part of the shared space is one ClusterCIDR's, where does its next block come from, and how full is it?

A `Window` is one family of one ClusterCIDR: its ranges, its block length, the next-fit cursor and the running counts.
`Occupancy` is one family's space together with the windows that look at it, and keeps their counts exact: the common
change (a block in free space, of any size) costs a few additions; where blocks overlap, the windows that see it count
again when they are next asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nodeipam_ctl.ipam.blocks import covers, length_of
from nodeipam_ctl.ipam.space import Holder, Kind, Space
from nodeipam_ctl.model import PoolName
from nodeipam_ctl.prefixes import Family

_FEW: Final = 64
"""Marks in one block up to which a change is counted at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How full one family of a ClusterCIDR is, in node blocks of its size; the four parts add up to the capacity.

    A node block counts once: as allocated when a node has any address of it, else resting, else excluded, else free.
    """

    capacity: int = 0
    allocated: int = 0
    resting: int = 0
    excluded: int = 0
    free: int = 0


def about(number: int) -> str:
    """A number of blocks a person can read: large ones as the power of two that they are, or are close to."""
    if number < 1 << 24:
        return str(number)
    power = number.bit_length() - (number < 3 << (number.bit_length() - 2))
    return f"2^{power}" if number == 1 << power else f"~2^{power}"


class Window:
    """The ranges of one family of a ClusterCIDR, in the object's order, seen as blocks of one length.

    Attributes:
        length: prefix length of a node's block.
        ranges: keys of the ranges; a range inside another one of the same window is left out.
        owner: the ClusterCIDR's name.
        capacity: how many blocks the ranges hold.
        cursor: the last address that was handed out, as an integer; None before the first block.
    """

    __slots__ = (
        "_ahead",
        "_bits",
        "_counts",
        "_space",
        "_stale",
        "capacity",
        "cursor",
        "length",
        "owner",
        "ranges",
    )

    def __init__(
        self, space: Space, family: Family, ranges: tuple[int, ...], length: int, owner: PoolName
    ) -> None:
        self.owner = owner
        self._space = space
        self._bits = family.bits
        self.length = length
        self.ranges = _outermost(ranges)
        self.capacity = sum(1 << (length - length_of(r)) for r in self.ranges)
        self.cursor: int | None = None
        self._ahead: tuple[int, int] | None = (
            None  # the rest of the cursor's range, as keys of the window's length
        )
        self._counts = [0, 0, 0]
        self._stale = not all(space.is_free(one) for one in self.ranges)

    def next_fit(self, length: int | None = None) -> int:
        """The key of the next free block from the cursor on, wrapping round once; 0 when the ranges are full.

        Args:
            length: another block length than the window's own, as a node's annotation may ask.
        """
        if length is None:
            if self._ahead is not None:
                found = self._space.first_free(self.length, *self._ahead)
                if found:
                    return found
            length = self.length
        space = self._space
        cursor = self.cursor
        if cursor is None:
            for one in self.ranges:
                found = space.first_free(length, *_bounds(one, length))
                if found:
                    return found
            return 0
        shift = self._bits - length
        start = (1 << length) + (cursor >> shift) + 1  # the first block of this length after the cursor
        inside = next((i for i, one in enumerate(self.ranges) if self._holds(one, cursor)), -1)
        if inside < 0:
            inside, start = 0, 0
        count = len(self.ranges)
        low, high = _bounds(self.ranges[inside], length)
        found = space.first_free(length, max(low, start), high)
        for step in range(1, count):
            if found:
                return found
            found = space.first_free(length, *_bounds(self.ranges[(inside + step) % count], length))
        return found or space.first_free(length, low, min(high, start))

    def advance(self, key: int) -> None:
        """Move the cursor past a block that was handed out."""
        length = key.bit_length() - 1
        after = key + 1
        self.cursor = (after - (1 << length) << (self._bits - length)) - 1
        if length != self.length:
            self._ahead = None
        elif self._ahead is not None and self._ahead[0] <= key < self._ahead[1]:
            self._ahead = (after, self._ahead[1])
        else:
            bounds = (_bounds(one, length) for one in self.ranges)
            self._ahead = next(((after, high) for low, high in bounds if low <= key < high), None)

    def skipped(self, key: int) -> int:
        """How many blocks of this length a search from the cursor passed over before it came to `key`."""
        length = length_of(key)
        at, start = 0, 0
        if self.cursor is not None:
            inside = next((i for i, one in enumerate(self.ranges) if self._holds(one, self.cursor)), -1)
            if inside >= 0:
                at, start = inside, (1 << length) + (self.cursor >> (self._bits - length)) + 1
        passed = 0
        for step in range(len(self.ranges) + 1):
            low, high = _bounds(self.ranges[(at + step) % len(self.ranges)], length)
            low = max(low, start) if step == 0 else low
            if low <= key < high:
                return passed + key - low
            passed += max(0, high - low)
        return passed

    def contains(self, key: int) -> bool:
        """Whether a block lies within one of the ranges."""
        return any(covers(one, key) for one in self.ranges)

    def touches(self, key: int) -> bool:
        """Whether a block shares an address with one of the ranges."""
        return any(covers(one, key) or covers(key, one) for one in self.ranges)

    def covered(self) -> Iterator[tuple[int, int, tuple[Holder, ...]]]:
        """The ranges that lie whole in one block larger than a node's, each with the largest such block and its holders."""
        for one in self.ranges:
            if self._space.is_free(one):
                continue
            around = (*self._space.around(one), *((one,) if one in self._space.marks else ()))
            if around and length_of(around[0]) < self.length:
                yield one, around[0], self._space.holders(around[0])

    def usage(self) -> Usage:
        """The counts now; they are made anew only after overlapping blocks came or went."""
        if self._stale:
            self._counts = self._count()
            self._stale = False
        allocated, resting, excluded = self._counts
        return Usage(
            capacity=self.capacity,
            allocated=allocated,
            resting=resting,
            excluded=excluded,
            free=self.capacity - allocated - resting - excluded,
        )

    # -- called by Occupancy -------------------------------------------------------------------------------------

    def change(self, kind: Kind, units: int) -> None:
        """So many blocks became used for a reason, or free again when negative."""
        self._counts[kind] += units

    def recount_later(self) -> None:
        """What changed cannot be said in a number: count again before the next answer."""
        self._stale = True

    @property
    def stale(self) -> bool:
        """Whether the counts will be made anew."""
        return self._stale

    def _holds(self, one: int, address: int) -> bool:
        return (1 << self._bits | address) >> (self._bits - length_of(one)) == one

    def _count(self) -> list[int]:
        counts = [0, 0, 0]
        for one in self.ranges:
            low, high = _bounds(one, self.length)
            events: list[tuple[int, int, Kind]] = []
            for key in self._space.touching(one):
                kind = min(h.kind for h in self._space.holders(key))
                shift = self.length - length_of(key)
                first, last = (
                    (key << shift, (key + 1) << shift) if shift >= 0 else (key >> -shift, (key >> -shift) + 1)
                )
                events.append((max(low, first), 1, kind))
                events.append((min(high, last), -1, kind))
            events.sort(key=lambda event: event[0])
            open_now = [0, 0, 0]
            at = low
            for place, step, kind in events:
                if place > at:
                    for reason in Kind:
                        if open_now[reason]:
                            counts[reason] += place - at
                            break
                    at = place
                open_now[kind] += step
        return counts


class Occupancy:
    """One family: the space all ClusterCIDRs share, and their windows on it."""

    __slots__ = ("_by_range", "_range_lengths", "_windows", "family", "space")

    def __init__(self, family: Family) -> None:
        self.family = family
        self.space = Space()
        self._windows: tuple[Window, ...] = ()
        self._by_range: dict[int, tuple[Window, ...]] = {}
        self._range_lengths: tuple[int, ...] = ()

    def watch(self, windows: tuple[Window, ...]) -> None:
        """Keep these windows' counts from now on, and no others'."""
        self._windows = windows
        by_range: dict[int, list[Window]] = {}
        for window in windows:
            for one in window.ranges:
                by_range.setdefault(one, []).append(window)
        self._by_range = {one: tuple(found) for one, found in by_range.items()}
        self._range_lengths = tuple(sorted({length_of(one) for one in by_range}))

    def windows_around(self, key: int) -> Iterator[tuple[Window, int]]:
        """The windows with a range that contains a block, with that range's length, widest range first."""
        length = key.bit_length() - 1
        for other in self._range_lengths:
            if other > length:
                return
            for window in self._by_range.get(key >> (length - other), ()):
                yield window, other

    def ranges_within(self, key: int) -> Iterator[tuple[Window, tuple[int, ...]]]:
        """The windows of which whole ranges lie in a block that is larger than one of their own, with these ranges."""
        length = length_of(key)
        if self._range_lengths and self._range_lengths[-1] >= length:
            for window in self._windows:
                within = (
                    tuple(one for one in window.ranges if covers(key, one)) if window.length > length else ()
                )
                if within:
                    yield window, within

    def add(self, key: int, holder: Holder, *, known_free: bool = False) -> None:
        """Somebody holds a block from now on; `known_free` says that a search just found it free."""
        if key in self.space.marks:
            if holder.kind < min(h.kind for h in self.space.holders(key)):
                self._recount(key)
        else:
            self._count(key, holder.kind, 1, free=known_free or None)
        self.space.add(key, holder)

    def remove(self, key: int, holder: Holder) -> None:
        """Somebody no longer holds a block.

        Raises:
            KeyError: this holder does not hold this block.
        """
        self.space.remove(key, holder)
        rest = self.space.holders(key)
        if rest:
            if holder.kind < min(h.kind for h in rest):
                self._recount(key)
            return
        self._count(key, holder.kind, -1)

    def _count(self, key: int, kind: Kind, sign: int, *, free: bool | None = None) -> None:
        """Tell the windows about a block that is not marked at this moment."""
        length = key.bit_length() - 1
        lengths = self._range_lengths
        for other in lengths:
            if other > length:
                break
            for window in self._by_range.get(key >> (length - other), ()):
                shift = window.length - length
                if shift >= 0:
                    if free is None:
                        free = self.space.is_free(key)
                    alone = free
                else:
                    alone = self.space.is_free(key >> -shift)
                if alone:
                    window.change(kind, sign << shift if shift > 0 else sign)
                elif shift >= 0 or not self._change_unit(window, key >> -shift, kind, sign):
                    window.recount_later()
        if lengths and lengths[-1] > length:
            for window in self._windows:
                if any(length_of(one) > length and covers(key, one) for one in window.ranges):
                    window.recount_later()

    def _change_unit(self, window: Window, unit: int, kind: Kind, sign: int) -> bool:
        """Counts one block of a window of which somebody else holds a part as well; False when there are too many."""
        others = list(islice(self.space.touching(unit), _FEW + 1))
        if len(others) > _FEW:
            return False
        without = min(holder.kind for key in others for holder in self.space.holders(key))
        if kind < without:
            window.change(kind, sign)
            window.change(without, -sign)
        return True

    def _recount(self, key: int) -> None:
        for window in self._windows:
            if window.touches(key):
                window.recount_later()


def _bounds(one: int, length: int) -> tuple[int, int]:
    """The first key of a range at a block length, and one past its last; an empty span when blocks are larger than it."""
    shift = length - (one.bit_length() - 1)
    return (one << shift, (one + 1) << shift) if shift >= 0 else (1, 1)


def _outermost(ranges: tuple[int, ...]) -> tuple[int, ...]:
    kept: list[int] = []
    for i, one in enumerate(ranges):
        if not any(
            covers(other, one) and (other != one or j < i) for j, other in enumerate(ranges) if j != i
        ):
            kept.append(one)
    return tuple(kept)
