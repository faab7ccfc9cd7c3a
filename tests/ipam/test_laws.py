"""The laws of the design, 1 to 4 and 7, held against a simple model over random histories."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.blocks import key_of, network_of
from nodeipam_ctl.ipam.holders import NodeRecord
from nodeipam_ctl.ipam.pages import page_of
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    FamilySpec,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeUID,
    PoolName,
    Refusal,
    Retain,
    StaticBlock,
)
from nodeipam_ctl.prefixes import Family, Network, contains, family_of, overlaps
from tests.ipam.cases import network

RANGES = ("10.0.0.0/26", "10.0.0.0/27", "10.0.0.32/27", "10.0.0.64/26", "10.0.1.0/28")
RANGES6 = ("fd00::/123", "fd00::/124", "fd00::10/124", "fd00:1::/125")
FOREIGN = (
    "10.0.0.0/28",
    "10.0.0.16/30",
    "10.0.0.4/31",
    "10.0.0.0/24",
    "fd00::/126",
    "fd00::18/127",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "fd00::/32",
)
NAMES = tuple(f"n{i}" for i in range(8))


def nets(texts: tuple[str, ...]) -> st.SearchStrategy[Network]:
    return st.sampled_from([network(text) for text in texts])


@st.composite
def pools(draw: st.DrawFn, name: str) -> ClusterCIDR:
    families = {}
    which = draw(st.sampled_from(("4", "6", "46", "46")))
    for family, ranges, masks in ((Family.IPV4, RANGES, (28, 29, 30)), (Family.IPV6, RANGES6, (125, 126))):
        if ("4" if family is Family.IPV4 else "6") in which:
            cidrs = tuple(draw(st.lists(nets(ranges), min_size=1, max_size=2)))
            inside = network_of(key_of(cidrs[0]) << 2 | draw(st.integers(0, 3)), family)
            families[family] = FamilySpec(
                cidrs=cidrs,
                node_mask_size=max(draw(st.sampled_from(masks)), *(c.prefixlen for c in cidrs)),
                exclude=(inside,) if draw(st.booleans()) else (),
            )
    static: tuple[StaticBlock, ...] = ()
    if draw(st.integers(0, 3)) == 0:
        family, spec = next(iter(families.items()))
        block = network_of(key_of(spec.cidrs[0]) << (spec.node_mask_size - spec.cidrs[0].prefixlen), family)
        static = (StaticBlock(node=NodeName(draw(st.sampled_from(NAMES))), cidrs=(block,)),)
    return ClusterCIDR(
        name=PoolName(name),
        families=families,
        priority=draw(st.integers(0, 1)),
        disabled=draw(st.integers(0, 9)) == 0,
        reuse_delay_s=draw(st.sampled_from((0.0, 50.0))),
        retain=draw(st.sampled_from(tuple(Retain))),
        static=static,
    )


class World(RuleBasedStateMachine):
    """Nodes come, are served, lose replies and go; ClusterCIDRs change under them; a model remembers what was given."""

    def __init__(self) -> None:
        super().__init__()
        self.allocator = Allocator()
        self.now = 1000.0
        self.serial = 0
        self.pools: dict[str, ClusterCIDR] = {}
        self.service: tuple[Network, ...] = ()
        self.nodes: dict[str, Node] = {}
        self.open: dict[NodeUID, Assignment] = {}

    @initialize(pool=pools("a"))
    def begin(self, pool: ClusterCIDR) -> None:
        self.change(pool)

    @rule(pool=st.sampled_from("abc").flatmap(pools))
    def change(self, pool: ClusterCIDR) -> None:
        self.pools[pool.name] = pool
        self.allocator.set_pools(self.pools.values())

    @precondition(lambda self: self.pools)
    @rule(data=st.data())
    def remove_pool(self, data: st.DataObject) -> None:
        del self.pools[data.draw(st.sampled_from(sorted(self.pools)))]
        self.allocator.set_pools(reversed(self.pools.values()))

    @rule(ranges=st.lists(nets(("10.0.0.0/29", "10.0.0.48/28", "fd00::/126")), max_size=2))
    def services(self, ranges: list[Network]) -> None:
        self.service = tuple(ranges)
        self.allocator.set_reserved("servicecidr/kubernetes", ranges)

    @rule(name=st.sampled_from(NAMES), foreign=st.lists(nets(FOREIGN), max_size=1))
    def register(self, name: str, foreign: list[Network]) -> None:
        if name not in self.nodes:
            self.serial += 1
            self.now += 1.0
            node = Node(name=NodeName(name), uid=NodeUID(f"u{self.serial}"), created_s=self.now)
            self.nodes[name] = replace(node, pod_cidrs=tuple(foreign))
            self.allocator.observe(self.nodes[name], self.now)

    @rule()
    def decide(self) -> None:
        wanting = [n for n in self.nodes.values() if not n.pod_cidrs]
        taken = self.taken()
        decisions = self.allocator.decide(reversed(wanting), self.now)
        self.allocator.woken()
        for decision in decisions:
            if not isinstance(decision, Assignment):
                assert_says_why(decision)
                continue
            if decision.uid in self.open:
                assert decision.pod_cidrs == self.open[decision.uid].pod_cidrs, (
                    "the same answer while it is open"
                )
                continue
            self.check(decision, taken)
            taken.extend(decision.pod_cidrs)
            self.open[decision.uid] = decision
        assert self.allocator.decide([n for n in wanting if n.uid not in self.open], self.now) == [
            refusal for node, refusal in self.allocator.waiting() if node.uid not in self.open
        ], "law 2: nothing is left to assign"

    @rule()
    def look_again(self) -> None:
        """A look at the first of each line is enough: nobody who could be served is left waiting."""
        taken = self.taken()
        for decision in self.allocator.decide((), self.now):
            if isinstance(decision, Assignment):
                self.check(decision, taken)
                taken.extend(decision.pod_cidrs)
                self.open[decision.uid] = decision
        self.allocator.woken()
        assert not self.allocator.has_due()
        left = [node for node, _ in self.allocator.waiting()]
        assert all(isinstance(answer, Refusal) for answer in self.allocator.decide(left, self.now))

    def check(self, assignment: Assignment, taken: list[Network]) -> None:
        pool = self.pools[assignment.pool]
        assert {family_of(b) for b in assignment.pod_cidrs} == set(pool.families), "law 4: all families"
        excluded = [e for p in self.pools.values() for spec in p.families.values() for e in spec.exclude]
        mine = [b for s in pool.static if s.node == assignment.node for b in s.cidrs]
        promised = [b for node, b in self.promises() if node != assignment.node]
        for block in assignment.pod_cidrs:
            for other in (*taken, *excluded, *self.service, *promised):
                assert not overlaps(block, other), f"law 1: {block} of {assignment.node} overlaps {other}"
            family = family_of(block)
            assert any(contains(c, block) for c in pool.families[family].cidrs)
            assert block.prefixlen == pool.families[family].node_mask_size or block in mine

    def promises(self) -> list[tuple[NodeName, Network]]:
        """What is promised to whom; of two promises of the same addresses the earlier counts (`test_static.py`)."""
        kept: list[tuple[NodeName, Network]] = []
        for _, pool in sorted(self.pools.items()):
            for static in pool.static:
                for block in static.cidrs:
                    if not any(node != static.node and overlaps(block, other) for node, other in kept):
                        kept.append((static.node, block))
        return kept

    @precondition(lambda self: self.open)
    @rule(data=st.data(), outcome=st.sampled_from(("applied", "refused", "cut", "cut but applied")))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        assignment = self.open[data.draw(st.sampled_from(sorted(self.open)))]
        node = self.nodes[assignment.node]
        if outcome == "refused":
            self.allocator.release(assignment.uid)
            del self.open[assignment.uid]
        elif outcome != "cut":
            self.nodes[assignment.node] = replace(node, pod_cidrs=assignment.pod_cidrs)
            if outcome == "applied":
                self.allocator.settle(assignment.uid)
            self.allocator.observe(self.nodes[assignment.node], self.now)
            del self.open[assignment.uid]

    @precondition(lambda self: self.nodes)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        node = self.nodes.pop(data.draw(st.sampled_from(sorted(self.nodes))))
        self.open.pop(node.uid, None)
        self.allocator.forget(node.uid, self.now)

    @rule(seconds=st.sampled_from((10.0, 60.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.allocator.tick(self.now)

    def taken(self) -> list[Network]:
        """Every block that a node has, or that was promised and is not settled; what can be no podCIDR is nobody's."""
        shown = [b for n in self.nodes.values() for b in n.pod_cidrs if page_of(b) is not None]
        return shown + [b for a in self.open.values() for b in a.pod_cidrs]

    @invariant()
    def no_address_in_use_is_free(self) -> None:
        """Law 7: releasing a block never frees an address that another block still uses."""
        for block in self.taken():
            space = self.allocator.tenancy.occupancies[family_of(block)].space
            assert not space.is_free(key_of(block))
            assert not space.is_free(key_of(block) << 1) or block.prefixlen == block.max_prefixlen

    @invariant()
    def usage_is_exact(self) -> None:
        for pool in self.allocator.tenancy.pools.values():
            for family, window in pool.windows:
                space = self.allocator.tenancy.occupancies[family].space
                counts = [0, 0, 0]
                for one in window.ranges:
                    shift = window.length - (one.bit_length() - 1)
                    for unit in range(one << shift, (one + 1) << shift):
                        kinds = [h.kind for key in space.touching(unit) for h in space.holders(key)]
                        if kinds:
                            counts[min(kinds)] += 1
                usage = window.usage()
                assert [usage.allocated, usage.resting, usage.excluded] == counts
                assert usage.capacity == sum(counts) + usage.free

    @invariant()
    def what_is_remembered_can_be_rebuilt(self) -> None:
        """Law 3: the same space comes out of ledger lines, Nodes and ClusterCIDRs."""
        rebuilt = Allocator()
        rebuilt.set_pools(self.pools.values())
        rebuilt.set_reserved("servicecidr/kubernetes", self.service)
        tenancy = self.allocator.tenancy
        lines = [line for uid in tenancy.records for line in self.allocator.lines(uid)]
        lines += [
            LedgerEntry(
                cidr=network_of(rest.key, rest.family),
                state=LedgerState.RESTING,
                node=rest.node,
                node_uid=rest.uid,
                cluster_cidr=rest.pool,
                since_s=rest.released_s,
                reusable_at_s=rest.reusable_at_s,
            )
            for rest in tenancy.rests
        ]
        rebuilt.adopt(lines, self.now)
        for node in self.nodes.values():
            rebuilt.observe(node, self.now)
        for family, occupancy in tenancy.occupancies.items():
            assert held(occupancy.space.marks) == held(rebuilt.tenancy.occupancies[family].space.marks)
        for name in self.pools:
            assert self.allocator.usage(PoolName(name)).families == rebuilt.usage(PoolName(name)).families


def held(marks: object) -> dict[int, list[str]]:
    assert isinstance(marks, dict)
    return {
        key: sorted(
            f"{h.kind.name} {h.uid}" if isinstance(h, NodeRecord) else h.kind.name
            for h in (holders if isinstance(holders, tuple) else (holders,))
        )
        for key, holders in marks.items()
    }


def assert_says_why(refusal: Refusal) -> None:
    assert "\n" not in refusal.message
    assert ";" in refusal.message, "reason; remedy"


World.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestWorld = World.TestCase
