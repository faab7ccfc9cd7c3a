"""Which nodes are served by the same ClusterCIDRs in the same order, and how many more such nodes fit?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.model import Node, NodeName, PoolName


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that no ClusterCIDR tells apart.

    Attributes:
        pools: the ClusterCIDRs that serve them, in the order in which they are tried; none serves them when empty.
        example: the first of them by name.
        without: how many of them have no podCIDRs yet.
        fits: how many more such nodes fit into those ClusterCIDRs together.
        exact: False when those ClusterCIDRs share addresses, so that `fits` counts some blocks twice.
    """

    pools: tuple[PoolName, ...]
    example: NodeName
    nodes: int
    without: int
    fits: int
    exact: bool


def groups(allocator: Allocator, nodes: Sequence[Node], fits: Mapping[PoolName, int]) -> tuple[Group, ...]:
    """The nodes of a cluster by what serves them, the largest group first.

    Args:
        allocator: what is used; it is only asked for orders.
        nodes: all Nodes.
        fits: how many more nodes each ClusterCIDR can serve.
    """
    shared = pool_rules.overlapping(pool.spec for pool in allocator.tenancy.pools.values())
    members: dict[tuple[PoolName, ...], list[Node]] = {}
    for node in sorted(nodes, key=lambda n: n.name):
        order = allocator.order(node)
        pools = () if order.refusal is not None else tuple(place.pool for place in order.places)
        members.setdefault(pools, []).append(node)
    made = [
        Group(
            pools=pools,
            example=alike[0].name,
            nodes=len(alike),
            without=sum(1 for node in alike if not node.pod_cidrs),
            fits=sum(fits.get(pool, 0) for pool in pools),
            exact=not any(other in pools for pool in pools for other in shared.get(pool, ())),
        )
        for pools, alike in members.items()
    ]
    return tuple(sorted(made, key=lambda group: (-group.nodes, group.example)))
