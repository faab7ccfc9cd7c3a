"""Ranges are read strictly, compared by family, and subtracted exactly."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.prefixes import (
    Family,
    Network,
    contains,
    family_of,
    intersect,
    merged,
    overlaps,
    parse_address,
    parse_network,
    subtract,
)


def small_networks() -> st.SearchStrategy[Network]:
    """Networks inside 10.0.0.0/24 or fd00::/120, so that they often overlap."""
    v4 = st.integers(24, 32).flatmap(
        lambda length: st.integers(0, 255).map(lambda i: ip_network((0x0A000000 + i, length), strict=False))
    )
    v6 = st.integers(120, 128).flatmap(
        lambda length: st.integers(0, 255).map(
            lambda i: ip_network(((0xFD << 120) + i, length), strict=False)
        )
    )
    return st.one_of(v4, v6)


def addresses(networks: tuple[Network, ...] | list[Network]) -> set[object]:
    return {address for network in networks for address in network}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("10.244.0.0", "write an address and a prefix length", id="no prefix length"),
        pytest.param("10.244.0.1/16", "has host bits set: write 10.244.0.0/16", id="IPv4 host bits"),
        pytest.param("fd00::1/64", "has host bits set: write fd00::/64", id="IPv6 host bits"),
        pytest.param("10.244.0.0/33", "is not a CIDR", id="prefix too long"),
        pytest.param("pods/16", "is not a CIDR", id="not an address"),
        pytest.param("", "is not a CIDR", id="empty"),
    ],
)
def test_refuses_what_is_not_a_network_and_says_why(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"CIDR|host bits") as refused:
        parse_network(text)
    assert says in str(refused.value)
    assert repr(text) in str(refused.value)


def test_reads_both_families() -> None:
    assert family_of(parse_network("10.244.0.0/16")) is Family.IPV4
    assert family_of(parse_network("fd00::/48")) is Family.IPV6
    assert parse_address("192.0.2.1") == ip_address("192.0.2.1")
    assert (Family.IPV4.bits, Family.IPV6.bits) == (32, 128)


def test_refuses_what_is_not_an_address() -> None:
    with pytest.raises(ValueError, match="'node-1' is not an IP address"):
        parse_address("node-1")


def test_families_never_contain_or_overlap_each_other() -> None:
    everything_v4, everything_v6 = parse_network("0.0.0.0/0"), parse_network("::/0")
    assert not contains(everything_v6, parse_network("10.0.0.0/8"))
    assert not contains(everything_v4, parse_network("fd00::/8"))
    assert not overlaps(everything_v4, everything_v6)


@given(st.lists(small_networks(), max_size=6), st.lists(small_networks(), max_size=6))
def test_set_algebra_is_the_algebra_of_address_sets(a: list[Network], b: list[Network]) -> None:
    assert addresses(merged(a)) == addresses(a)
    assert addresses(subtract(a, b)) == addresses(a) - addresses(b)
    assert addresses(intersect(a, b)) == addresses(a) & addresses(b)


@given(small_networks(), small_networks())
def test_contains_and_overlaps_agree_with_the_addresses(a: Network, b: Network) -> None:
    assert contains(a, b) == (addresses([b]) <= addresses([a]))
    assert overlaps(a, b) == bool(addresses([a]) & addresses([b]))
