"""This node's Node goes and comes back under the same name: its podCIDR may be away for a moment, or be another node's by then."""

from __future__ import annotations

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

OURS = ("10.244.1.0/24",)
BACKENDS = pytest.mark.parametrize("backend", ["host-gw", "vxlan", "vxlan-gpe"])


def start(cluster: Cluster, backend: str) -> tuple[Namespace, Agent]:
    """Node n1 with an agent that knows n3."""
    cluster.add("n1", pod_cidrs=OURS, addresses=("192.0.2.11",))
    cluster.add("n3", pod_cidrs=("10.244.3.0/24",), addresses=("192.0.2.13",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--backend", backend)
    until(agent.conflist.exists, "the conflist is there")
    return host, agent


def to(host: Namespace, cidr: str) -> list[str]:
    return [route for route in host.routes() if route.startswith(cidr)]


@BACKENDS
def test_a_node_that_waits_for_its_podcidr_keeps_the_routes_to_others(cluster: Cluster, backend: str) -> None:
    host, agent = start(cluster, backend)
    before = host.routes()
    cluster.remove("n1")
    cluster.add("n1", addresses=("192.0.2.11",))
    until(lambda: not agent.conflist.exists(), "the node waits for a podCIDR")
    until(lambda: cluster.condition("n1") == ("True", "WaitingForPodCIDR"), "the turn is over")
    assert to(host, "10.244.3.0/24"), "the kernel takes a device's IPv4 routes with its last address"
    cluster.add("n1", pod_cidrs=OURS, addresses=("192.0.2.11",))
    until(agent.conflist.exists, "the node is served again")
    until(lambda: host.routes() == before, "everything is as before", timeout_s=3)


@BACKENDS
def test_a_peer_gets_a_route_to_the_podcidr_that_was_ours(cluster: Cluster, backend: str) -> None:
    host, agent = start(cluster, backend)
    cluster.remove("n1")
    cluster.add("n2", pod_cidrs=OURS, addresses=("192.0.2.12",))
    cluster.add("n1", addresses=("192.0.2.11",))
    until(lambda: to(host, OURS[0]), "the peer has the block while we have none", timeout_s=3)
    cluster.add("n1", pod_cidrs=("10.244.7.0/24",), addresses=("192.0.2.11",))
    until(agent.conflist.exists, "the node is served again")
    until(
        lambda: [r.split()[0] for r in host.routes()] == [OURS[0], "10.244.3.0/24", "unreachable"],
        "both peers have a route, and our new block its sink",
        timeout_s=3,
    )


@BACKENDS
def test_a_podcidr_of_ours_that_moves_to_a_peer_at_once_is_routed(cluster: Cluster, backend: str) -> None:
    host, _ = start(cluster, backend)
    cluster.remove("n1")
    cluster.add("n2", pod_cidrs=OURS, addresses=("192.0.2.12",))
    cluster.add("n1", pod_cidrs=("10.244.7.0/24",), addresses=("192.0.2.11",))
    until(lambda: to(host, OURS[0]), "the peer's block is routed", timeout_s=3)
