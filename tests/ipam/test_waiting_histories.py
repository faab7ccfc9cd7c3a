"""Does a line of waiting nodes ever keep back who would be served if everybody were asked? Random histories, both ways at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

import pytest

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.eligibility import MASK_SIZE, PIN
from nodeipam_ctl.model import (
    Assignment,
    ClusterCIDR,
    FamilySpec,
    LedgerEntry,
    LedgerState,
    Node,
    NodeName,
    NodeSelector,
    NodeUID,
    Operator,
    PoolName,
    Requirement,
    Retain,
    SelectorTerm,
    StaticBlock,
)
from nodeipam_ctl.prefixes import Family, Network

SPACE = ip_network("10.0.0.0/27")
RANGES = tuple(map(ip_network, ("10.0.0.0/28", "10.0.0.0/27", "10.0.0.16/28", "10.0.0.8/29")))


@dataclass
class History:
    """Two allocators that are told the same; `lazy` is asked as the controller asks, `eager` about every node every time."""

    dice: random.Random
    lazy: Allocator = field(default_factory=Allocator)
    eager: Allocator = field(default_factory=Allocator)
    now: float = 1000.0
    serial: int = 0
    nodes: dict[NodeUID, Node] = field(default_factory=dict)
    pools: dict[str, ClusterCIDR] = field(default_factory=dict)
    asked: set[NodeUID] = field(default_factory=set)

    def play(self, steps: int) -> int:
        """How many were served; stops at the first difference."""
        served = 0
        for name in "pq":
            self.pools[name] = self.pool(name)
        self.tell(lambda to: to.set_pools(self.pools.values()))
        for _ in range(steps):
            self.now += self.dice.choice((0.0, 1.0, 20.0))
            acts = (
                self.register,
                self.register,
                self.delete,
                self.change,
                self.edit,
                self.reserve,
                self.line,
            )
            self.dice.choice(acts)()
            if self.dice.random() < 0.8:
                served += self.decide()
        return served

    def tell(self, what: Callable[[Allocator], object]) -> None:
        what(self.lazy)
        what(self.eager)

    def decide(self) -> int:
        waiting = [node for node in self.nodes.values() if not node.pod_cidrs]
        lazy = assigned(self.lazy.decide([node for node in waiting if node.uid in self.asked], self.now))
        eager = assigned(self.eager.decide(waiting, self.now))
        self.asked.clear()
        assert lazy == eager
        assert self.lazy.woken() == self.eager.woken()
        for uid, cidrs in lazy.items():
            if self.dice.random() < 0.1:
                self.asked.add(uid)
                self.tell(lambda to, uid=uid: to.release(uid))  # type: ignore[misc]  # bound now
            else:
                self.see(replace(self.nodes[uid], pod_cidrs=cidrs))
        return len(lazy)

    def see(self, node: Node) -> None:
        self.nodes[node.uid] = node
        self.tell(lambda to: to.observe(node, self.now))

    def register(self) -> None:
        name = NodeName(f"n{self.dice.randrange(14)}")
        if name in {node.name for node in self.nodes.values()}:
            return
        self.serial += 1
        node = Node(
            name=name,
            uid=NodeUID(f"u{self.serial}"),
            created_s=self.now,
            labels=self.labels(),
            annotations=self.annotations(),
            pod_cidrs=(self.block(28, 30),) if self.dice.random() < 0.1 else (),
        )
        self.asked.add(node.uid)
        self.see(node)

    def delete(self) -> None:
        if self.nodes:
            uid = self.dice.choice(sorted(self.nodes))
            del self.nodes[uid]
            self.tell(lambda to: to.forget(uid, self.now))

    def change(self) -> None:
        if self.nodes:
            uid = self.dice.choice(sorted(self.nodes))
            if self.dice.random() < 0.5:  # its addresses: the controller does not ask for it anew
                inside = (ip_address(f"10.0.0.{self.dice.randrange(40)}"),)
                self.see(replace(self.nodes[uid], internal_ips=self.dice.choice(((), inside))))
            else:
                self.asked.add(uid)
                self.see(replace(self.nodes[uid], labels=self.labels(), annotations=self.annotations()))

    def edit(self) -> None:
        name = self.dice.choice("pqr")
        if self.dice.random() < 0.25:
            self.pools.pop(name, None)
        else:
            self.pools[name] = self.pool(name)
        self.tell(lambda to: to.set_pools(self.pools.values()))

    def reserve(self) -> None:
        networks = [self.block(30, 30)] if self.dice.random() < 0.5 else []
        self.tell(lambda to: to.set_reserved("servicecidr/s", networks))

    def line(self) -> None:
        uid = NodeUID(self.dice.choice([*sorted(self.nodes), "ghost"]))
        entry = LedgerEntry(
            cidr=self.block(29, 30),
            state=self.dice.choice((LedgerState.BOUND, LedgerState.RESTING)),
            node=self.nodes[uid].name if uid in self.nodes else NodeName(f"n{self.dice.randrange(14)}"),
            node_uid=uid,
            cluster_cidr=PoolName(self.dice.choice("pq")),
            since_s=self.now - 5,
            reusable_at_s=self.now + self.dice.choice((5, 50)),
        )
        self.tell(lambda to: to.adopt([entry], self.now))

    def block(self, shortest: int, longest: int) -> Network:
        length = self.dice.randint(shortest, longest)
        blocks: list[Network] = list(SPACE.subnets(new_prefix=length))
        return self.dice.choice(blocks)

    def labels(self) -> dict[str, str]:
        return {key: "1" for key in ("x", "y") if self.dice.random() < 0.5}

    def annotations(self) -> dict[str, str]:
        wanted = {}
        if self.dice.random() < 0.15:
            wanted[PIN] = self.dice.choice("pqr")
        if self.dice.random() < 0.2:
            wanted[MASK_SIZE[Family.IPV4]] = self.dice.choice(("28", "29", "30", "99"))
        return wanted

    def pool(self, name: str) -> ClusterCIDR:
        dice = self.dice
        families = {}
        if dice.random() < 0.8:
            one = dice.choice(RANGES)
            families[Family.IPV4] = FamilySpec(
                cidrs=(one,), node_mask_size=dice.randint(max(28, one.prefixlen), 30)
            )
        if not families or dice.random() < 0.4:
            families[Family.IPV6] = FamilySpec(cidrs=(ip_network("fd00::/123"),), node_mask_size=126)
        needs = Requirement(
            key=dice.choice("xy"), operator=dice.choice((Operator.EXISTS, Operator.DOES_NOT_EXIST)), values=()
        )
        selector = NodeSelector(terms=(SelectorTerm(expressions=(needs,)),))
        static = StaticBlock(node=NodeName(f"n{dice.randrange(6)}"), cidrs=(self.block(28, 30),))
        return ClusterCIDR(
            name=PoolName(name),
            families=families,
            selector=dice.choice((None, selector)),
            priority=dice.choice((0, 0, 1)),
            disabled=dice.random() < 0.1,
            terminating=dice.random() < 0.05,
            reuse_delay_s=dice.choice((0.0, 30.0, 100.0)),
            retain=dice.choice(tuple(Retain)),
            static=(static,) if Family.IPV4 in families and dice.random() < 0.3 else (),
        )


def assigned(decisions: Iterable[object]) -> dict[NodeUID, tuple[Network, ...]]:
    return {d.uid: d.pod_cidrs for d in decisions if isinstance(d, Assignment)}


@pytest.mark.parametrize("shard", range(4))
def test_a_line_keeps_nobody_back_who_would_be_served_if_everybody_were_asked(shard: int) -> None:
    served = sum(History(random.Random(seed)).play(40) for seed in range(shard * 100, shard * 100 + 100))
    assert served > 300, "histories in which nobody is served show nothing"
