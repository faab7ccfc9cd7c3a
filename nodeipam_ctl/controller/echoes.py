"""Which events of the ledger's pages are only our own writes come back? Those are half of what comes in a burst, and not read.

While a write of a page is under way nobody can tell yet whose an event is. It is put aside, unread, until the answer names
the version that is ours; whatever is left then is looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from dataclasses import dataclass

from msgspec import Raw

from nodeipam_ctl.kube.deltas import Changed, Removed
from nodeipam_ctl.kube.wire.envelope import Unreadable, decode_metadata
from nodeipam_ctl.kube.wire.slices import decode_slice
from nodeipam_ctl.model import LedgerPage
from nodeipam_ctl.prefixes import Network

_REMEMBERED = 4
"""Versions of our own kept for each page: events may be that many writes late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """A page whose content was not read, because it is our own work or not known yet whose; in a store for its name."""

    name: str
    uid: str
    resource_version: str
    page: Network


PageRecord = LedgerPage | Unreadable | Echo
"""What stands in the informer's store for a page."""

PageDelta = Changed[PageRecord] | Removed[PageRecord]


class Echoes:
    """Tells our own writes from others'.

    Args:
        under_way: the names of the pages of which a write, or the read after it, is under way.
    """

    def __init__(self, under_way: Container[str]) -> None:
        self._under_way = under_way
        self._networks: dict[str, Network] = {}  # of each page that we have written
        self._ours: dict[str, deque[str]] = {}  # resourceVersions of each page that are our own work
        self._aside: dict[str, list[Raw | Removed[PageRecord]]] = {}

    def writing(self, page: LedgerPage) -> None:
        """A write of this page begins."""
        self._networks[page.name] = page.page

    def wrote(self, name: str, version: str) -> None:
        """A write of ours stands as this version."""
        self._ours.setdefault(name, deque(maxlen=_REMEMBERED)).append(version)

    def forget(self, name: str) -> None:
        """The server's history was set back: versions that were ours may be anybody's again."""
        self._ours.pop(name, None)

    def glance(self, raw: Raw) -> tuple[str, str, int] | None:
        """For the informer: name, version and fingerprint; all echoes have the same, so that all but the first are dropped."""
        metadata = decode_metadata(raw)
        if metadata is None:
            return None
        name, version = metadata.name, metadata.resourceVersion
        return name, version, 0 if self._is_unread(name, version, raw) else hash(version) or 1

    def decode(self, raw: Raw) -> PageRecord | None:
        """For the informer's store: a page, unless it need not be read or must wait."""
        metadata = decode_metadata(raw)
        if metadata is not None and metadata.name in self._networks:
            name, version = metadata.name, metadata.resourceVersion
            if self._is_unread(name, version, raw):
                return Echo(name=name, uid=metadata.uid, resource_version=version, page=self._networks[name])
        return decode_slice(raw)

    def waits(self, removed: Removed[PageRecord]) -> bool:
        """Whether a deletion has to wait, because it is not known whether the write under way came before or after it."""
        name = removed.old.name
        if name in self._under_way:
            self._aside.setdefault(name, []).append(removed)
            return True
        return False

    def put_aside(self, name: str) -> list[PageDelta]:
        """What came of a page while a write was under way and was not that write, in order; nothing is under way now."""
        deltas: list[PageDelta] = []
        for event in self._aside.pop(name, ()):
            if isinstance(event, Removed):
                deltas.append(event)
            elif (record := self.decode(event)) is not None and not isinstance(record, Echo):
                deltas.append(Changed(old=record, new=record))
        return deltas

    def _is_unread(self, name: str, version: str, raw: Raw) -> bool:
        if version in self._ours.get(name, ()):
            return True
        if name not in self._under_way:
            return False
        aside = self._aside.setdefault(name, [])
        if aside and isinstance(aside[-1], Raw):
            aside.pop()  # only the newest matters: it is the whole page
        aside.append(raw)
        return True
