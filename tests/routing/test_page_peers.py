"""What the ledger's pages say of peers is the same whether it was learned page by page or all at once."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.model import LedgerEntry, LedgerPage, LedgerState, NodeName, NodeUID
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.page_peers import PagePeers

BLOCKS: tuple[Network, ...] = (
    IPv4Network("10.244.1.0/24"),
    IPv4Network("10.244.2.0/24"),
    IPv6Network("fd00:10:244:1::/64"),
)
PAGES = {name: IPv4Network("10.244.0.0/20") for name in ("a", "b", "c")}


def line(
    cidr: Network, uid: str, state: LedgerState = LedgerState.BOUND, since_s: float = 1.0
) -> LedgerEntry:
    return LedgerEntry(
        cidr=cidr,
        state=state,
        node=NodeName(f"node-{uid}"),
        node_uid=NodeUID(uid),
        addresses=(IPv4Address("192.0.2.11"),),
        since_s=since_s,
    )


def page(name: str, *entries: LedgerEntry) -> LedgerPage:
    return LedgerPage(name=name, page=PAGES[name], entries=entries)


lines = st.builds(
    line,
    st.sampled_from(BLOCKS),
    st.sampled_from("123"),
    st.sampled_from([LedgerState.BOUND, LedgerState.BOUND, LedgerState.RESTING]),
    st.sampled_from([1.0, 2.0]),
)


@st.composite
def ledgers(draw: st.DrawFn) -> dict[str, LedgerPage | None]:
    names = draw(st.sets(st.sampled_from("abc")))
    return {name: page(name, *draw(st.lists(lines, max_size=3))) for name in sorted(names)}


@given(st.lists(ledgers(), min_size=1, max_size=5))
def test_any_history_ends_in_what_the_last_pages_say(history: list[dict[str, LedgerPage | None]]) -> None:
    lived, fresh = PagePeers(), PagePeers()
    for pages in history:
        lived.update(pages)
    fresh.update(history[-1])
    assert lived.peers == fresh.peers
    assert lived.whole


def test_a_node_is_one_peer_with_its_podcidrs_in_order() -> None:
    known = PagePeers()
    known.update({"a": page("a", line(BLOCKS[2], "1", since_s=5.0)), "b": page("b", line(BLOCKS[0], "1"))})
    assert [(p.pod_cidrs, p.since_s) for p in known.peers.values()] == [((BLOCKS[0], BLOCKS[2]), 1.0)]


def test_peers_of_other_pages_stay_the_same_objects() -> None:
    known = PagePeers()
    first, second = page("a", line(BLOCKS[0], "1")), page("b", line(BLOCKS[1], "2"))
    known.update({"a": first, "b": second})
    before = dict(known.peers)
    known.update({"a": first, "b": page("b", line(BLOCKS[1], "2"), line(BLOCKS[2], "3"))})
    assert known.peers[NodeUID("1")] is before[NodeUID("1")]
    assert known.peers[NodeUID("2")] is before[NodeUID("2")]


def test_a_page_that_cannot_be_understood_any_more_keeps_its_nodes() -> None:
    known = PagePeers()
    known.update({"a": page("a", line(BLOCKS[0], "1"))})
    known.update({"a": None})
    assert list(known.peers) == ["1"]
    assert known.whole
    known.update({})
    assert not known.peers


def test_a_page_that_was_never_understood_leaves_the_list_incomplete() -> None:
    known = PagePeers()
    known.update({"a": page("a", line(BLOCKS[0], "1")), "b": None})
    assert not known.whole
    known.update({"a": page("a", line(BLOCKS[0], "1")), "b": page("b")})
    assert known.whole


def test_lines_without_a_uid_are_of_one_node_only_where_they_name_the_same() -> None:
    nameless = [
        replace(line(block, name), node_uid=NodeUID("")) for block, name in zip(BLOCKS, "121", strict=True)
    ]
    known = PagePeers()
    known.update({"a": page("a", *nameless)})
    assert {p.name: p.pod_cidrs for p in known.peers.values()} == {
        "node-1": (BLOCKS[0], BLOCKS[2]),
        "node-2": (BLOCKS[1],),
    }
