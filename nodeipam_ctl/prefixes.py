"""How do we read, compare and subtract address ranges?

Values are the standard library's networks, which are immutable and hashable. netaddr's sets are mutable, so they stay
inside this file: they come in as networks and leave as networks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    import netaddr

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Family(StrEnum):
    """An IP family, spelled as the Kubernetes API spells it (core/v1 IPFamily)."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def bits(self) -> int:
        """Address length in bits."""
        match self:
            case Family.IPV4:
                return 32
            case Family.IPV6:
                return 128
        assert_never(self)


def family_of(value: Network | Address) -> Family:
    """The family of a network or an address."""
    return Family.IPV4 if value.version == 4 else Family.IPV6


def parse_network(text: str) -> Network:
    """A network from its CIDR text.

    Raises:
        ValueError: not a CIDR, no prefix length, or host bits set; the message says which and names the text.
    """
    if "/" not in text:
        raise ValueError(f"{text!r} is not a CIDR: write an address and a prefix length, like 10.244.0.0/16")
    try:
        return ip_network(text)
    except ValueError as exc:
        try:
            masked = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not a CIDR, like 10.244.0.0/16 or fd00:10:244::/48") from exc
        raise ValueError(f"{text!r} has host bits set: write {masked}") from exc


def parse_masked(text: str) -> Network:
    """As `parse_network`, but host bits are cut off, as Go's net.ParseCIDR does: how Kubernetes reads what is stored.

    Raises:
        ValueError: not a CIDR; the message names the text.
    """
    with contextlib.suppress(ValueError):
        if "/" in text:
            return ip_network(text, strict=False)
    return parse_network(text)  # which says what is wrong


def parse_address(text: str) -> Address:
    """An address from its text.

    Raises:
        ValueError: not an IPv4 or IPv6 address; the message names the text.
    """
    try:
        return ip_address(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not an IP address") from exc


def contains(outer: Network, inner: Network) -> bool:
    """Whether every address of `inner` is in `outer`; networks of two families never contain each other."""
    return outer.prefixlen <= inner.prefixlen and overlaps(outer, inner)


def overlaps(a: Network, b: Network) -> bool:
    """Whether two networks share an address; networks of two families never do.

    With numbers: the standard library's own answer keeps a broadcast address in every network it looks at.
    """
    if a.version != b.version:
        return False
    rest = a.max_prefixlen - min(a.prefixlen, b.prefixlen)
    return int(a.network_address) >> rest == int(b.network_address) >> rest


def merged(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest networks that cover the same addresses, IPv4 first, in address order."""
    return _from_set(_to_set(networks))


def subtract(networks: Iterable[Network], minus: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest networks that cover what is in `networks` and not in `minus`."""
    return _from_set(_to_set(networks) - _to_set(minus))


def intersect(a: Iterable[Network], b: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest networks that cover what is in both."""
    return _from_set(_to_set(a) & _to_set(b))


def sort_key(network: Network) -> tuple[int, int, int]:
    """Sorts networks by family, address, then shorter prefix first."""
    return network.version, int(network.network_address), network.prefixlen


def _to_set(networks: Iterable[Network]) -> netaddr.IPSet:
    import netaddr  # here and not above: it costs 5 MB, and an agent never subtracts ranges

    return netaddr.IPSet(netaddr.IPNetwork(str(n)) for n in networks)


def _from_set(addresses: netaddr.IPSet) -> tuple[Network, ...]:
    return tuple(sorted((ip_network(str(c)) for c in addresses.iter_cidrs()), key=sort_key))
