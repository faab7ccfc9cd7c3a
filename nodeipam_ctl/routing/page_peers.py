"""Which peers do the ledger's pages name? One for all lines of a node, kept up to date page by page."""

from __future__ import annotations

from collections.abc import Mapping

from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeUID
from nodeipam_ctl.prefixes import sort_key
from nodeipam_ctl.routing.view import Peer


class PagePeers:
    """The peers of pages that change one at a time: 5,000 nodes stand on hundreds of pages, and an event is about one.

    After any history it says what a new one would say of the same pages, but for pages that cannot be understood: what such a
    page said before stands, since its nodes have not gone away.

    Attributes:
        peers: by uid; the same objects as before where nothing changed.
    """

    def __init__(self) -> None:
        self.peers: dict[NodeUID, Peer] = {}
        self._pages: dict[str, LedgerPage] = {}
        self._lines: dict[NodeUID, tuple[LedgerEntry, ...]] = {}
        self._unknown = 0

    @property
    def whole(self) -> bool:
        """Whether every page has been understood, now or earlier."""
        return self._unknown == 0

    def __contains__(self, name: str) -> bool:
        """Whether the page of this name has been understood, now or earlier."""
        return name in self._pages

    def update(self, pages: Mapping[str, LedgerPage | None]) -> None:
        """Takes over what changed.

        Args:
            pages: all of them by name; None for one that cannot be understood.
        """
        touched: set[NodeUID] = set()
        for name in [name for name in self._pages if name not in pages]:
            touched |= self._replace(self._pages.pop(name), None)
        for name, page in pages.items():
            before = self._pages.get(name)
            if page is not None and page is not before:
                touched |= self._replace(before, page)
                self._pages[name] = page
        for uid in touched:
            lines = self._lines[uid]
            if not lines:
                del self._lines[uid]
                self.peers.pop(uid, None)
            elif (peer := _merged(lines)) != self.peers.get(uid):
                self.peers[uid] = peer
        self._unknown = len(pages) - len(self._pages)

    def _replace(self, before: LedgerPage | None, after: LedgerPage | None) -> set[NodeUID]:
        """Puts a page's lines in the place of its earlier ones; the nodes of both."""
        gone, come = _bound(before), _bound(after)
        for uid, lines in gone.items():
            ended = set(map(id, lines))  # by identity: a line that another page has as well stays
            self._lines[uid] = tuple(line for line in self._lines[uid] if id(line) not in ended)
        for uid, lines in come.items():
            self._lines[uid] = self._lines.get(uid, ()) + lines
        return gone.keys() | come.keys()


def _bound(page: LedgerPage | None) -> dict[NodeUID, tuple[LedgerEntry, ...]]:
    found: dict[NodeUID, tuple[LedgerEntry, ...]] = {}
    for line in page.entries if page is not None else ():
        if line.state is LedgerState.BOUND:
            found[_holder(line)] = (*found.get(_holder(line), ()), line)
    return found


def _holder(line: LedgerEntry) -> NodeUID:
    """Whose the line is; one written by hand may lack the uid, and two of those are not one node."""
    return line.node_uid or NodeUID(line.node)


def _merged(lines: tuple[LedgerEntry, ...]) -> Peer:
    """One peer for all lines of a node, IPv4 first, whatever the order in which they became known."""
    lines = tuple(sorted(lines, key=lambda line: (sort_key(line.cidr), line.since_s)))
    return Peer(
        name=lines[0].node,
        uid=_holder(lines[0]),
        pod_cidrs=tuple(line.cidr for line in lines),
        addresses=next((line.addresses for line in lines if line.addresses), ()),
        since_s=min(line.since_s for line in lines),
        runs=next((line.backend for line in lines if line.backend), ""),
        public_key=next((line.wireguard_public_key for line in lines if line.wireguard_public_key), ""),
    )
