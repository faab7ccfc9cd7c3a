"""Which parts of what we know of the host are doubtful? Marked by what the kernel says, cleared by whoever reads again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from nodeipam_ctl.linux import rtnl
from nodeipam_ctl.linux.netlink import Message
from nodeipam_ctl.routing.state import HostObject, Key, Kind


@dataclass(slots=True)
class Dirty:
    """Which parts of what we know of the host are doubtful. Set by the event loop, cleared by the thread that reads."""

    kinds: set[Kind] = field(default_factory=lambda: set(Kind))
    facts: bool = True

    def everything(self) -> None:
        """Something was lost or long ago: read all of it again."""
        self.kinds.update(Kind)
        self.facts = True

    def __bool__(self) -> bool:
        return self.facts or bool(self.kinds)


class EntryEvents:
    """Is an event about a neighbour or FDB entry news, or only the echo of our own write?

    The kernel signs most events with the port of the socket whose request they are due to, but not those of a VXLAN device's FDB,
    nor the last one of a neighbour that is removed. To read thousands of entries again for each would cost more than all the rest,
    so an event is compared with what we know. That changes while a turn runs, so events wait for its end.

    Attributes:
        differed: an event that waited for the end of the last turn was news.
    """

    def __init__(self, dirty: Dirty, known: Mapping[Kind, Mapping[Key, HostObject]]) -> None:
        self._dirty = dirty
        self._known = known
        self._name_of: Mapping[int, str] = {}
        self._waiting: list[tuple[int, bytes]] | None = None
        self._lock = (
            threading.Lock()
        )  # turns run in a thread: an event must not join a list that was just taken away
        self.differed = False

    def heard(self, message: Message) -> bool:
        """Marks the kind of entry as doubtful if need be; whether it did."""
        with self._lock:
            if self._waiting is not None:
                # Thousands at a cold start: no views of buffers.
                self._waiting.append((message.type, bytes(message.body)))
                return False
        return self._judged(message.type, message.body)

    def turn_begins(self) -> None:
        """What we know of the host is about to change."""
        self._waiting = []

    def turn_ends(self, name_of: Mapping[int, str]) -> None:
        """What we know stands again.

        Args:
            name_of: our devices now, by index.
        """
        with self._lock:
            self._name_of = name_of
            waiting, self._waiting = self._waiting, None
        self.differed = sum(self._judged(number, memoryview(body)) for number, body in waiting or ()) > 0

    def _judged(self, number: int, body: memoryview) -> bool:
        kind, key, entry = rtnl.decode_entry(body, self._name_of)
        wanted = entry if number == rtnl.RTM_NEWNEIGH else None
        # Also while the kind is doubtful already: what the kernel refused for good leaves it so, and nobody is awake then.
        if key is None or self._known[kind].get(key) == wanted:
            return False
        self._dirty.kinds.add(kind)
        return True
