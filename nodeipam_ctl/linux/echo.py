"""Does an address answer, and how fast? A volley of ICMP echoes or UDP datagrams, and whatever ICMP comes back to them.

"Unreachable" is an answer too: who says so has been reached. A podCIDR without a pod on it gives exactly that, because of its sink.
ICMP: RFC 792; ICMPv6: RFC 4443. Raw sockets, so CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.prefixes import Address

FIRST_UDP_PORT = 33434
"""traceroute's: closed on any host that does not mean to be found there."""

_ECHO = struct.Struct("!BBHHH")
_UDP = struct.Struct("!HH")
_UDP_PROTOCOL = 17
_ANY: Mapping[int, Address] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for one target.

    Attributes:
        by: who answered; the target itself, or who found it unreachable.
    """

    rtt_s: float
    by: Address
    unreachable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Protocol:
    """How one family says it."""

    family: socket.AddressFamily
    number: int
    request: int
    reply: int
    unreachable: int


_PROTOCOLS = {
    4: _Protocol(family=socket.AF_INET, number=socket.IPPROTO_ICMP, request=8, reply=0, unreachable=3),
    6: _Protocol(family=socket.AF_INET6, number=socket.IPPROTO_ICMPV6, request=128, reply=129, unreachable=1),
}


async def volley(
    targets: Iterable[Address], *, udp: bool, timeout_s: float, sources: Mapping[int, Address] = _ANY
) -> dict[Address, Answer]:
    """Asks all targets at once; those that answered in time.

    Args:
        targets: of either family.
        udp: by datagrams to closed ports instead of echoes.
        timeout_s: for all of them together.
        sources: whose address the questions carry, by IP version; the kernel's choice where it says nothing.

    Raises:
        Permanent: this process may not open raw sockets.
    """
    found: dict[Address, Answer] = {}
    asked = tuple(dict.fromkeys(targets))
    try:
        async with asyncio.TaskGroup() as tasks:
            for version, protocol in _PROTOCOLS.items():
                mine = [target for target in asked if target.version == version]
                if mine:
                    work = _of_one_family(
                        mine,
                        protocol,
                        found,
                        udp=udp,
                        timeout_s=timeout_s,
                        source=str(sources.get(version, "")),
                    )
                    tasks.create_task(work)
    except ExceptionGroup as group:  # what one family may not, the other may not either
        refused, _ = group.split(Permanent)
        raise refused.exceptions[0] if refused is not None else group  # noqa: B904 - the same error, unwrapped
    return found


async def _of_one_family(
    targets: list[Address],
    protocol: _Protocol,
    found: dict[Address, Answer],
    *,
    udp: bool,
    timeout_s: float,
    source: str,
) -> None:
    try:
        heard = socket.socket(protocol.family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol.number)
    except PermissionError as exc:
        raise Permanent("probing needs CAP_NET_RAW: grant it, or use --probe off") from exc
    with heard, socket.socket(protocol.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        with contextlib.suppress(OSError):  # the address may just have left
            (sender if udp else heard).bind((source, 0))
        if not sender.getsockname()[1]:
            sender.bind(("", 0))
        word = sender.getsockname()[1] if udp else int.from_bytes(os.urandom(2), "big")
        sent_s: list[float] = []
        complete = asyncio.Event()

        def arrived() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet, sender_of = heard.recvfrom(2048)
                    number, unreachable = parsed(
                        packet, ipv4=protocol.family == socket.AF_INET, word=word, udp=udp
                    )
                    if 0 <= number < len(sent_s) and targets[number] not in found:
                        by = ip_address(sender_of[0].partition("%")[0])
                        rtt_s = time.monotonic() - sent_s[number]
                        found[targets[number]] = Answer(rtt_s=rtt_s, by=by, unreachable=unreachable)
            if all(target in found for target in targets):
                complete.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(heard.fileno(), arrived)
        try:
            for number, target in enumerate(targets):
                sent_s.append(time.monotonic())
                with contextlib.suppress(OSError):  # no route, no buffer: the answer stays out
                    if udp:
                        sender.sendto(b"", (str(target), FIRST_UDP_PORT + number))
                    else:
                        heard.sendto(request(protocol.request, word, number), (str(target), 0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await complete.wait()
        finally:
            loop.remove_reader(heard.fileno())


def request(kind: int, word: int, number: int) -> bytes:
    """An echo request; the kernel fills in ICMPv6's checksum itself (RFC 3542, section 3.1)."""
    head = _ECHO.pack(kind, 0, 0, word, number)
    total = sum(struct.unpack("!4H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return _ECHO.pack(kind, 0, ~total & 0xFFFF, word, number)


def parsed(packet: bytes, *, ipv4: bool, word: int, udp: bool) -> tuple[int, bool]:
    """Which request of ours a received ICMP message answers, -1 for none, and whether with "unreachable".

    Args:
        packet: with its IP header on IPv4, without on IPv6, as raw sockets give them.
        ipv4: which of the two it is.
        word: the identifier of our echoes, or the source port of our datagrams.
        udp: whether datagrams were sent.
    """
    protocol = _PROTOCOLS[4 if ipv4 else 6]
    message = packet[(packet[0] & 15) * 4 :] if ipv4 and packet else packet
    if len(message) < _ECHO.size:
        return -1, False
    kind, _, _, identifier, number = _ECHO.unpack_from(message)
    if kind == protocol.reply and not udp:
        return (number if identifier == word else -1), False
    quoted = message[_ECHO.size :]
    if kind != protocol.unreachable or len(quoted) < (20 if ipv4 else 40):
        return -1, False
    inner = quoted[(quoted[0] & 15) * 4 :] if ipv4 else quoted[40:]
    carries = quoted[9] if ipv4 else quoted[6]
    if len(inner) < _ECHO.size or carries != (_UDP_PROTOCOL if udp else protocol.number):
        return -1, False
    if udp:
        source, target = _UDP.unpack_from(inner)
        return (target - FIRST_UDP_PORT if source == word else -1), True
    kind, _, _, identifier, number = _ECHO.unpack_from(inner)
    return (number if kind == protocol.request and identifier == word else -1), True
