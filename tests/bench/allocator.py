"""How long does the pure allocator take per node, and how much memory does it keep? Prints CPU time, not wall time."""

from __future__ import annotations

import gc
import random
import resource
import time
import tracemalloc
from ipaddress import IPv4Address, ip_network

from nodeipam_ctl.ipam.allocator import Allocator
from nodeipam_ctl.model import Assignment, ClusterCIDR, FamilySpec, Node, NodeName, NodeUID, PoolName
from nodeipam_ctl.prefixes import Family


def dual_stack_pool() -> ClusterCIDR:
    """Room for 131,072 nodes in both families."""
    return ClusterCIDR(
        name=PoolName("default"),
        families={
            Family.IPV4: FamilySpec(cidrs=(ip_network("10.0.0.0/8"),), node_mask_size=25),
            Family.IPV6: FamilySpec(cidrs=(ip_network("fd00::/47"),), node_mask_size=64),
        },
        reuse_delay_s=0.0,
    )


def make_nodes(count: int) -> list[Node]:
    """Nodes that registered one after the other."""
    return [
        Node(
            name=NodeName(f"worker-{i:06d}"),
            uid=NodeUID(f"00000000-0000-4000-8000-{i:012d}"),
            labels={"kubernetes.io/hostname": f"worker-{i:06d}"},
            internal_ips=(IPv4Address((192 << 24) + i),),
            created_s=float(i),
        )
        for i in range(count)
    ]


def measure(nodes: int) -> dict[str, float]:
    """Fills half of a pool with random holes, then times further nodes; all times in microseconds of CPU per node."""
    allocator = Allocator()
    allocator.set_pools([dual_stack_pool()])
    everyone = make_nodes(2 * nodes)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    allocator.decide(everyone, now=0.0)
    bytes_per_node = (tracemalloc.get_traced_memory()[0] - before) / len(everyone)
    tracemalloc.stop()
    leaving = random.Random(7).sample(everyone, nodes)
    start = time.process_time()
    for node in leaving:
        allocator.forget(node.uid, now=1.0)
    forgotten = time.process_time() - start
    newcomers = [
        Node(name=NodeName(f"new-{i:06d}"), uid=NodeUID(f"new-{i}"), created_s=float(i))
        for i in range(nodes // 2)
    ]
    start = time.process_time()
    decisions = allocator.decide(newcomers, now=2.0)
    decided = time.process_time() - start
    assert all(isinstance(d, Assignment) for d in decisions)
    start = time.process_time()
    usage = allocator.usage(PoolName("default"))
    counted = time.process_time() - start
    assert usage.nodes == nodes + len(newcomers)
    return {
        "decide_us": decided / len(newcomers) * 1e6,
        "forget_us": forgotten / nodes * 1e6,
        "usage_us": counted * 1e6,
        "bytes_per_node": bytes_per_node,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Prints one line for 5,000 and one for 100,000 nodes."""
    for nodes in (5_000, 50_000):
        found = measure(nodes)
        print(
            f"{2 * nodes:>7} dual-stack nodes: decide {found['decide_us']:.1f} us, forget {found['forget_us']:.1f} us,"
            f" usage {found['usage_us']:.0f} us, {found['bytes_per_node']:.0f} bytes a node, rss {found['rss_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
