"""Which part of the space must not be used at present, because a page of the ledger is in the way? Nothing of it is handed out."""

from __future__ import annotations

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.page_writes import Conflict
from nodeipam_ctl.ipam.pages import page_name, page_of
from nodeipam_ctl.model import LedgerPage
from nodeipam_ctl.prefixes import Network, contains


class Closed:
    """What the allocator keeps free because its line cannot be written, by the page that has to change first."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._networks: dict[str, set[Network]] = {}

    def close(self, conflict: Conflict) -> None:
        """A line can stand on no page: it has a line that nobody can read, or another controller opens what we close."""
        block, unreadable = conflict.wanted.cidr, conflict.unreadable
        page = page_of(block)
        assert page is not None, block  # a block without a page is not even wanted
        closed = block
        if unreadable is not None:
            closed = unreadable if contains(block, unreadable) else page
        name = page_name(unreadable or page)
        networks = self._networks.setdefault(name, set())
        networks.add(closed)
        remedy = f"correct the line of podcidrslice/{name} that cannot be read" if unreadable else None
        self._allocator.set_reserved(f"podcidrslice/{name}", networks, remedy=remedy)

    def reopen(self, page: LedgerPage) -> bool:
        """A page was read or written; whether what it closed may be used again."""
        if page.findings or self._networks.pop(page.name, None) is None:
            return False
        self._allocator.set_reserved(f"podcidrslice/{page.name}", ())
        return True
