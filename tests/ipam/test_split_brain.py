from __future__ import annotations

from dataclasses import replace

import pytest

from nodeipam_ctl.ipam.page_writes import Planner
from nodeipam_ctl.model import LedgerPage, LedgerState
from tests.ipam.server import Server
from tests.ipam.split_brain import beliefs, overlaps_found, play


@pytest.mark.parametrize("shard", range(8))
def test_two_leaders_never_give_overlapping_blocks(shard: int) -> None:
    assert overlaps_found(range(shard * 125, (shard + 1) * 125), ledger_on=True) == []


@pytest.mark.parametrize("shard", range(4))
def test_two_leaders_that_think_again_never_give_overlapping_blocks(shard: int) -> None:
    assert (
        overlaps_found(range(20_000 + shard * 100, 20_100 + shard * 100), ledger_on=True, asking=True) == []
    )


def test_the_same_histories_do_overlap_when_the_ledger_is_off() -> None:
    assert len(overlaps_found(range(150), ledger_on=False)) > 4


def test_a_closed_page_that_is_not_written_empty_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Planner, "_is_closed", lambda self, at, _version: not self._book.lines_of(at))
    assert overlaps_found(range(28, 44), ledger_on=True) != []


def test_a_write_that_makes_no_new_version_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Server.put

    def put_without_turn(self: Server, page: LedgerPage) -> LedgerPage | None:
        return put(self, replace(page, turn=0))

    monkeypatch.setattr(Server, "put", put_without_turn)
    assert overlaps_found(range(480, 500), ledger_on=True) != []


@pytest.mark.parametrize("asking", [False, True])
@pytest.mark.parametrize("shard", range(4))
def test_when_writes_arrive_again_everything_settles_and_the_ledger_says_what_the_nodes_show(
    shard: int, *, asking: bool
) -> None:
    for seed in range(10_000 + shard * 15, 10_000 + shard * 15 + 15):
        server, found, replicas = play(seed, beliefs(seed), ledger_on=True, steps=80, asking=asking)
        assert found is None
        assert not any(r.flights or r.ledger.busy for r in replicas), f"seed {seed} never settles"
        bound = {
            (str(entry.cidr), entry.node_uid)
            for page in server.pages.values()
            for entry in page.entries
            if entry.state is LedgerState.BOUND
        }
        shown = {(str(cidr), node.uid) for node in server.nodes.values() for cidr in node.pod_cidrs}
        assert shown <= bound, f"seed {seed}: a podCIDR without its line"
        waiting = {node.uid for node in server.nodes.values() if not node.pod_cidrs}
        assert {uid for _, uid in bound - shown} <= waiting, (
            f"seed {seed}: a line of a node that has something else"
        )
        for node in server.nodes.values():
            for replica in replicas:
                assert not node.pod_cidrs or set(node.pod_cidrs) <= set(replica.allocator.held_by(node.uid))
