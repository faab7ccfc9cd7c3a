"""Acceptance cases about one range: blocks and their numbers, sequences of operations, metrics."""

from __future__ import annotations

import pytest

from nodeipam_ctl.ipam.blocks import key_of, network_of
from nodeipam_ctl.ipam.pools import unusable
from nodeipam_ctl.ipam.space import Kind
from nodeipam_ctl.ipam.window import Occupancy, Window
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, PoolName
from nodeipam_ctl.prefixes import Family, Network, family_of
from tests.ipam.cases import Case, case_id, network, of_groups


class Somebody:
    """Holds blocks."""

    kind = Kind.ALLOCATED


class Range:
    """One range cut into blocks, with the verbs of the cases."""

    def __init__(self, cidr: str, length: int) -> None:
        self.cidr, self.length = network(cidr), length
        self.family = family_of(self.cidr)
        self.occupancy = Occupancy(self.family)
        self.window = Window(self.occupancy.space, self.family, (key_of(self.cidr),), length, PoolName("r"))
        self.occupancy.watch((self.window,))
        self.holders: dict[int, Somebody] = {}
        self.allocated: list[int] = []
        self.allocations = self.releases = self.skipped = 0

    @property
    def first(self) -> int:
        return key_of(self.cidr) << (self.length - self.cidr.prefixlen)

    def units(self, cidr: Network) -> range:
        """The block numbers of the range that a CIDR touches."""
        shift = self.length - cidr.prefixlen
        key = key_of(cidr)
        low, high = (key << shift, (key + 1) << shift) if shift >= 0 else (key >> -shift, (key >> -shift) + 1)
        last = self.first + self.window.capacity
        return range(max(low, self.first) - self.first, min(high, last) - self.first)

    def allocate(self) -> Network | None:
        key = self.window.next_fit()
        if not key:
            return None
        self.skipped += self.window.skipped(key)
        self.window.advance(key)
        self._hold(key)
        self.allocated.append(key)
        return network_of(key, self.family)

    def occupy(self, cidr: str) -> None:
        """Marks every block of the range that the CIDR touches, once."""
        for number in self.units(network(cidr)):
            if self.first + number not in self.holders:
                self._hold(self.first + number)

    def release(self, cidr: str) -> None:
        for number in self.units(network(cidr)):
            holder = self.holders.pop(self.first + number, None)
            if holder is not None:
                self.occupancy.remove(self.first + number, holder)
                self.releases += 1

    def _hold(self, key: int) -> None:
        self.holders[key] = Somebody()
        self.occupancy.add(key, self.holders[key])
        self.allocations += 1

    @property
    def ratio(self) -> float:
        return self.window.usage().allocated / self.window.capacity


def of(case: Case) -> Range:
    return Range(case["given"]["range"], case["given"]["node_prefix"])


@pytest.mark.parametrize("case", of_groups("index_to_block"), ids=case_id)
def test_a_block_follows_from_its_number(case: Case) -> None:
    blocks = of(case)
    assert network_of(blocks.first + case["given"]["index"], blocks.family) == network(case["expect"]["cidr"])


@pytest.mark.parametrize("case", of_groups("block_to_index"), ids=case_id)
def test_a_number_follows_from_its_block(case: Case) -> None:
    blocks = of(case)
    key = key_of(network(case["given"]["cidr"]))
    found = key - blocks.first if blocks.window.contains(key) else None
    assert found == case["expect"].get("index")
    assert (found is None) == (case["expect"].get("error") == "out_of_range")


@pytest.mark.parametrize("case", of_groups("occupy_indices"), ids=case_id)
def test_what_is_occupied_uses_every_block_it_touches_and_no_memory_for_each(case: Case) -> None:
    blocks = of(case)
    for cidr in case["given"]["occupy"]:
        blocks.occupancy.add(key_of(network(cidr)), Somebody())
    expect = case["expect"]
    assert blocks.window.usage().allocated == expect["used_count"]
    space, first, last = blocks.occupancy.space, expect["used_first"], expect["used_last"]
    assert not space.is_free(blocks.first + first)
    assert not space.is_free(blocks.first + last)
    assert first == 0 or space.is_free(blocks.first + first - 1)
    assert last == blocks.window.capacity - 1 or space.is_free(blocks.first + last + 1)
    assert len(space.marks) == len(case["given"]["occupy"])


@pytest.mark.parametrize("case", of_groups("new_set"), ids=case_id)
def test_a_range_is_cut_into_blocks(case: Case) -> None:
    given, expect = case["given"], case["expect"]
    cidr = network(given["range"])
    spec = FamilySpec(cidrs=(cidr,), node_mask_size=given["node_prefix"])
    reason = unusable(ClusterCIDR(name=PoolName("r"), families={family_of(cidr): spec}))
    assert (reason is None) == expect["ok"]
    if reason is not None:
        assert "larger than the range" in reason
        return
    blocks = of(case)
    assert blocks.window.capacity == expect["capacity"]
    assert blocks.allocate() == network(expect["first"])
    assert blocks.allocate() == network(expect["second"])


@pytest.mark.parametrize("case", of_groups("overlap_query"), ids=case_id)
def test_a_query_knows_what_it_touches(case: Case) -> None:
    blocks = of(case)
    for cidr in case["given"]["occupied"]:
        blocks.occupy(cidr)
    assert (
        blocks.occupancy.space.is_free(key_of(network(case["given"]["query"]))) != case["expect"]["overlaps"]
    )


@pytest.mark.parametrize("case", of_groups("set_sequence"), ids=case_id)
def test_a_sequence_of_operations_on_one_range(case: Case) -> None:
    blocks = of(case)
    results: list[list[Network | None]] = []
    for step in case["expect"]["steps"]:
        results.append(run_step(blocks, step, results))


def run_step(blocks: Range, step: Case, earlier: list[list[Network | None]]) -> list[Network | None]:
    match step["op"]:
        case "allocate":
            got = blocks.allocate()
            assert got == (network(step["result"]) if "result" in step else None)
            return [got]
        case "allocate_n":
            found = [blocks.allocate() for _ in range(step["n"])]
            assert None not in found
            assert len(set(found)) == step["n"]
            for position, name in ((0, "first"), (-1, "last")):
                assert name not in step or found[position] == network(step[name])
            if "same_order_as_step" in step:
                assert found == earlier[step["same_order_as_step"]]
            return found
        case "occupy":
            first, last = step.get("cidr_range") or (step["cidr"], step["cidr"])
            for number in range(blocks.units(network(first))[0], blocks.units(network(last))[-1] + 1):
                blocks.occupy(str(network_of(blocks.first + number, blocks.family)))
        case "release":
            blocks.release(step["cidr"])
        case "release_all_allocated":
            for key in blocks.allocated:
                blocks.release(str(network_of(key, blocks.family)))
            blocks.allocated.clear()
        case "is_allocated":
            assert (key_of(network(step["cidr"])) in blocks.occupancy.space.marks) == step["result"]
        case "overlaps":
            assert blocks.occupancy.space.is_free(key_of(network(step["cidr"]))) != step["result"]
        case other:
            raise AssertionError(other)
    return []


# METGC-01 is about the exposition, which the controller makes: tests/controller.
@pytest.mark.parametrize("case", of_groups("metrics_sequence", but=["METGC-01"]), ids=case_id)
def test_usage_and_counters_follow_the_operations(case: Case) -> None:
    """Our counters are made in the controller from these numbers; here the numbers themselves are held."""
    given = case["given"].get("ranges") or [case["given"]]
    by_family = {}
    for one in given:
        blocks = Range(one["range"], one["node_prefix"])
        by_family[blocks.family] = blocks
    for step in case["expect"]["steps"]:
        family = family_of(network(step["cidr"])) if "cidr" in step else next(iter(by_family))
        blocks = by_family[family]
        match step["op"]:
            case "allocate_n":
                found = [blocks.allocate() for _ in range(step["n"])]
                assert "first" not in step or found[0] == network(step["first"])
            case "occupy":
                blocks.occupy(step["cidr"])
            case "release":
                blocks.release(step["cidr"])
        assert blocks.ratio == step["usage"]
        assert blocks.allocations == step.get("allocations_total", blocks.allocations)
        assert blocks.releases == step.get("releases_total", blocks.releases)
        assert blocks.skipped == step.get("tries_sum", blocks.skipped)
    if "max_cidrs" in case["expect"]:
        assert by_family[Family.IPV4].window.capacity == case["expect"]["max_cidrs"]
