from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.ipam.blocks import collide, network_of
from nodeipam_ctl.ipam.pages import page_key, page_name, page_of
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import network


@pytest.mark.parametrize(
    ("block", "page"),
    [
        pytest.param("10.244.3.0/24", "10.244.0.0/20", id="a /24 is four bits longer than its page"),
        pytest.param("10.244.0.0/21", "10.244.0.0/20", id="a /21 is one bit longer than its page"),
        pytest.param("10.244.0.0/20", "10.244.0.0/16", id="a /20 stands on the next page above"),
        pytest.param("10.128.0.0/9", "10.0.0.0/8", id="the largest IPv4 block"),
        pytest.param("10.0.0.1/32", "10.0.0.0/28", id="a single address"),
        pytest.param("fd00:10:244:1::/64", "fd00:10:244::/60", id="a /64"),
        pytest.param("fd00:0:8000::/33", "fd00::/32", id="the largest IPv6 block"),
        pytest.param("10.0.0.0/8", None, id="too large for a page, IPv4"),
        pytest.param("fd00::/32", None, id="too large for a page, IPv6"),
    ],
)
def test_the_page_follows_from_the_block(block: str, page: str | None) -> None:
    assert page_of(network(block)) == (network(page) if page else None)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("10.244.0.0/20", "10.244.0.0-20"),
        ("fd00:10:244::/60", "fd00-10-244-0-60"),
        ("fd00::/32", "fd00-0-32"),
        ("fd00::aa00/120", "fd00-0-0-0-0-0-0-aa00-120"),
    ],
)
def test_a_page_has_a_name_that_kubernetes_takes(page: str, name: str) -> None:
    assert page_name(network(page)) == name
    assert re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", name)


@given(
    a=st.integers(33, 128).flatmap(
        lambda n: st.integers(0, (1 << min(n, 40) - 32) - 1).map(lambda v: 1 << n | v)
    ),
    b=st.integers(33, 128).flatmap(
        lambda n: st.integers(0, (1 << min(n, 40) - 32) - 1).map(lambda v: 1 << n | v)
    ),
)
def test_blocks_that_overlap_share_a_page_or_one_is_below_the_other(a: int, b: int) -> None:
    if collide(a, b):
        pages = [(page_key(key, Family.IPV6) or 0) for key in (a, b)]
        assert collide(*pages)
        names = {page_name(network_of(page, Family.IPV6)) for page in pages}
        assert len(names) == len(set(pages))
