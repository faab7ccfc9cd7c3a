"""Which pages have to be written now, for the lines that are wanted? The rules are told in `ledger.py`; here is the order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from nodeipam_ctl.ipam.blocks import covers, key_of, length_of, network_of
from nodeipam_ctl.ipam.lines import Lines, by_key, is_over, place, same
from nodeipam_ctl.ipam.pages import page_key, page_name
from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeUID
from nodeipam_ctl.prefixes import Family, Network

_PATIENCE: Final = 64
"""Tries after which a larger block gives way; the deepest tree of pages is emptied in half as many."""

At = tuple[Family, int]
"""A page: its family and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageWrite:
    """One page to be written: created when `page.resource_version` is empty, else replaced at that version.

    Attributes:
        opens: pages below that may be written once this write stands, with the version each must still have.
        closes: this write leaves the page empty, for the page above at the version given here.
    """

    page: LedgerPage
    opens: tuple[tuple[int, str], ...] = ()
    closes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A line that cannot be written; the wish for it is dropped.

    Attributes:
        held: the line that stands there, if that is why.
        unreadable: the page with a line that nobody can read, if that is why.
    """

    wanted: LedgerEntry
    held: LedgerEntry | None
    reason: str
    unreadable: Network | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Page writes that may go out now, all at once and in any order; ask for the next step when all have their outcome."""

    writes: tuple[PageWrite, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


@dataclass(slots=True)
class Book:
    """Everything the ledger remembers.

    Attributes:
        pages: pages as last read.
        lines: their lines, by block.
        wanted: lines that should stand, by page and block.
        dropped: lines that may go, by page, as (block, uid).
        opened: the version at which an empty page may be written.
        closed: the version of the page above for which a page was written empty.
        attempts: how many tries to empty the pages below it a larger block has waited for, by page and block.
    """

    pages: dict[At, LedgerPage] = field(default_factory=dict)
    lines: dict[At, Lines] = field(default_factory=dict)
    wanted: dict[At, dict[int, LedgerEntry]] = field(default_factory=dict)
    dropped: dict[At, set[tuple[int, NodeUID]]] = field(default_factory=dict)
    opened: dict[At, str] = field(default_factory=dict)
    closed: dict[At, str] = field(default_factory=dict)
    attempts: Counter[tuple[At, int]] = field(default_factory=Counter)

    def keep(self, at: At, page: LedgerPage) -> None:
        """A page as it is now."""
        self.pages[at] = page
        self.lines[at] = by_key(page.entries)

    def lines_of(self, at: At) -> Lines:
        """A page's lines; not to be changed."""
        return self.lines.get(at, {})

    def version_of(self, at: At) -> str:
        """A page's resourceVersion; "" when it does not exist."""
        page = self.pages.get(at)
        return page.resource_version if page is not None else ""

    def unwant(self, at: At, key: int) -> None:
        """A line is wanted no longer."""
        self.attempts.pop((at, key), None)
        wanted = self.wanted.get(at)
        if wanted is not None:
            wanted.pop(key, None)
            if not wanted:
                del self.wanted[at]

    def forget_idle(self) -> None:
        """Drop what is remembered of pages that have lines: it matters for empty ones only."""
        for notes in (self.opened, self.closed):
            for at in [at for at in notes if self.lines.get(at)]:
                del notes[at]


class Planner:
    """Plans one step.

    Args:
        book: what is known and wanted; wishes that cannot come true are removed from it.
        now: seconds since the epoch.
        busy: pages of which a write is under way: nothing is planned for them.
    """

    def __init__(self, book: Book, now: float, busy: Collection[At] = ()) -> None:
        self._book = book
        self._now = now
        self._busy = busy
        self._todo: dict[int, set[At]] = {}  # pages to be looked at, by length
        self._writes: dict[At, PageWrite] = {}
        self._conflicts: list[Conflict] = []
        self._opening: dict[
            At, dict[int, str]
        ] = {}  # by page: those below that need its Split line, with their version
        self._closing: list[
            tuple[At, At, LedgerEntry]
        ] = []  # (page to be empty, page above, line that needs it)

    def step(self) -> Step:
        """The writes that may go out now."""
        for at in {*self._book.wanted, *self._book.dropped}:
            if at not in self._busy:
                self._ask(at)
        # Longest prefix first: what pages need of those above them is known when those come up.
        for length in range(Family.IPV6.bits - 4, -1, -4):
            for at in sorted(self._todo.get(length, ())):
                self._plan(at)
        for at, above, entry in self._closing:
            self._close(at, above, entry)
        return Step(
            writes=tuple(self._writes[at] for at in sorted(self._writes)), conflicts=tuple(self._conflicts)
        )

    def _ask(self, at: At) -> None:
        self._todo.setdefault(length_of(at[1]), set()).add(at)

    def _plan(self, at: At) -> None:
        if at in self._busy:
            return
        family, page = at
        book = self._book
        known = book.pages.get(at)
        if known is not None and known.findings:
            self._refuse_below(at, None, _cannot_be_read(known), unreadable=known.page)
            book.dropped.pop(at, None)
            return
        before = book.lines_of(at)
        lines = self._without_dropped(at)
        for key, entry in sorted(book.wanted.get(at, {}).items()):
            self._put(at, lines, key, entry)
        opens = []
        for below, version in sorted(self._opening.get(at, {}).items()):
            if self._split(lines, family, below):
                opens.append((below, version))
        if not opens and lines == before:
            book.dropped.pop(at, None)
            return
        if lines and not before:
            above = page_key(page, family)
            version = book.version_of(at)
            if above is not None and book.opened.get(at) != version:
                self._opening.setdefault((family, above), {})[page] = version
                self._ask((family, above))
                return
        self._write(at, lines, opens=tuple(opens))

    def _put(self, at: At, lines: Lines, key: int, entry: LedgerEntry) -> None:
        present = lines.get(key)
        if entry.state is LedgerState.RESTING and (present is None or present.node_uid != entry.node_uid):
            self._book.unwant(at, key)  # nothing of this node stands there that could rest
            return
        if present is not None and same(present, entry):
            self._book.unwant(at, key)
            return
        problem = place(lines, entry, may_go=lambda line: self._may_go(at, line))
        if problem is None:
            return
        if problem.held is not None:
            self._conflict(at, key, entry, problem.held)
            return
        version = self._book.version_of(at)
        open_units = [u for u in problem.split if not self._is_closed((at[0], u), version)]
        if open_units:
            if not self._is_closing(at[0], key):  # a slow server is nobody who opens what we close
                self._book.attempts[at, key] += 1
            if self._book.attempts[at, key] > _PATIENCE:
                # Another controller opens what we close, in step with us: one of the two has to give way.
                self._conflict(at, key, entry, None)
                return
            self._closing.extend(((at[0], unit), at, entry) for unit in open_units)
            return
        for unit in problem.split:
            del lines[unit]
        place(lines, entry, may_go=lambda line: self._may_go(at, line))

    def _split(self, lines: Lines, family: Family, below: int) -> bool:
        """Puts the `Split` line of a page below on a page; refuses everything below when a block stands there."""
        if below in lines and lines[below].state is LedgerState.SPLIT:
            return True
        split = LedgerEntry(cidr=network_of(below, family), state=LedgerState.SPLIT, since_s=self._now)
        problem = place(lines, split, may_go=lambda line: is_over(line, self._now))
        if problem is None:
            return True
        held = problem.held
        where = (
            f"{held.cidr}, {held.state.lower()} for node {held.node}, covers it" if held else "it is split"
        )
        self._refuse_below((family, below), held, where)
        return False

    def _close(self, at: At, above: At, entry: LedgerEntry) -> None:
        """Empties a page, and those below it first, so that a larger block may take its place on the page above."""
        if at in self._writes or at in self._busy:
            return  # it is written already in this step: look again in the next
        family = at[0]
        wanted_at = (family, page_key(key_of(entry.cidr), family) or 0)
        known = self._book.pages.get(at)
        if known is not None and known.findings:  # to write it empty would take away what nobody can read
            self._conflict(wanted_at, key_of(entry.cidr), entry, None, unreadable=known)
            return
        lines = self._without_dropped(at)
        version = self._book.version_of(at)
        ready = True
        for key, line in sorted(lines.items()):
            if line.state is LedgerState.SPLIT:
                if self._is_closed((family, key), version):
                    continue
                ready = False
                self._close((family, key), at, entry)
            elif not self._may_go(at, line):
                self._conflict(wanted_at, key_of(entry.cidr), entry, line)
                return
        if ready:
            self._write(at, {}, closes=self._book.version_of(above))

    # -- small steps ---------------------------------------------------------------------------------------------

    def _may_go(self, at: At, line: LedgerEntry) -> bool:
        return is_over(line, self._now) or (key_of(line.cidr), line.node_uid) in self._book.dropped.get(
            at, ()
        )

    def _is_closing(self, family: Family, key: int) -> bool:
        return any(f is family and covers(key, page) for f, page in self._busy)

    def _is_closed(self, at: At, version_above: str) -> bool:
        return not self._book.lines_of(at) and self._book.closed.get(at) == version_above

    def _without_dropped(self, at: At) -> Lines:
        lines = dict(self._book.lines_of(at))
        for key, uid in self._book.dropped.get(at, ()):
            line = lines.get(key)
            if line is not None and line.node_uid == uid and line.state is not LedgerState.SPLIT:
                del lines[key]
        return lines

    def _write(
        self, at: At, lines: Lines, *, opens: tuple[tuple[int, str], ...] = (), closes: str | None = None
    ) -> None:
        family, page = at
        known = self._book.pages.get(at)
        if known is None:
            network = network_of(page, family)
            known = LedgerPage(name=page_name(network), page=network)
        written = replace(
            known, turn=known.turn + 1, entries=tuple(lines[key] for key in sorted(lines, key=_place))
        )
        self._writes[at] = PageWrite(page=written, opens=opens, closes=closes)

    def _conflict(
        self,
        at: At,
        key: int,
        entry: LedgerEntry,
        held: LedgerEntry | None,
        unreadable: LedgerPage | None = None,
    ) -> None:
        wanted = self._book.wanted.get(at, {}).get(key)
        if wanted is not entry:
            return  # refused already
        self._book.unwant(at, key)
        if entry.state is LedgerState.BOUND:
            reason = "another controller takes smaller blocks from it"
            if held is not None:
                reason = f"{held.cidr} is {held.state.lower()} for node {held.node or 'nobody'}"
            elif unreadable is not None:
                reason = _cannot_be_read(unreadable)
            page = unreadable.page if unreadable is not None else None
            self._conflicts.append(Conflict(wanted=entry, held=held, reason=reason, unreadable=page))

    def _refuse(
        self, at: At, under: int, held: LedgerEntry | None, reason: str, unreadable: Network | None
    ) -> None:
        for key, entry in sorted(self._book.wanted.get(at, {}).items()):
            if covers(under, key):
                self._book.unwant(at, key)
                if entry.state is LedgerState.BOUND:
                    self._conflicts.append(
                        Conflict(wanted=entry, held=held, reason=reason, unreadable=unreadable)
                    )

    def _refuse_below(
        self, at: At, held: LedgerEntry | None, reason: str, unreadable: Network | None = None
    ) -> None:
        family, page = at
        for other in self._pages_wanted(family):
            if covers(page, other):
                self._refuse((family, other), page, held, reason, unreadable)

    def _pages_wanted(self, family: Family) -> Iterable[int]:
        return [page for f, page in self._book.wanted if f is family]


def _cannot_be_read(page: LedgerPage) -> str:
    return f"page {page.name} has a line that cannot be read"


def _place(key: int) -> tuple[int, int]:
    """Sorts the blocks of one page by address, the larger first; no page holds blocks more than four bits shorter."""
    length = key.bit_length() - 1
    return (key - (1 << length)) << (132 - length), length
