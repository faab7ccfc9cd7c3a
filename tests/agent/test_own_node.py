"""This node's own address, families and settings: followed live, whatever the underlay is."""

from __future__ import annotations

import json

import pytest

from tests.agent.cluster import Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel


def ping(host: Namespace, source: str, target: str) -> bool:
    return " 0% packet loss" in host.run("ping", "-c", "1", "-W", "2", "-I", source, target, check=False)


@pytest.mark.parametrize(
    ("backend", "route"),
    [
        ("host-gw", "10.244.2.0/24 via inet6 fd00:10::12 dev eth0 metric 102"),
        ("vxlan", "10.244.2.0/24 via 10.244.2.0 dev nictl-v6.1 metric 102 onlink"),
        (
            "vxlan-gpe",
            "10.244.2.0/24 encap ip6 id 1 src :: dst fd00:10::12 hoplimit 0 tc 0 csum dev nictl-gpe scope link metric 102",
        ),
    ],
)
def test_ipv4_pods_reach_each_other_over_an_ipv6_underlay(cluster: Cluster, backend: str, route: str) -> None:
    hosts = []
    for number in (1, 2):
        cluster.add(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=(f"fd00:10::1{number}",))
    for number in (1, 2):
        # The API server is asked over IPv4; no Node has that address.
        host = cluster.segment.host(f"192.0.2.10{number}/24", f"fd00:10::1{number}/64")
        host.run("ip", "address", "add", f"10.244.{number}.10/32", "dev", "lo")
        agent = cluster.start_agent(host, f"n{number}", "--backend", backend)
        until(agent.conflist.exists, "the conflist is there")
        hosts.append(host)
    assert route in hosts[0].routes()
    assert ping(hosts[0], "10.244.1.10", "10.244.2.10")


def test_a_family_added_later_rewrites_nothing_of_the_first(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11", "fd00:10::11"))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12", "fd00:10::12"))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(lambda: agent.lines("node_ready"), "the first turn is told")
    seen = len(agent.lines("host_changed"))
    cluster.remove("n2")
    until(lambda: len(host.routes()) == 1, "n2 is gone")
    cluster.add(
        "n2", pod_cidrs=("10.244.2.0/24", "fd00:244:0:2::/64"), addresses=("192.0.2.12", "fd00:10::12")
    )
    until(lambda: any("fd00:244:0:2::/64 via" in route for route in host.routes()), "IPv6 is routed as well")
    later = [e["object"] for e in agent.lines("host_changed")[seen:]]
    assert not any("10.244.1.0/24" in text for text in later)


def test_the_internal_ip_decides_the_underlay_not_the_default_route(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    cluster.segment.attach(host, "eth1", "203.0.113.5/24")
    host.sh("ip link set eth1 mtu 9000; ip route add default via 203.0.113.1")
    agent = cluster.start_agent(host, "n1", "--backend", "vxlan")
    until(agent.conflist.exists, "the conflist is there")
    (link,) = host.ip("link", "show", "nictl.1")
    assert (link["linkinfo"]["info_data"]["local"], link["mtu"]) == ("192.0.2.11", 1450)


def test_nodes_whose_address_is_on_no_wire_reach_each_other_through_tunnels(cluster: Cluster) -> None:
    hosts = []
    for number in (1, 2):
        cluster.add(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=(f"198.51.100.1{number}",))
    for number, other in ((1, 2), (2, 1)):
        host = cluster.segment.host(f"192.0.2.1{number}/24")
        cluster.segment.attach(host, "eth1", f"203.0.113.1{number}/24")
        host.sh(f"""
            ip address add 198.51.100.1{number}/32 dev lo
            ip address add 10.244.{number}.10/32 dev lo
            ip link set eth1 mtu 1400
            ip route add 198.51.100.1{other}/32 nexthop via 192.0.2.1{other} nexthop via 203.0.113.1{other}
            ip route add default nexthop via 192.0.2.1{other} nexthop via 203.0.113.1{other}
        """)
        agent = cluster.start_agent(host, f"n{number}", "--backend", "vxlan")
        until(agent.conflist.exists, "the conflist is there")
        hosts.append(host)
    (link,) = hosts[0].ip("link", "show", "nictl.1")
    assert (link["linkinfo"]["info_data"]["local"], link["mtu"]) == ("198.51.100.11", 1350)
    assert ping(hosts[0], "10.244.1.10", "10.244.2.10")


def test_forwarding_does_not_cost_the_default_route_learned_from_a_router(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("fd00:244:0:1::/64",), addresses=("192.0.2.11", "fd00:10::11"))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    host.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")
    host.run(
        "ip",
        "-6",
        "route",
        "add",
        "default",
        "via",
        "fe80::1",
        "dev",
        "eth0",
        "proto",
        "ra",
        "expires",
        "600",
    )
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    assert host.run("sysctl", "-n", "net.ipv6.conf.eth0.accept_ra").strip() == "2"
    assert "default via fe80::1" in host.run("ip", "-6", "route")


def test_a_steady_node_writes_nothing_to_the_api_or_the_kernel(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--audit-period", "1")
    until(lambda: cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the condition is False")
    said = cluster.read("n1")["metadata"]["annotations"]["nodeipam.dev/backend"]
    assert said == "host-gw", "in the same write"
    version = cluster.resource_version("n1")
    changes = agent.metric("nodeipam_host_changes_total")
    turns = agent.metric("nodeipam_turn_seconds_count")
    until(lambda: agent.metric("nodeipam_turn_seconds_count") >= turns + 5, "five audits have passed")
    assert agent.metric("nodeipam_host_changes_total") == changes
    assert cluster.resource_version("n1") == version


def test_writes_what_flannels_plug_in_and_dockerd_read(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    directory = cluster.directory("n1")
    env, docker = directory / "flannel" / "subnet.env", directory / "docker"
    agent = cluster.start_agent(
        host, "n1", "--backend", "vxlan", "--subnet-env", str(env), "--docker-opts", str(docker)
    )
    until(agent.conflist.exists, "the conflist is there")
    assert "FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\n" in env.read_text()
    assert env.stat().st_mode & 0o777 == 0o644
    assert "--bip=10.244.1.1/24" in docker.read_text()
    host.run("ip", "link", "set", "eth0", "mtu", "1400")
    until(lambda: "FLANNEL_MTU=1350" in env.read_text(), "the MTU is followed")
    until(
        lambda: json.loads(agent.conflist.read_text())["plugins"][0]["mtu"] == 1350,
        "the conflist follows as well",
    )
    assert host.ip("link", "show", "nictl.1")[0]["mtu"] == 1350
