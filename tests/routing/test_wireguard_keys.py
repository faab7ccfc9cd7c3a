"""Which published keys are used, and what is said of the others."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.routing.view import NodeView, Peer
from nodeipam_ctl.routing.wireguard_keys import ANNOTATION, is_key, published, screened
from tests.routing.views import peer, view

keys = st.binary(min_size=32, max_size=32).filter(any).map(lambda raw: b64encode(raw).decode())
KEY, OURS = b64encode(b"k" * 32).decode(), b64encode(b"o" * 32).decode()


def seen(*peers: Peer) -> NodeView:
    made = view(*peers, backend="wireguard")
    return replace(made, facts=replace(made.facts, wireguard_key=OURS))


@given(keys)
def test_every_32_bytes_in_base64_are_a_key(key: str) -> None:
    assert is_key(key)


@given(st.binary(max_size=40).filter(lambda raw: len(raw) != 32).map(lambda raw: b64encode(raw).decode()))
def test_no_other_length_is_a_key(text: str) -> None:
    assert not is_key(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(b64encode(bytes(32)).decode(), id="all zero"),
        pytest.param(KEY + "\n", id="a line end behind it"),
        pytest.param(KEY[:-1], id="no padding"),
        pytest.param(KEY[:-2] + "b=", id="bits behind the last byte"),
        pytest.param(KEY.replace("a", "-"), id="the alphabet of URLs"),
        pytest.param("k" * 100_000, id="very long"),
        pytest.param("[Peer]\nPublicKey=", id="a piece of configuration"),
    ],
)
def test_refuses_what_is_no_key(text: str) -> None:
    assert not is_key(text)
    assert published({ANNOTATION: text}) == ""
    (found,) = screened(seen(peer("n2", "10.244.2.0/24", public_key=text)))
    assert found.public_key == ""
    assert len(found.problems) == (1 if text else 0)
    assert all("is no WireGuard key" in problem and len(problem) < 200 for problem in found.problems)


def test_our_own_key_is_refused() -> None:
    (found,) = screened(seen(peer("n2", public_key=OURS)))
    assert (found.public_key, found.problems) == (
        "",
        (f"annotation {ANNOTATION}: it is this node's own key",),
    )


def test_of_two_nodes_with_one_key_the_older_keeps_it() -> None:
    old, young = (
        peer("n2", public_key=KEY, since_s=1.0),
        peer("n1b", public_key=KEY, since_s=2.0),
    )
    for order in ((old, young), (young, old)):
        found = {str(p.name): p for p in screened(seen(*order))}
        assert found["n2"] is old
        assert found["n1b"].public_key == ""
        assert "the key of node n2, which is older" in found["n1b"].problems[0]


def test_says_nothing_of_keys_where_nobody_uses_them() -> None:
    others = (peer("n2", public_key="garbage"),)
    assert screened(view(*others)) == others


@given(st.lists(st.tuples(st.sampled_from([KEY, OURS, "bad", ""]), st.floats(0, 3)), max_size=6))
def test_no_key_is_used_twice_and_good_peers_stay_the_same_objects(given_: list[tuple[str, float]]) -> None:
    others = tuple(peer(f"p{i}", public_key=k, since_s=s) for i, (k, s) in enumerate(given_))
    found = screened(seen(*others))
    used = [p.public_key for p in found if p.public_key]
    assert len(used) == len(set(used))
    assert OURS not in used
    for before, after in zip(others, found, strict=True):
        assert after is before or after.problems
