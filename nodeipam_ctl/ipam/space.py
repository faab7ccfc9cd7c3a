"""Which addresses of one family are used, and where is the next free block of a given size?

One space per family serves every ClusterCIDR, so a block that is used through any of them is used for all. It is a tree
with sixteen branches a node: a page of length 4k knows its sixteen units of length 4k + 4, which of them a block covers
(`full`), which have a page of their own (`part`), and the size of the largest free block at or below it (`best`, as in a
buddy allocator). Only used addresses cost memory, a search looks at no more than a few pages whatever the range's size,
and blocks of every size live in the same tree. The ledger's pages (`ledger.py`) cut the space in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Protocol

_ALL: Final = 0xFFFF
_NOTHING_FREE: Final = 255
_EVERY = (_ALL, 0x5555, 0x1111, 0x0101, 0x0001)
"""Where an aligned group of 2**w units may start, by w."""


class Kind(IntEnum):
    """Why addresses are not free; where several hold, the lowest number counts."""

    ALLOCATED = 0
    RESTING = 1
    EXCLUDED = 2


class Holder(Protocol):
    """Somebody because of whom a block is not free: a node, a rest after a node, an exclusion."""

    @property
    def kind(self) -> Kind:
        """Why the block is not free."""
        ...


Marks = dict[int, Holder | tuple[Holder, ...]]


class Space:
    """Used blocks of one family, each with those who hold it; two holders of one block are counted apart.

    Blocks are keys (`blocks.py`). Blocks may overlap: that is trouble for somebody else to report, and a block is free
    only when nobody holds it, nor a larger block around it, nor a smaller one inside.
    """

    __slots__ = ("_lengths", "_pages", "_present", "marks")

    def __init__(self) -> None:
        self.marks: Marks = {}
        self._pages: dict[int, int] = {}  # page key -> full | part << 16 | best << 32
        self._present: dict[int, int] = {}  # prefix length -> how many marks have it
        self._lengths: tuple[int, ...] = ()

    def holders(self, key: int) -> tuple[Holder, ...]:
        """Those who hold exactly this block."""
        found = self.marks.get(key)
        if found is None:
            return ()
        return found if type(found) is tuple else (found,)  # type: ignore[return-value]  # mypy: `type() is`

    def add(self, key: int, holder: Holder) -> None:
        """Somebody holds a block from now on; the same holder may be added once only."""
        present = self.marks.get(key)
        if present is not None:
            self.marks[key] = (*self.holders(key), holder)
            return
        self.marks[key] = holder
        length = key.bit_length() - 1
        count = self._present.get(length, 0)
        self._present[length] = count + 1
        if not count:
            self._lengths = tuple(sorted(self._present))
        if length == 0:  # everything: a page has no unit that large, its two halves stand for it
            self._cover(2)
            self._cover(3)
        else:
            self._cover(key)

    def remove(self, key: int, holder: Holder) -> None:
        """Somebody no longer holds a block; its addresses are free once nobody else does.

        Raises:
            KeyError: this holder does not hold this block.
        """
        rest = tuple(h for h in self.holders(key) if h is not holder)
        if len(rest) == len(self.holders(key)):
            raise KeyError(key)
        if rest:
            self.marks[key] = rest if len(rest) > 1 else rest[0]
            return
        del self.marks[key]
        length = key.bit_length() - 1
        self._present[length] -= 1
        if not self._present[length]:
            del self._present[length]
            self._lengths = tuple(sorted(self._present))
        if length == 0:
            for half in (2, 3):
                if half not in self.marks:
                    self._uncover(half)
        else:
            self._uncover(key)

    def is_free(self, key: int) -> bool:
        """Whether no address of this block is held by anybody."""
        length = key.bit_length() - 1
        for other in self._lengths:
            if other > length:
                break
            if key >> (length - other) in self.marks:
                return False
        if length == 0:
            return not self.marks
        page_length = (length - 1) & ~3
        page = self._pages.get(key >> (length - page_length))
        return page is None or not (page | page >> 16) & _units(key, length - page_length)

    def first_free(self, length: int, low: int, high: int) -> int:
        """The lowest key of a free block of one length with `low <= key < high`, or 0 when there is none.

        Args:
            length: prefix length of the block, at least 1.
            low: a key of that length.
            high: one past the last key that may be returned.
        """
        if low >= high:
            return 0
        leaf = (length - 1) & ~3
        shift = length - leaf
        if not self._is_covered(low >> shift, leaf):  # next fit finds most blocks here, beside the last one
            found = self._search(low >> shift, leaf, length, low, high)
            if found or high <= (low >> shift) + 1 << shift:
                return found
        top = min(leaf, (length - (low ^ (high - 1)).bit_length()) & ~3)
        page = low >> (length - top)
        return 0 if self._is_covered(page, top) else self._search(page, top, length, low, high)

    def inside(self, key: int) -> Iterator[int]:
        """The marked blocks within a block, itself included, in address order, larger before smaller."""
        length = key.bit_length() - 1
        if length == 0:
            if key in self.marks:
                yield key
            yield from self.inside(2)
            yield from self.inside(3)
            return
        yield from self._walk(key, length)

    def around(self, key: int) -> Iterator[int]:
        """The marked blocks that contain a block and are larger than it, largest first."""
        length = key.bit_length() - 1
        for other in self._lengths:
            if other >= length:
                break
            outer = key >> (length - other)
            if outer in self.marks:
                yield outer

    def touching(self, key: int) -> Iterator[int]:
        """The marked blocks that share an address with a block."""
        yield from self.around(key)
        yield from self.inside(key)

    def touched(self, key: int) -> Iterator[tuple[int, Holder]]:
        """The same, each with everybody who holds it."""
        for block in self.touching(key):
            for holder in self.holders(block):
                yield block, holder

    # -- the tree ------------------------------------------------------------------------------------------------

    def _is_covered(self, page: int, page_length: int) -> bool:
        """Whether a block covers a whole page, or more: the page itself does not show it."""
        marks = self.marks
        for other in self._lengths:
            if other > page_length:
                return False
            if page >> (page_length - other) in marks:
                return True
        return False

    def _cover(self, key: int) -> None:
        length = key.bit_length() - 1
        page_length = (length - 1) & ~3
        page = key >> (length - page_length)
        value = self._pages.get(page, 0)
        self._store(page, page_length, value & _ALL | _units(key, length - page_length), value >> 16 & _ALL)

    def _uncover(self, key: int) -> None:
        length = key.bit_length() - 1
        page_length = (length - 1) & ~3
        page = key >> (length - page_length)
        marks = self.marks
        outer = key >> 1
        while outer > page:
            if outer in marks:
                return  # a larger block of this page still covers all of it
            outer >>= 1
        if page == 1 and 1 in marks:
            return
        value = self._pages[page]
        full = value & _ALL & ~_units(key, length - page_length)
        first, last = key << 1, (key << 1) + 1
        for depth in range(length - page_length + 1, 5):
            if depth + page_length in self._present:
                for inner in range(first, last + 1):
                    if inner in marks:
                        full |= _units(inner, depth)
            first, last = first << 1, (last << 1) + 1
        self._store(page, page_length, full, value >> 16 & _ALL)

    def _store(self, page: int, page_length: int, full: int, part: int) -> None:
        pages = self._pages
        least = 0  # nothing at or below this page can be larger
        while True:
            before = pages.get(page)
            free = ~(full | part) & _ALL
            if free == _ALL:
                pages.pop(page, None)
                best = page_length
            else:
                best = page_length + _largest(free) if free else self._best_below(page, full, part, least)
                pages[page] = full | part << 16 | best << 32
                # The parent changes only if this page appeared, vanished, or has another largest free block.
                if before is not None and before >> 32 == best:
                    return
            if page == 1:
                return
            bit = 1 << (page & 15)
            page >>= 4
            page_length -= 4
            value = pages.get(page, 0)
            full, part = value & _ALL, value >> 16 & _ALL
            least = min(best, value >> 32)  # only this branch changed
            if free == _ALL:
                if not part & bit:
                    return
                part &= ~bit
            else:
                part |= bit

    def _best_below(self, page: int, full: int, part: int, least: int) -> int:
        best = _NOTHING_FREE
        open_units = part & ~full
        first = page << 4
        pages = self._pages
        while open_units:
            bit = open_units & -open_units
            open_units ^= bit
            found = pages[first | bit.bit_length() - 1] >> 32
            if found < best:
                if found <= least:
                    return found
                best = found
        return best

    def _search(self, page: int, page_length: int, length: int, low: int, high: int) -> int:
        value = self._pages.get(page)
        if value is None:
            return low  # nothing is used here, and the callers see to it that `low` lies inside
        if value >> 32 > length:
            return 0
        full, part = value & _ALL, value >> 16 & _ALL
        below = length - page_length
        first = page << below
        if below <= 4:
            width = 4 - below
            free = ~(full | part) & _ALL
            for step in range(width):
                free &= free >> (1 << step)
            free &= _EVERY[width]
            start = low - first
            if start > 0:
                free = free >> (start << width) << (start << width)
            if not free:
                return 0
            found = first + (((free & -free).bit_length() - 1) >> width)
            return found if found < high else 0
        # From the unit in which the search starts on, those that nothing covers.
        shift = below - 4
        unit_first = page << 4
        start = low >> shift
        units = ~full & _ALL
        if start > unit_first:
            units = units >> (start & 15) << (start & 15)
        while units:
            bit = units & -units
            units ^= bit
            unit = unit_first | bit.bit_length() - 1
            first = unit << shift
            if first >= high:
                return 0
            first = max(first, low)
            if not part & bit:
                return first
            found = self._search(unit, page_length + 4, length, first, high)
            if found:
                return found
        return 0

    def _walk(self, key: int, length: int) -> Iterator[int]:
        if key in self.marks:
            yield key
        page_length = (length - 1) & ~3
        value = self._pages.get(key >> (length - page_length))
        if value is None or not (value | value >> 16) & _units(key, length - page_length):
            return
        if length - page_length == 4:
            if value >> 16 & 1 << (key & 15):
                yield from self._walk(key << 1, length + 1)
                yield from self._walk(key << 1 | 1, length + 1)
        else:
            yield from self._walk(key << 1, length + 1)
            yield from self._walk(key << 1 | 1, length + 1)


def _units(key: int, depth: int) -> int:
    """Which of a page's sixteen units a block covers, as bits; `depth` is its length below the page's, 1 to 4."""
    width = 4 - depth
    return ((1 << (1 << width)) - 1) << ((key & ((1 << depth) - 1)) << width)


def _largest(free: int) -> int:
    """How much longer than the page's the prefix of its largest free block is, 1 to 4, from the free units."""
    pairs = free & free >> 1 & 0x5555
    if not pairs:
        return 4
    fours = pairs & pairs >> 2 & 0x1111
    if not fours:
        return 3
    return 1 if fours & fours >> 4 & 0x0101 else 2
