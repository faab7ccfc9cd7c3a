"""Has somebody changed the FORWARD chain of legacy iptables? The kernel tells nobody of that, so it is asked, which costs two system calls.

It hands out a table as one block of entries (linux/netfilter_ipv4/ip_tables.h): an address match, a target, the next entry's place. A
fingerprint is made of the entries of FORWARD and of our chain, without their counters and with the names of the chains that they jump to in
the stead of places, since these move whenever anybody changes any chain. `iptables -S` says the same for a hundred times the CPU.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from nodeipam_ctl.linux.iptables import LEGACY, legacy_table_exists

_libc = ctypes.CDLL(None, use_errno=True)
_INFO = struct.Struct("=32s13I")  # name, valid hooks, 5 first entries, 5 policies, entries, bytes
_REQUEST = struct.Struct("=32sI4x")
_OFFSETS = struct.Struct("=HH")  # of an entry: where its target is, where the next one is
_TARGET = struct.Struct("=H29sBi")  # length, name, revision; a verdict, if the name is empty
_GET_INFO, _GET_ENTRIES = 64, 65
_FORWARD = 2
_TARGET_HEAD_BYTES = 32
_HEAD = b"ERROR"
_MOST_ENTRIES = 10_000
"""A chain that seems longer is a loop, from a table that changed between two questions."""


class _Family(NamedTuple):
    """How one family's entries look.

    Attributes:
        address: bytes of the address match; behind it 4 of flags, the offsets, 4 of the hooks it is reached from, and the counters.
        head: bytes of an entry.
    """

    socket: int
    level: int
    address: int
    head: int

    @property
    def chain_head(self) -> int:
        """Bytes of the entry that stands before a chain's first one and names the chain."""
        return self.head + 64


_FAMILIES = {
    "ip": _Family(socket.AF_INET, socket.IPPROTO_IP, 84, 112),
    "ip6": _Family(socket.AF_INET6, socket.IPPROTO_IPV6, 136, 168),
}


def fingerprint(chain: str) -> tuple[str, ...]:
    """What tells one state of FORWARD, and of the chain of that name if it jumps there, from another, by family; empty for none."""
    return tuple(
        _of(_FAMILIES[family], chain) if legacy_table_exists(tool, "filter") else ""
        for tool, (family, _) in LEGACY.items()
    )


class _Entry(NamedTuple):
    """One rule, a policy or the head of a chain.

    Attributes:
        constant: what of it neither counts nor moves.
        target: the chain that it jumps to, the name of an extension, or empty for a verdict.
        jump: the place of that chain's first entry; -1 for no chain.
    """

    place: int
    constant: bytes
    target: bytes
    jump: int


def _of(family: _Family, chain: str) -> str:
    """Empty when it cannot be read: then the audit finds what changed."""
    found = _table(family)
    if found is None:
        return ""
    entries, first, policy = found
    summary = sha256()
    ours = -1
    try:
        for entry in _entries(family, entries, first):
            summary.update(entry.constant + entry.target)
            if entry.target == chain.encode():
                ours = entry.jump
            if entry.place == policy:
                break
        for entry in _entries(family, entries, ours) if ours >= 0 else ():
            if entry.target == _HEAD:  # of the next chain
                break
            summary.update(entry.constant + entry.target)
    except struct.error:
        return ""
    return summary.hexdigest()


def _entries(family: _Family, entries: bytes, place: int) -> Iterator[_Entry]:
    for _ in range(_MOST_ENTRIES):
        target_at, length = _OFFSETS.unpack_from(entries, place + family.address + 4)
        _, name, _, verdict = _TARGET.unpack_from(entries, place + target_at)
        match = entries[place : place + family.address] + entries[place + family.head : place + target_at]
        target, _, _ = name.partition(b"\0")
        rest, jump = entries[place + target_at : place + length], -1
        if not target and verdict >= 0:
            named_at = verdict - family.chain_head + family.head + _TARGET_HEAD_BYTES
            target, _, _ = entries[named_at : named_at + 30].partition(b"\0")
            rest, jump = b"", verdict
        yield _Entry(place, match + rest, target, jump)
        place += length


def _table(family: _Family) -> tuple[bytes, int, int] | None:
    """The entries of `filter`, and where FORWARD's first one and its policy are."""
    with socket.socket(family.socket, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        info = _get(asked, family.level, _GET_INFO, b"filter".ljust(_INFO.size, b"\0"))
        if info is None:
            return None
        numbers = _INFO.unpack(info)
        size = numbers[13]
        entries = _get(asked, family.level, _GET_ENTRIES, _REQUEST.pack(b"filter", size) + bytes(size))
    if entries is None:  # it changed between the two questions, so the next look differs
        return None
    return entries[_REQUEST.size :], numbers[2 + _FORWARD], numbers[7 + _FORWARD]


def _get(asked: socket.socket, level: int, option: int, question: bytes) -> bytes | None:
    """Python's own getsockopt passes no question."""
    answer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    done = _libc.getsockopt(asked.fileno(), level, option, answer, ctypes.byref(length))
    return answer.raw if done == 0 else None
