"""A cluster in memory: Node events, a clock, and what the controller would do with the allocator's answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.ipam.outcomes import Observed, Released
from nodeipam_ctl.model import Assignment, ClusterCIDR, Finding, Node, NodeName, NodeUID, PoolName, Refusal
from nodeipam_ctl.prefixes import Network


class Cluster:
    """Nodes and ClusterCIDRs as the API server keeps them, with one controller that is told of everything at once."""

    def __init__(self, pools: Iterable[ClusterCIDR] = (), nodes: Iterable[Node] = ()) -> None:
        self.allocator = Allocator()
        self.now = 1000.0
        self.serial = 0
        self.pools: dict[PoolName, ClusterCIDR] = {pool.name: pool for pool in pools}
        self.nodes: dict[NodeName, Node] = {}
        self.refusals: dict[NodeName, Refusal] = {}
        self.findings: list[Finding] = []
        self.allocator.set_pools(self.pools.values())
        for node in nodes:
            self.observe(node)

    def register(self, name: str, **fields: object) -> Node:
        """A Node without podCIDRs appears; nothing is decided yet."""
        self.serial += 1
        self.now += 1.0
        made = Node(name=NodeName(name), uid=NodeUID(f"{name}-{self.serial}"), created_s=self.now)
        made = replace(made, **fields)  # type: ignore[arg-type]  # fields by name
        self.observe(made)
        return made

    def observe(self, node: Node) -> Observed:
        """A Node is as given from now on."""
        self.nodes[node.name] = node
        observed = self.allocator.observe(node, self.now)
        self.findings.extend(observed.findings)
        return observed

    def decide(self) -> list[Assignment]:
        """One turn of the controller up to the write."""
        wanting = [node for node in self.nodes.values() if not node.pod_cidrs]
        decisions = self.allocator.decide(wanting, self.now)
        self.refusals.update({d.node: d for d in decisions if isinstance(d, Refusal)})
        return [d for d in decisions if isinstance(d, Assignment)]

    def turn(self) -> None:
        """One turn of the controller: decisions, patches, and their events."""
        for assignment in self.decide():
            self.refusals.pop(assignment.node, None)
            self.observe(replace(self.nodes[assignment.node], pod_cidrs=assignment.pod_cidrs))

    def create(self, name: str, **fields: object) -> tuple[Network, ...]:
        """A Node registers and is served, if it can be."""
        self.register(name, **fields)
        self.turn()
        return self.nodes[NodeName(name)].pod_cidrs

    def delete(self, name: str) -> Released | None:
        """The Node object is gone."""
        node = self.nodes.pop(NodeName(name))
        self.refusals.pop(node.name, None)
        return self.allocator.forget(node.uid, self.now)

    def set_pool(self, pool: ClusterCIDR) -> None:
        """A ClusterCIDR is created or changed."""
        self.pools[pool.name] = pool
        self.allocator.set_pools(self.pools.values())

    def delete_pool(self, name: str) -> None:
        """Somebody deletes a ClusterCIDR: its finalizer keeps it until no node uses it."""
        self.set_pool(replace(self.pools[PoolName(name)], terminating=True))
        self.let_pools_go()

    def let_pools_go(self) -> None:
        """What the finalizer's owner does: a terminating ClusterCIDR that no node uses goes."""
        for name, pool in list(self.pools.items()):
            if pool.terminating and self.allocator.usage(name).nodes == 0:
                del self.pools[name]
        self.allocator.set_pools(self.pools.values())

    def used(self) -> set[Network]:
        """Every block that some node holds or was promised."""
        return {block for uid in self.allocator.tenancy.records for block in self.allocator.held_by(uid)}
