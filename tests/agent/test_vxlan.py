"""The overlays, as real processes in namespaces of the real kernel: device, entries, traffic, healing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from nodeipam_ctl.model import NodeUID
from nodeipam_ctl.prefixes import Family
from nodeipam_ctl.routing.backends.vxlan import vtep_mac
from tests.agent.cluster import Agent, Cluster, node, until
from tests.linux.namespaces import Namespace
from tests.patience import PATIENCE

pytestmark = pytest.mark.kernel

ADDRESSES = {"n1": "192.0.2.11", "n2": "192.0.2.12", "n3": "198.51.100.13"}
SINK = "unreachable 10.244.1.0/24 metric 4278198272"


def mac(cluster: Cluster, name: str, family: Family = Family.IPV4) -> str:
    return vtep_mac(NodeUID(cluster.read(name)["metadata"]["uid"]), family)


def start(
    cluster: Cluster, *names: str, flags: tuple[str, ...] = ("--backend", "vxlan")
) -> dict[str, tuple[Namespace, Agent]]:
    """Registers all three nodes and starts agents on some; each "pod" is an address on the node's loopback."""
    for number, (name, address) in enumerate(ADDRESSES.items(), 1):
        cluster.add(name, pod_cidrs=(f"10.244.{number}.0/24",), addresses=(address,))
    cluster.segment.switch.sh("ip address add 198.51.100.1/24 dev br0; sysctl -qw net.ipv4.ip_forward=1")
    started = {}
    for name in names:
        address = ADDRESSES[name]
        host = cluster.segment.host(f"{address}/24")
        host.run("ip", "route", "add", "default", "via", f"{address.rpartition('.')[0]}.1")
        host.run("ip", "address", "add", f"10.244.{name[1]}.10/32", "dev", "lo")
        started[name] = (host, cluster.start_agent(host, name, *flags))
    for _, agent in started.values():
        until(agent.conflist.exists, "the conflist is there")
    return started


def pings(host: Namespace, source: str, target: str, *more: str) -> bool:
    return " 0% packet loss" in host.run(
        "ping", "-c", "1", "-W", "2", "-I", source, *more, target, check=False
    )


def fdb(host: Namespace, device: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads(host.run("bridge", "-j", "fdb", "show", "dev", device) or "[]")
    return sorted(f"{entry['mac']} {entry['dst']}" for entry in found if "dst" in entry)


def neighbours(host: Namespace, device: str) -> list[str]:
    found = host.ip("neighbour", "show", "dev", device, "nud", "permanent")
    return sorted(f"{entry['dst']} {entry['lladdr']}" for entry in found)


def settled(measure: Callable[[], float]) -> float:
    """A count that has not changed for a second: older kernels (6.1) do not say that the device they tell of is our own work."""
    last, since_s = measure(), time.monotonic()
    while time.monotonic() - since_s < PATIENCE:
        time.sleep(0.05)
        if measure() != last:
            last, since_s = measure(), time.monotonic()
    return last


def test_a_peer_costs_three_messages_and_its_echo_none(cluster: Cluster) -> None:
    host, agent = start(cluster, "n1")["n1"]
    counted = "nodeipam_netlink_messages_total"
    until(lambda: agent.metric("nodeipam_peers") == 2, "both peers are known")
    messages = settled(lambda: agent.metric(counted))

    def present(*names: str) -> None:
        wanted = {f"10.244.{name[1:]}.0/24" for name in names}
        until(
            lambda: wanted == {route.split()[0] for route in host.routes()} - {"unreachable"},
            f"routes to {', '.join(names)}",
        )

    for step, number in enumerate((4, 5, 6), 1):
        cluster.add_many(
            [node(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=("192.0.2.12",))]
        )
        present("n2", "n3", *(f"n{n}" for n in range(4, number + 1)))
        # An answer from somebody on the segment is an event as well, about a neighbour that is none of ours.
        host.run("ping", "-c", "1", "-W", "2", "192.0.2.1")
        host.run("ip", "neighbour", "flush", "dev", "eth0")
        until(lambda: agent.metric(counted) >= messages + 3 * step, "it is counted")  # noqa: B023
    for number in (6, 5, 4):
        cluster.remove(f"n{number}")
        present("n2", "n3", *(f"n{n}" for n in range(4, number)))
    until(lambda: agent.metric("nodeipam_peers") == 2, "the others are gone")
    assert agent.metric(counted) == messages + 18
    host.run("ip", "neighbour", "del", "10.244.2.0", "dev", "nictl.1")
    until(lambda: len(neighbours(host, "nictl.1")) == 2, "what is news is still noticed")


def test_programs_what_flanneld_would(cluster: Cluster) -> None:
    nodes = start(cluster, "n1", "n2", "n3")
    host, agent = nodes["n1"]
    (link,) = host.ip("link", "show", "nictl.1")
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["learning"]) == (1, 8472, "192.0.2.11", False)
    assert link["mtu"] == 1450
    assert "link" not in link, "a lower device would take the overlay along when it goes"
    assert link["address"] == mac(cluster, "n1")
    assert "10.244.1.0/32" in host.run("ip", "-o", "address", "show", "dev", "nictl.1")
    assert host.routes() == [
        "10.244.2.0/24 via 10.244.2.0 dev nictl.1 metric 102 onlink",
        "10.244.3.0/24 via 10.244.3.0 dev nictl.1 metric 103 onlink",
        SINK,
    ]
    assert neighbours(host, "nictl.1") == [
        f"10.244.2.0 {mac(cluster, 'n2')}",
        f"10.244.3.0 {mac(cluster, 'n3')}",
    ]
    assert fdb(host, "nictl.1") == sorted(
        [f"{mac(cluster, 'n2')} 192.0.2.12", f"{mac(cluster, 'n3')} 198.51.100.13"]
    )
    assert json.loads(agent.conflist.read_text())["plugins"][0]["mtu"] == 1450
    assert pings(host, "10.244.1.10", "10.244.2.10")
    assert pings(host, "10.244.1.10", "10.244.3.10")
    assert pings(host, "10.244.1.10", "10.244.3.10", "-M", "do", "-s", "1422")
    assert not pings(host, "10.244.1.10", "10.244.3.10", "-M", "do", "-s", "1423")


def test_heals_device_entries_and_values(cluster: Cluster) -> None:
    nodes = start(cluster, "n1", "n2")
    host, agent = nodes["n1"]

    def state() -> object:
        (link,) = host.ip("link", "show", "nictl.1")
        return (
            (link["address"], link["mtu"], "UP" in link["flags"]),
            host.routes(),
            neighbours(host, "nictl.1"),
            fdb(host, "nictl.1"),
            host.run("ip", "-4", "-o", "address", "show", "dev", "nictl.1").split()[3],
        )

    def healed(wanted: object) -> bool:
        try:
            return state() == wanted
        except (AssertionError, IndexError):
            return False

    wanted = state()
    peer = mac(cluster, "n2")
    for script in (
        "ip link del nictl.1",
        "ip link set nictl.1 down",
        "ip link set nictl.1 mtu 1300",
        "ip link set nictl.1 address 02:00:00:00:00:99",
        "ip address del 10.244.1.0/32 dev nictl.1",
        "ip neighbour del 10.244.2.0 dev nictl.1",
        "ip neighbour replace 10.244.2.0 lladdr 02:00:00:00:00:98 dev nictl.1 nud permanent",
        f"bridge fdb del {peer} dev nictl.1",
        f"bridge fdb replace {peer} dst 192.0.2.77 dev nictl.1",
        "ip neighbour add 10.244.99.0 lladdr 02:00:00:00:00:97 dev nictl.1 nud permanent",
        "ip route del 10.244.2.0/24",
        "ip link set eth0 down; ip link set eth0 up; ip route add default via 192.0.2.1",
    ):
        host.sh(script)
        until(lambda: healed(wanted), f"this is healed: {script}", timeout_s=3)
    assert pings(host, "10.244.1.10", "10.244.2.10")
    assert (
        agent.metric("nodeipam_heal_seconds_sum") / agent.metric("nodeipam_heal_seconds_count")
        < 0.2 * PATIENCE
    )


def test_direct_routing_follows_the_peer_across_subnets(cluster: Cluster) -> None:
    nodes = start(cluster, "n1", "n2", "n3", flags=("--backend", "vxlan", "--direct-routing"))
    host, _ = nodes["n1"]
    tunnelled = "10.244.3.0/24 via 10.244.3.0 dev nictl.1 metric 103 onlink"
    assert host.routes() == ["10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102", tunnelled, SINK]
    assert neighbours(host, "nictl.1") == [f"10.244.3.0 {mac(cluster, 'n3')}"]
    assert fdb(host, "nictl.1") == [f"{mac(cluster, 'n3')} 198.51.100.13"]
    assert pings(host, "10.244.1.10", "10.244.2.10")
    assert pings(host, "10.244.1.10", "10.244.3.10")
    assert nodes["n3"][0].routes() == [
        "10.244.1.0/24 via 10.244.1.0 dev nictl.1 metric 101 onlink",
        "10.244.2.0/24 via 10.244.2.0 dev nictl.1 metric 102 onlink",
        "unreachable 10.244.3.0/24 metric 4278198272",
    ]
    nodes["n2"][1].stop()  # its connection to the API server would hang on the old address for half a minute
    nodes["n2"][0].sh(
        "ip address flush dev eth0; ip address add 198.51.100.12/24 dev eth0; ip route add default via 198.51.100.1"
    )
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("198.51.100.12",))
    cluster.start_agent(nodes["n2"][0], "n2", "--backend", "vxlan", "--direct-routing")
    moved = "10.244.2.0/24 via 10.244.2.0 dev nictl.1 metric 102 onlink"
    until(lambda: host.routes() == [moved, tunnelled, SINK], "n2 is behind the tunnel")
    until(lambda: f"{mac(cluster, 'n2')} 198.51.100.12" in fdb(host, "nictl.1"), "its tunnel leads there")
    until(lambda: pings(host, "10.244.1.10", "10.244.2.10"), "its pods answer again")


def test_a_node_recreated_under_its_name_leaves_nothing_of_the_old_one(cluster: Cluster) -> None:
    nodes = start(cluster, "n1")
    host, _ = nodes["n1"]
    cluster.remove("n2")
    cluster.add("n2", pod_cidrs=("10.244.9.0/24",), addresses=("192.0.2.22",))
    fresh = mac(cluster, "n2")
    until(
        lambda: "10.244.9.0/24 via 10.244.9.0 dev nictl.1 metric 109 onlink" in host.routes(),
        "the new block has a route",
    )
    until(lambda: len(host.routes()) == 3, "the old block has none")
    assert f"{fresh} 192.0.2.22" in fdb(host, "nictl.1")
    assert len(fdb(host, "nictl.1")) == len(neighbours(host, "nictl.1")) == 2


def test_a_shrinking_underlay_mtu_reaches_device_and_pods(cluster: Cluster) -> None:
    nodes = start(cluster, "n1")
    host, agent = nodes["n1"]
    host.run("ip", "link", "set", "eth0", "mtu", "1400")
    until(lambda: host.ip("link", "show", "nictl.1")[0]["mtu"] == 1350, "the device follows")
    until(lambda: json.loads(agent.conflist.read_text())["plugins"][0]["mtu"] == 1350, "the conflist follows")


def test_a_restart_changes_nothing_and_keeps_the_mac(cluster: Cluster) -> None:
    nodes = start(cluster, "n1", "n2")
    host, agent = nodes["n1"]
    before = host.ip("link", "show", "nictl.1")
    agent.stop()
    again = cluster.start_agent(host, "n1", "--backend", "vxlan")
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0
    assert host.ip("link", "show", "nictl.1")[0]["ifindex"] == before[0]["ifindex"]


def test_gpe_needs_one_route_a_peer_and_nothing_else(cluster: Cluster) -> None:
    nodes = start(cluster, "n1", "n2", "n3", flags=("--backend", "vxlan-gpe"))
    host, agent = nodes["n1"]
    assert host.routes() == [
        "10.244.2.0/24 encap ip id 1 src 0.0.0.0 dst 192.0.2.12 ttl 0 tos 0 dev nictl-gpe scope link metric 102",
        "10.244.3.0/24 encap ip id 1 src 0.0.0.0 dst 198.51.100.13 ttl 0 tos 0 dev nictl-gpe scope link metric 103",
        SINK,
    ]
    assert neighbours(host, "nictl-gpe") == []
    assert json.loads(agent.conflist.read_text())["plugins"][0]["mtu"] == 1464
    assert pings(host, "10.244.1.10", "10.244.2.10", "-M", "do", "-s", "1436")
    assert pings(host, "10.244.1.10", "10.244.3.10")
    agent.stop()
    again = cluster.start_agent(host, "n1", "--backend", "vxlan-gpe")
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0


@pytest.mark.parametrize(
    ("before", "after"), [("host-gw", "vxlan"), ("vxlan", "host-gw"), ("vxlan", "vxlan-gpe")]
)
def test_a_cluster_changes_its_backend_node_by_node_while_pods_talk(
    cluster: Cluster, before: str, after: str
) -> None:
    del ADDRESSES["n3"]
    try:
        nodes = start(cluster, "n1", "n2", flags=("--backend", before))
        host, _ = nodes["n1"]
        for flags in (
            ("--backend", before, "--also-accept", after),
            ("--backend", after, "--also-accept", before),
            ("--backend", after),
        ):
            for name, (machine, agent) in nodes.items():
                agent.stop()
                renewed = cluster.start_agent(machine, name, *flags)
                ready = len(agent.lines("node_ready"))
                until(lambda: len(renewed.lines("node_ready")) > ready, f"{name} is ready")  # noqa: B023
                nodes[name] = (machine, renewed)
                assert pings(host, "10.244.1.10", "10.244.2.10"), f"{name} with {flags}"
    finally:
        ADDRESSES["n3"] = "198.51.100.13"
    devices = {link["ifname"] for link in host.ip("link")}
    assert ("nictl.1" in devices) == (after == "vxlan")
    assert ("nictl-gpe" in devices) == (after == "vxlan-gpe")
