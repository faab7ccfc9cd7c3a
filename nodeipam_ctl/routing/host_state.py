"""What does a host have, or should it have, as a whole? Its objects by kind, in the order of adding, and when two of them count as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from nodeipam_ctl.routing.state import HostObject, Key, Kind, Link, WireguardPeer


def settled(wanted: HostObject, found: HostObject) -> HostObject:
    """What was found, or the wanted object itself where the two mean the same: thousands of them need not exist twice.

    A WireGuard peer that proves its key from another address than its InternalIP is left there: the device answers where it
    was called from, and would do so again at the next packet. And flannel's device stays on its NIC (`Vxlan.served_by`).
    """
    if wanted == found:
        return wanted
    if isinstance(wanted, Link) and isinstance(found, Link) and wanted.vxlan and found.vxlan:
        return (
            wanted
            if wanted.vxlan.served_by(found.vxlan) and replace(found, vxlan=wanted.vxlan) == wanted
            else found
        )
    if isinstance(wanted, WireguardPeer) and isinstance(found, WireguardPeer) and found.alive:
        return wanted if wanted.keepalive_s == found.keepalive_s else found
    return found


@dataclass(frozen=True, slots=True)
class HostState:
    """Host objects by kind and key.

    Attributes:
        kinds: every kind, in the order of adding; within a kind in the order in which they were given.
    """

    kinds: Mapping[Kind, Mapping[Key, HostObject]] = field(default_factory=lambda: {k: {} for k in Kind})

    @classmethod
    def of(cls, objects: Iterable[HostObject]) -> HostState:
        """A state from objects in any order; within a kind their order is kept."""
        return cls.of_keyed((obj.key, obj) for obj in objects)

    @classmethod
    def of_keyed(cls, pairs: Iterable[tuple[Key, HostObject]]) -> HostState:
        """A state from objects whose keys are known already."""
        kinds: dict[Kind, dict[Key, HostObject]] = {kind: {} for kind in Kind}
        for key, obj in pairs:
            kinds[key.kind][key] = obj
        return cls(kinds)

    @property
    def objects(self) -> dict[Key, HostObject]:
        """All of them in the order of adding, made anew for each caller."""
        everything: dict[Key, HostObject] = {}
        for objects in self.kinds.values():
            everything |= objects
        return everything

    def replaced(self, kind: Kind, objects: Mapping[Key, HostObject]) -> HostState:
        """The same state with other objects of one kind."""
        return HostState({**self.kinds, kind: objects})

    def __len__(self) -> int:
        return sum(map(len, self.kinds.values()))

    def of_kind(self, kind: Kind) -> tuple[HostObject, ...]:
        """All objects of one kind."""
        return tuple(self.kinds[kind].values())
