from __future__ import annotations

from dataclasses import replace

import pytest

from nodeipam_ctl.ipam.ledger import Ledger
from nodeipam_ctl.ipam.page_writes import Conflict, Step
from nodeipam_ctl.model import Finding, LedgerEntry, LedgerPage, LedgerState, NodeName, NodeUID
from tests.ipam.cases import network
from tests.ipam.server import Server


def bound(block: str, uid: str = "u") -> LedgerEntry:
    return LedgerEntry(
        cidr=network(block),
        state=LedgerState.BOUND,
        node=NodeName(f"n-{uid}"),
        node_uid=NodeUID(uid),
        since_s=1.0,
    )


def resting(block: str, uid: str = "u", until_s: float = 100.0) -> LedgerEntry:
    return replace(bound(block, uid), state=LedgerState.RESTING, reusable_at_s=until_s)


class Writer:
    """A ledger that writes to a server at once; what each step wrote is kept by page name."""

    def __init__(self, server: Server) -> None:
        self.server, self.ledger = server, Ledger()
        self.read()

    def read(self) -> None:
        for page in self.server.pages.values():
            self.ledger.see(page)

    def send(self, step: Step) -> list[str]:
        for write in step.writes:
            written = self.server.put(write.page)
            if written is not None:
                self.ledger.wrote(write, resource_version=written.resource_version, uid=written.uid)
            elif write.page.name in self.server.pages:
                self.ledger.see(self.server.pages[write.page.name])
            else:
                self.ledger.missing(write.page.page)
        return [write.page.name for write in step.writes]

    def settle(self, now: float = 10.0) -> list[list[str]]:
        steps: list[list[str]] = []
        for _ in range(100):
            step = self.ledger.step(now)
            if not step.writes and not step.conflicts:
                assert not self.ledger.busy
                return steps
            assert not step.conflicts
            steps.append(self.send(step))
        raise AssertionError("never settles")


def lines(server: Server) -> dict[str, list[str]]:
    return {
        name: [f"{e.cidr} {e.state.value} {e.node_uid}".strip() for e in page.entries]
        for name, page in sorted(server.pages.items())
        if page.entries
    }


def test_split_lines_are_written_from_the_top_down_before_the_block() -> None:
    writer = Writer(Server())
    assert writer.ledger.want(bound("10.244.3.0/24"))
    assert not writer.ledger.stands(NodeUID("u"), [network("10.244.3.0/24")])
    assert writer.settle() == [["10.0.0.0-8"], ["10.240.0.0-12"], ["10.244.0.0-16"], ["10.244.0.0-20"]]
    assert lines(writer.server) == {
        "10.0.0.0-8": ["10.240.0.0/12 Split"],
        "10.240.0.0-12": ["10.244.0.0/16 Split"],
        "10.244.0.0-16": ["10.244.0.0/20 Split"],
        "10.244.0.0-20": ["10.244.3.0/24 Bound u"],
    }
    assert writer.ledger.stands(NodeUID("u"), [network("10.244.3.0/24")])


def test_many_lines_of_a_burst_share_one_write_of_a_page() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.0.0/24", "first"))
    writer.settle()
    for number in range(1, 40):
        writer.ledger.want(bound(f"10.244.{number}.0/24", f"u{number}"))
    assert writer.settle() == [["10.244.0.0-16", "10.244.0.0-20"], ["10.244.16.0-20", "10.244.32.0-20"]]


def test_what_stands_already_is_not_written_again() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24"))
    writer.settle()
    writer.ledger.want(replace(bound("10.244.3.0/24"), since_s=99.0))
    assert not writer.ledger.busy


def test_a_line_rests_only_over_a_line_of_the_same_node() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.want(resting("10.244.3.0/24", "b"))
    writer.ledger.want(resting("10.244.4.0/24", "c"))
    assert writer.settle() == []
    writer.ledger.want(resting("10.244.3.0/24", "a"))
    writer.settle()
    assert lines(writer.server)["10.244.0.0-20"] == ["10.244.3.0/24 Resting a"]


def test_a_rest_gives_way_when_it_is_over_or_dropped_and_not_before() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.want(resting("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.want(bound("10.244.3.0/24", "b"))
    (conflict,) = writer.ledger.step(50.0).conflicts
    assert "resting for node n-a" in conflict.reason
    writer.ledger.want(bound("10.244.3.0/24", "b"))
    writer.settle(now=100.0)
    writer.ledger.want(resting("10.244.3.0/24", "b", until_s=900.0))
    writer.settle(now=101.0)
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("b"))
    writer.ledger.want(bound("10.244.2.0/23", "c"))
    writer.settle(now=102.0)
    assert lines(writer.server)["10.244.0.0-20"] == ["10.244.2.0/23 Bound c"]


def test_a_dropped_line_goes_only_if_it_is_that_nodes() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("b"))
    assert writer.settle() == []
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("a"))
    assert writer.settle() == [["10.244.0.0-20"]]


def test_a_larger_block_takes_the_place_of_smaller_ones_that_are_gone() -> None:
    writer = Writer(Server())
    for block in ("10.244.3.0/24", "10.244.9.128/26"):
        writer.ledger.want(bound(block))
    writer.settle()
    for block in ("10.244.3.0/24", "10.244.9.128/26"):
        writer.ledger.drop(network(block), NodeUID("u"))
    writer.ledger.want(bound("10.244.0.0/17", "big"))
    steps = writer.settle()
    assert steps[-1] == ["10.244.0.0-16"]
    assert lines(writer.server)["10.244.0.0-16"] == ["10.244.0.0/17 Bound big"]
    writer.ledger.drop(network("10.244.0.0/17"), NodeUID("big"))
    writer.ledger.want(bound("10.244.3.0/24", "again"))
    writer.settle()
    assert lines(writer.server)["10.244.0.0-20"] == ["10.244.3.0/24 Bound again"]


def test_a_larger_block_over_a_smaller_one_that_stands_is_a_conflict() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "small"))
    writer.settle()
    writer.ledger.want(bound("10.244.0.0/20", "big"))
    found: list[Conflict] = []
    for _ in range(5):
        step = writer.ledger.step(10.0)
        found += step.conflicts
        writer.send(step)
    assert [(c.wanted.node_uid, c.held and c.held.node_uid) for c in found] == [("big", "small")]
    assert not writer.ledger.busy


def test_a_smaller_block_under_a_larger_one_that_stands_is_a_conflict() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.0.0/20", "big"))
    writer.settle()
    writer.ledger.want(bound("10.244.3.0/24", "small"))
    writer.ledger.want(bound("10.244.4.64/28", "tiny"))
    found: list[Conflict] = []
    for _ in range(5):
        step = writer.ledger.step(10.0)
        found += step.conflicts
        writer.send(step)
    assert {(c.wanted.node_uid, c.held and c.held.node_uid) for c in found} == {
        ("small", "big"),
        ("tiny", "big"),
    }
    assert not writer.ledger.busy


def test_the_second_of_two_writers_reads_again_and_sees_whose_block_it_is() -> None:
    server = Server()
    one, two = Writer(server), Writer(server)
    one.ledger.want(bound("10.244.3.0/24", "a"))
    one.settle()
    two.ledger.want(bound("10.244.3.0/24", "b"))
    conflicts: list[Conflict] = []
    for _ in range(8):
        step = two.ledger.step(10.0)
        conflicts += step.conflicts
        two.send(step)
    assert [c.held and c.held.node_uid for c in conflicts] == ["a"]
    assert not two.ledger.stands(NodeUID("b"), [network("10.244.3.0/24")])


def test_the_first_line_of_an_emptied_page_asserts_its_split_line_again() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("a"))
    writer.settle()
    writer.ledger.want(bound("10.244.4.0/24", "b"))
    assert writer.settle() == [["10.244.0.0-16"], ["10.244.0.0-20"]]


def test_a_page_that_was_read_late_does_not_undo_what_is_known() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    old = writer.server.pages["10.244.0.0-20"]
    writer.ledger.want(bound("10.244.4.0/24", "b"))
    writer.settle()
    writer.ledger.see(old)
    assert writer.ledger.stands(NodeUID("b"), [network("10.244.4.0/24")])


@pytest.mark.parametrize("block", ["10.0.0.0/8", "fd00::/32"])
def test_a_block_larger_than_any_page_has_no_line(block: str) -> None:
    ledger = Ledger()
    assert not ledger.want(bound(block))
    ledger.drop(network(block), NodeUID("u"))
    assert not ledger.busy
    assert ledger.line(network(block)) is None
    assert not ledger.stands(NodeUID("u"), [network(block)])


def test_a_page_with_a_line_that_cannot_be_read_is_not_written() -> None:
    ledger = Ledger()
    broken = Finding(
        code="UnreadableLedgerLine", subject="podcidrslice/x", message="entries[0]", remedy="remove it"
    )
    ledger.see(
        LedgerPage(name="10.0.0.0-8", page=network("10.0.0.0/8"), resource_version="1", findings=(broken,))
    )
    ledger.want(bound("10.244.3.0/24"))
    step = ledger.step(1.0)
    assert step.writes == ()
    assert [c.held for c in step.conflicts] == [None]
    assert "cannot be read" in step.conflicts[0].reason


def test_the_lines_and_pages_that_are_known_can_be_asked_for() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    assert [str(e.cidr) for e in writer.ledger.entries()] == ["10.244.3.0/24"]
    assert len(list(writer.ledger.pages())) == 4
    found = writer.ledger.line(network("10.244.3.0/24"))
    assert found is not None
    assert found.node_uid == "a"
    writer.ledger.missing(network("10.244.0.0/20"))
    assert writer.ledger.line(network("10.244.3.0/24")) is None


def test_a_larger_block_gives_way_to_a_page_with_a_line_that_cannot_be_read() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("a"))
    writer.settle()
    page = writer.server.pages["10.244.0.0-20"]
    broken = Finding(code="UnreadableLedgerLine", subject="podcidrslice/x", message="m", remedy="r")
    writer.ledger.see(replace(page, resource_version="1000", findings=(broken,)))
    writer.ledger.want(bound("10.244.0.0/20", "large"))
    step = writer.ledger.step(10.0)
    assert step.writes == (), "a page that is written empty has lost what nobody could read"
    assert [c.unreadable for c in step.conflicts] == [network("10.244.0.0/20")]


def test_a_larger_block_waits_as_long_as_the_page_below_it_is_being_written() -> None:
    writer = Writer(Server())
    writer.ledger.want(bound("10.244.3.0/24", "a"))
    writer.settle()
    writer.ledger.drop(network("10.244.3.0/24"), NodeUID("a"))
    writer.settle()
    writer.ledger.want(bound("10.244.0.0/20", "large"))
    slow = writer.ledger.step(10.0)
    for _ in range(200):  # others are served meanwhile
        assert writer.ledger.step(10.0, [write.page.page for write in slow.writes]).conflicts == ()
    writer.send(slow)
    writer.settle()
    assert writer.ledger.stands(NodeUID("large"), [network("10.244.0.0/20")])
