"""Which ICMP message answers which request?"""

from __future__ import annotations

import struct

import pytest

from nodeipam_ctl.linux.echo import FIRST_UDP_PORT, parsed, request

_IPV4 = bytes([0x45, 0, 0, 0, 0, 0, 0, 0, 64])
_WORD = 0x1234


def ipv4(protocol: int, body: bytes, *, options: int = 0) -> bytes:
    head = bytes([0x45 + options]) + _IPV4[1:] + bytes([protocol]) + bytes(10 + 4 * options)
    return head + body


def ipv6(protocol: int, body: bytes) -> bytes:
    return bytes([0x60, 0, 0, 0, 0, 0, protocol, 64]) + bytes(32) + body


def echo(kind: int, word: int, number: int) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, word, number)


def udp(source: int, number: int) -> bytes:
    return struct.pack("!HHHH", source, FIRST_UDP_PORT + number, 8, 0)


@pytest.mark.parametrize(
    ("packet", "is_ipv4", "by_udp", "answers"),
    [
        pytest.param(ipv4(1, echo(0, _WORD, 7)), True, False, (7, False), id="an echo reply"),
        pytest.param(ipv4(1, echo(0, _WORD, 7), options=2), True, False, (7, False), id="after IP options"),
        pytest.param(ipv4(1, echo(0, 9, 7)), True, False, (-1, False), id="somebody else's ping"),
        pytest.param(ipv4(1, echo(8, _WORD, 7)), True, False, (-1, False), id="a request, not a reply"),
        pytest.param(
            ipv4(1, echo(3, 0, 0) + ipv4(1, echo(8, _WORD, 5))), True, False, (5, True), id="unreachable"
        ),
        pytest.param(
            ipv4(1, echo(3, 0, 0) + ipv4(17, udp(_WORD, 5))),
            True,
            False,
            (-1, False),
            id="of another protocol",
        ),
        pytest.param(
            ipv4(1, echo(3, 0, 0) + ipv4(17, udp(_WORD, 5))), True, True, (5, True), id="a closed port"
        ),
        pytest.param(ipv4(1, echo(3, 0, 0) + b"\x45"), True, False, (-1, False), id="cut short"),
        pytest.param(b"", True, False, (-1, False), id="nothing"),
        pytest.param(echo(129, _WORD, 7), False, False, (7, False), id="an ICMPv6 echo reply"),
        pytest.param(
            echo(1, 0, 0) + ipv6(58, echo(128, _WORD, 5)), False, False, (5, True), id="unreachable by ICMPv6"
        ),
        pytest.param(
            echo(1, 0, 0) + ipv6(17, udp(_WORD, 5)), False, True, (5, True), id="a closed IPv6 port"
        ),
    ],
)
def test_an_answer_is_matched_to_its_request(
    packet: bytes, is_ipv4: bool, by_udp: bool, answers: tuple[int, bool]
) -> None:
    number, unreachable = parsed(packet, ipv4=is_ipv4, word=_WORD, udp=by_udp)

    assert (number, unreachable) == answers


def test_a_request_carries_its_own_checksum() -> None:
    words = struct.unpack("!4H", request(8, 0xFFFE, 0xFFFF))

    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
