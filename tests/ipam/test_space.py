from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeipam_ctl.ipam.blocks import collide, covers, key_of, length_of, network_of
from nodeipam_ctl.ipam.space import Kind, Space
from nodeipam_ctl.prefixes import Family
from tests.ipam.cases import network

BITS = 12


class Somebody:
    kind = Kind.ALLOCATED


def keys(longest: int = BITS) -> st.SearchStrategy[int]:
    return st.integers(0, longest).flatmap(lambda length: st.integers(1 << length, (2 << length) - 1))


def addresses(key: int) -> range:
    shift = BITS - length_of(key)
    first = (key - (1 << length_of(key))) << shift
    return range(first, first + (1 << shift))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_space_says_what_a_plain_set_of_addresses_would_say(data: st.DataObject) -> None:
    space = Space()
    marked: list[tuple[int, Somebody]] = []
    for _ in range(data.draw(st.integers(1, 25))):
        remove: bool = data.draw(st.booleans())
        if marked and remove:
            space.remove(*marked.pop(data.draw(st.integers(0, len(marked) - 1))))
        else:
            marked.append((data.draw(keys()), Somebody()))
            space.add(*marked[-1])
        used = {address for key, _ in marked for address in addresses(key)}
        length = data.draw(st.integers(1, BITS))
        low = data.draw(st.integers(1 << length, (2 << length) - 1))
        high = data.draw(st.integers(low, 2 << length))
        free = [key for key in range(low, high) if used.isdisjoint(addresses(key))]
        assert space.first_free(length, low, high) == (free[0] if free else 0)
        assert space.is_free(low) == used.isdisjoint(addresses(low))
        assert sorted(space.touching(low)) == sorted({key for key, _ in marked if collide(key, low)})
    for key, holder in marked:
        space.remove(key, holder)
    assert not space.marks
    assert space.first_free(1, 2, 4) == 2


def test_a_block_is_free_only_after_its_last_holder() -> None:
    space, first, second = Space(), Somebody(), Somebody()
    key = key_of(network("10.0.0.0/24"))
    space.add(key, first)
    space.add(key, second)
    space.remove(key, first)
    assert not space.is_free(key)
    assert space.holders(key) == (second,)
    space.remove(key, second)
    assert space.is_free(key)


def test_removing_what_is_not_held_is_an_error() -> None:
    space, somebody = Space(), Somebody()
    with pytest.raises(KeyError):
        space.remove(16, somebody)
    space.add(16, somebody)
    with pytest.raises(KeyError):
        space.remove(16, Somebody())


def test_a_huge_range_costs_nothing_until_it_is_used() -> None:
    space = Space()
    low = key_of(network("fd00::/8")) << 56
    for number in range(100):
        assert space.first_free(64, low, low + (1 << 56)) == low + number
        space.add(low + number, Somebody())
    space.add(key_of(network("fd00::/9")), Somebody())
    assert space.first_free(64, low, low + (1 << 56)) == low + (1 << 55)


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::1/128"]
)
def test_a_key_stands_for_its_network_and_back(text: str) -> None:
    made = network(text)
    assert network_of(key_of(made), Family.IPV4 if made.version == 4 else Family.IPV6) == made
    assert length_of(key_of(made)) == made.prefixlen


@given(a=keys(), b=keys())
def test_blocks_collide_when_one_covers_the_other(a: int, b: int) -> None:
    shared = set(addresses(a)) & set(addresses(b))
    assert collide(a, b) == bool(shared)
    assert covers(a, b) == set(addresses(b)).issubset(addresses(a))
