"""Which page writes make these promises stand, and in which order? Two writers can never promise overlapping blocks.

A page is written as a whole with its resourceVersion, so two lines of one page exclude each other. Blocks on different
pages can overlap only if one page lies below the other. Three rules exclude that:

- *Split.* A page has lines only while the page above carries a `Split` line for it; a `Split` line and a block that
  overlaps it are on one page and exclude each other.
- *Opening.* The first line of an empty page is written in three steps: know the page's version (or that it does not
  exist); write the page above, with the `Split` line, even if it is there already; write the page at the known version.
- *Closing.* A `Split` line is removed, to make room for a larger block, in three steps: know the version of the page that
  carries it; write each page below, empty, even if it is empty already; write the carrying page at the known version.

Suppose an opener and a closer of one page both succeeded. The closer's write of the page below did not fall between the
opener's steps one and three, nor the opener's write of the page above between the closer's: their last steps would have
failed. So either the opener had finished before the closer wrote the page below, which the closer would then have found
with a line; or the closer had finished before the opener wrote the page above, which then carries `Split` again. A write
that changes nothing must still make a new version, hence `turn`; and pages are never deleted, hence no version returns.

Nobody removes the line of a node that lives and shows no podCIDRs: whoever read the line may be about to patch the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nodeipam_ctl.ipam.blocks import key_of
from nodeipam_ctl.ipam.lines import same, stands
from nodeipam_ctl.ipam.page_writes import Book, PageWrite, Planner, Step
from nodeipam_ctl.ipam.pages import page_key
from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeUID
from nodeipam_ctl.prefixes import Network, family_of


class Ledger:
    """The pages as last read, and the lines that are wanted on them.

    `see` and `missing` take in what was read, `want` and `drop` what should stand, and `step` says what to write next. For
    each write: `wrote` after success; after a conflict, an error or silence read the page again and call `see` or `missing`.
    """

    def __init__(self) -> None:
        self._book = Book()

    # -- what was read -------------------------------------------------------------------------------------------

    def see(self, page: LedgerPage) -> bool:
        """A page as it was read, listed or watched; one that is older than what is known is ignored: then False."""
        at = (family_of(page.page), key_of(page.page))
        known = self._book.pages.get(at)
        if known is not None and _is_older(page, known):
            return False
        self._book.keep(at, page)
        return True

    def set_back(self, page: LedgerPage) -> None:
        """The server's history was set back: this is the page now, and versions that were seen may return."""
        self._book.opened.clear()
        self._book.closed.clear()
        self._book.keep((family_of(page.page), key_of(page.page)), page)

    def missing(self, page: Network) -> None:
        """A page was asked for and does not exist."""
        at = (family_of(page), key_of(page))
        self._book.pages.pop(at, None)
        self._book.lines.pop(at, None)

    def wrote(self, write: PageWrite, *, resource_version: str, uid: str = "") -> None:
        """A write is known to have succeeded; `resource_version` is the page's new one, `uid` its object's."""
        family, key = at = (family_of(write.page.page), key_of(write.page.page))
        self._book.keep(at, replace(write.page, resource_version=resource_version, uid=uid or write.page.uid))
        for below, version in write.opens:
            self._book.opened[family, below] = version
        if write.closes is not None:
            self._book.closed[family, key] = write.closes

    def pages(self) -> Iterator[LedgerPage]:
        """Every page that is known, in no particular order."""
        return iter(self._book.pages.values())

    def entries(self) -> Iterator[LedgerEntry]:
        """Every line that is known, without the `Split` lines."""
        for lines in self._book.lines.values():
            for entry in lines.values():
                if entry.state is not LedgerState.SPLIT:
                    yield entry

    def line(self, block: Network) -> LedgerEntry | None:
        """The line of a block, as last read."""
        family, key = family_of(block), key_of(block)
        page = page_key(key, family)
        return self._book.lines_of((family, page)).get(key) if page is not None else None

    def stands(self, uid: NodeUID, blocks: Iterable[Network]) -> bool:
        """Whether every one of these blocks is promised to this node, so that it may be patched."""
        for block in blocks:
            family, key = family_of(block), key_of(block)
            page = page_key(key, family)
            if page is None or not stands(self._book.lines_of((family, page)), key, uid):
                return False
        return True

    # -- what should stand ---------------------------------------------------------------------------------------

    def want(self, entry: LedgerEntry) -> bool:
        """This line should stand; False when no page can hold it, because the block is too large.

        A `Resting` line is written only over a line of the same node.
        """
        family, key = family_of(entry.cidr), key_of(entry.cidr)
        page = page_key(key, family)
        if page is None:
            return False
        at = (family, page)
        present = self._book.lines_of(at).get(key)
        self._book.unwant(at, key)
        if present is None or not same(present, entry):
            self._book.wanted.setdefault(at, {})[key] = entry
        return True

    def drop(self, block: Network, uid: NodeUID) -> None:
        """The line of this block may go, if it is this node's: the node is gone, or shows other podCIDRs."""
        family, key = family_of(block), key_of(block)
        page = page_key(key, family)
        if page is None:
            return
        at = (family, page)
        wanted = self._book.wanted.get(at, {}).get(key)
        if wanted is not None and wanted.node_uid == uid:
            self._book.unwant(at, key)
        self._book.dropped.setdefault(at, set()).add((key, uid))

    @property
    def busy(self) -> bool:
        """Whether `step` may have something to write."""
        return bool(self._book.wanted or self._book.dropped)

    def step(self, now: float, busy: Iterable[Network] = ()) -> Step:
        """What to write now; nothing when everything stands that is wanted, as far as is known.

        Wishes that turn out to be impossible are dropped and returned as conflicts.

        Args:
            now: seconds since the epoch.
            busy: pages of which a write is under way. Nothing is planned for them, so a step may be taken while others of the
                one before are still out: what depends on those waits for `wrote`.
        """
        under_way = frozenset((family_of(page), key_of(page)) for page in busy)
        step = Planner(self._book, now, under_way).step()
        self._book.forget_idle()
        return step


def _is_older(page: LedgerPage, known: LedgerPage) -> bool:
    """Whether a page was read before the one that is known; only speed depends on it, writes carry the version."""
    if page.resource_version.isdecimal() and known.resource_version.isdecimal():
        return int(page.resource_version) < int(known.resource_version)  # KEP-5504: they may be compared
    return page.turn < known.turn and page.uid in {known.uid, ""}
