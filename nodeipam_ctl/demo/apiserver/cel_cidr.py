"""What do CEL's ip() and cidr() answer, as kube-apiserver has them?

Texts are kept in canonical form, so that `==` compares addresses and not spellings.

Source: k8s.io/apiserver/pkg/cel/library, `ip.go` and `cidr.go` (net/netip underneath).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Any

from nodeipam_ctl.demo.apiserver.cel_function import CIDR, IP, CelFunction

_Address = IPv4Address | IPv6Address
_Interface = IPv4Interface | IPv6Interface
_PREFIX = "network address parse error during conversion from string: "


@lru_cache(maxsize=65536)
def _address(text: str) -> _Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string') from None
    if isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address.scope_id is not None):
        # Go's netip reads them; the library refuses them, as they have several spellings.
        what = "IPv4-mapped IPv6 address" if address.ipv4_mapped is not None else "IP address with zone"
        raise ValueError(f'{what} "{text}" is not allowed')
    return address


@lru_cache(maxsize=65536)
def _network(text: str) -> _Interface:
    """A network with its host bits, as netip.Prefix keeps them."""
    address, slash, length = text.rpartition("/")
    if not slash:
        raise ValueError(f"{_PREFIX}netip.ParsePrefix({_quoted(text)}): no '/'")
    if not (length.isascii() and length.isdigit()) or (len(length) > 1 and length[0] == "0"):
        raise ValueError(
            f"{_PREFIX}netip.ParsePrefix({_quoted(text)}): bad bits after slash: {_quoted(length)}"
        )
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(
            f"{_PREFIX}netip.ParsePrefix({_quoted(text)}): unable to parse IP or prefix length"
        ) from None
    if isinstance(interface, IPv6Interface) and ("%" in address or interface.ip.ipv4_mapped is not None):
        raise ValueError(f"{_PREFIX}IPv4-mapped IPv6 address {_quoted(text)} is not allowed")
    return interface


def _quoted(text: str) -> str:
    return f'"{text}"'


def _holds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def parses(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return lru_cache(maxsize=65536)(parses)


def _ip(value: _Address) -> dict[str, int]:
    return {str(value): value.version}


def _of_ip(value: Mapping[str, int]) -> _Address:
    return _address(next(iter(value)))


@lru_cache(maxsize=65536)
def _cidr_text(text: str) -> str:
    return str(_network(text))


@lru_cache(maxsize=65536)
def _masked_text(text: str) -> str:
    return str(_network(text).network)


@lru_cache(maxsize=65536)
def _contains_ip(network: str, address: str) -> bool:
    inner = _address(address)
    outer = _network(network).network
    return inner.version == outer.version and inner in outer


@lru_cache(maxsize=65536)
def _contains_cidr(network: str, other: str) -> bool:
    outer, inner = _network(network).network, _network(other)
    return inner.version == outer.version and inner.ip in outer and outer.prefixlen <= inner.network.prefixlen


def _is_unspecified(value: Mapping[str, int]) -> bool:
    return _of_ip(value).is_unspecified


def _is_loopback(value: Mapping[str, int]) -> bool:
    return _of_ip(value).is_loopback


def _is_link_local_unicast(value: Mapping[str, int]) -> bool:
    return _of_ip(value).is_link_local


def _is_link_local_multicast(value: Mapping[str, int]) -> bool:
    address = _of_ip(value)
    # netip: 224.0.0.0/24, or ff02::/16 in any form of its flags.
    if isinstance(address, IPv4Address):
        return int(address) >> 8 == 0xE00000
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _is_global_unicast(value: Mapping[str, int]) -> bool:
    address = _of_ip(value)
    broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    return not (
        broadcast
        or address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def _is_canonical(text: str) -> bool:
    return str(_address(text)) == text


def _function(name: str, overload: str, result: str, body: Callable[..., Any]) -> CelFunction:
    return CelFunction(name=name, overload=overload, parameters=("string",), result=result, body=body)


def _member(
    name: str, overload: str, parameters: tuple[str, ...], result: str, body: Callable[..., Any]
) -> CelFunction:
    return CelFunction(
        name=name, overload=overload, parameters=parameters, result=result, body=body, member=True
    )


def _text(value: Mapping[str, int]) -> str:
    return next(iter(value))


def _spelled(value: Mapping[str, Any]) -> str:
    return str(value["cidr"]) if "cidr" in value else _text(value)


FUNCTIONS: tuple[CelFunction, ...] = (
    _function("isCIDR", "is_cidr", "bool", _holds(_network)),
    _function("cidr", "string_to_cidr", CIDR, lambda text: {"cidr": _cidr_text(text)}),
    _function("isIP", "is_ip", "bool", _holds(_address)),
    _function("ip", "string_to_ip", IP, lambda text: _ip(_address(text))),
    _function("ip.isCanonical", "ip_is_canonical", "bool", _is_canonical),
    # Joins the overloads of CEL's own string(). At run time all maps are one type, so one overload serves both.
    CelFunction(
        name="string",
        overload="cidr_to_string",
        parameters=("map(string, dyn)",),
        result="string",
        body=_spelled,
    ),
    _member("ip", "cidr_ip", (CIDR,), IP, lambda c: _ip(_network(c["cidr"]).ip)),
    _member("masked", "cidr_masked", (CIDR,), CIDR, lambda c: {"cidr": _masked_text(c["cidr"])}),
    _member(
        "prefixLength", "cidr_prefix_length", (CIDR,), "int", lambda c: _network(c["cidr"]).network.prefixlen
    ),
    _member(
        "containsIP",
        "cidr_contains_ip_string",
        (CIDR, "string"),
        "bool",
        lambda c, t: _contains_ip(c["cidr"], t),
    ),
    _member(
        "containsIP",
        "cidr_contains_ip_ip",
        (CIDR, IP),
        "bool",
        lambda c, ip: _contains_ip(c["cidr"], _text(ip)),
    ),
    _member(
        "containsCIDR",
        "cidr_contains_cidr_string",
        (CIDR, "string"),
        "bool",
        lambda c, text: _contains_cidr(c["cidr"], text),
    ),
    _member(
        "containsCIDR",
        "cidr_contains_cidr",
        (CIDR, CIDR),
        "bool",
        lambda c, o: _contains_cidr(c["cidr"], o["cidr"]),
    ),
    _member("family", "ip_family", (IP,), "int", lambda ip: next(iter(ip.values()))),
    _member("isUnspecified", "ip_is_unspecified", (IP,), "bool", _is_unspecified),
    _member("isLoopback", "ip_is_loopback", (IP,), "bool", _is_loopback),
    _member("isLinkLocalUnicast", "ip_is_link_local_unicast", (IP,), "bool", _is_link_local_unicast),
    _member("isLinkLocalMulticast", "ip_is_link_local_multicast", (IP,), "bool", _is_link_local_multicast),
    _member("isGlobalUnicast", "ip_is_global_unicast", (IP,), "bool", _is_global_unicast),
)
