"""How is a block written as one integer? As its place in the binary tree of all prefixes, so that loops need no address objects.

The key of a prefix is a 1 followed by the prefix's bits: 10.244.3.0/24 is `1 << 24 | 0x0af403`. The root (/0) is 1, the
parent of `k` is `k >> 1`, its halves are `2k` and `2k + 1`, and the length is `k.bit_length() - 1`. One key works for
either family; which one is always known from where the key is kept.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from nodeipam_ctl.prefixes import Address, Family, Network, family_of

ROOT = 1


def key_of(network: Network) -> int:
    """The key of a network."""
    length = network.prefixlen
    return 1 << length | int(network.network_address) >> (network.max_prefixlen - length)


def key_of_address(address: Address) -> int:
    """The key of one address, a /32 or a /128."""
    return 1 << address.max_prefixlen | int(address)


def network_of(key: int, family: Family) -> Network:
    """The network of a key; the reverse of `key_of`."""
    length = key.bit_length() - 1
    if family is Family.IPV4:
        return IPv4Network(((key ^ 1 << length) << (32 - length), length))
    return IPv6Network(((key ^ 1 << length) << (128 - length), length))


def length_of(key: int) -> int:
    """The prefix length of a key."""
    return key.bit_length() - 1


def covers(outer: int, inner: int) -> bool:
    """Whether the prefix `outer` contains the prefix `inner`, or is it."""
    shift = inner.bit_length() - outer.bit_length()
    return shift >= 0 and inner >> shift == outer


def collide(a: int, b: int) -> bool:
    """Whether two prefixes share an address."""
    return covers(a, b) or covers(b, a)


def families_of(networks: tuple[Network, ...]) -> tuple[tuple[Family, int], ...]:
    """Networks as (family, key), IPv4 first."""
    found = [(family_of(network), key_of(network)) for network in networks]
    found.sort(key=lambda pair: (pair[0] is Family.IPV6, pair[1]))
    return tuple(found)
