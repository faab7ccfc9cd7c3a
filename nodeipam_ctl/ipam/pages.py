"""On which page of the ledger does a block stand, and which pages are above it?

A page covers one nibble: its prefix length is a multiple of four and it holds the blocks that are one to four bits longer.
The page follows from the block alone. Pages end at /8 for IPv4 and /32 for IPv6: larger blocks have none.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from nodeipam_ctl.ipam.blocks import key_of, network_of
from nodeipam_ctl.prefixes import Family, Network, family_of

TOP_LENGTH: Final = {Family.IPV4: 8, Family.IPV6: 32}


def page_key(key: int, family: Family) -> int | None:
    """The key of the page on which a block stands; None for a block larger than any page's."""
    length = key.bit_length() - 1
    page_length = (length - 1) & ~3
    return key >> (length - page_length) if page_length >= TOP_LENGTH[family] else None


def page_of(block: Network) -> Network | None:
    """The page on which a block stands; None for a block larger than any page's."""
    family = family_of(block)
    key = page_key(key_of(block), family)
    return network_of(key, family) if key is not None else None


def page_name(page: Network) -> str:
    """The name of a page's object, valid as a Kubernetes name: `10.244.0.0-20`, `fd00-10-244-0-60`.

    An IPv6 name shows as many groups as the prefix reaches into.
    """
    if isinstance(page, IPv4Network):
        return f"{page.network_address}-{page.prefixlen}"
    groups = page.network_address.exploded.split(":")[: -(-page.prefixlen // 16)]
    return "-".join(f"{int(group, 16):x}" for group in groups) + f"-{page.prefixlen}"
