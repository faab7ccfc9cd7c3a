"""What somebody changes of ours, in whatever attribute, is put right by the kernel's events alone: no audit comes meanwhile."""

from __future__ import annotations

import pytest

from nodeipam_ctl.prefixes import Family
from tests.agent.cluster import Agent, Cluster, until
from tests.agent.test_vxlan import mac
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

HOST_GW = [
    "ip route replace 10.244.2.0/24 via 192.0.2.12 proto 112 metric 102 mtu 500",
    "ip route replace 10.244.2.0/24 via 192.0.2.12 proto 112 metric 102 src 192.0.2.11",
    "ip route replace 10.244.2.0/24 proto 112 metric 102 nexthop via 192.0.2.12 nexthop via 192.0.2.99",
    "ip route append 10.244.2.0/24 via 192.0.2.99 proto 112 metric 102",
    "ip route prepend 10.244.2.0/24 via 192.0.2.99 proto 112 metric 102",
    "ip route replace blackhole 10.244.2.0/24 proto 112 metric 102",
    "ip route add 10.244.2.0/24 via 192.0.2.99 proto 112 metric 5",
    "ip route add 10.244.2.0/25 via 192.0.2.99 proto 112 metric 5",
    "ip route add throw 10.244.2.128/25 proto 112 metric 5",
    "ip route replace throw 10.244.1.0/24 proto 112 metric 4278198272",
    "ip -6 route append fd00:244:0:2::/64 via fd00:10::99 proto 112 metric 100",
    "ip -6 route replace fd00:244:0:2::/64 via fd00:10::12 dev eth0 proto 112 metric 100 mtu 1300",
]
VXLAN = [
    "bridge fdb replace {mac} dev nictl.1 dst 192.0.2.12 port 9999 self permanent",
    "bridge fdb replace {mac} dev nictl.1 dst 192.0.2.12 vni 77 self permanent",
    "bridge fdb replace {mac} dev nictl.1 dst 192.0.2.12 via eth0 self permanent",
    "bridge fdb replace {mac} dev nictl.1 dst 192.0.2.12 self dynamic",
    "bridge fdb replace {mac6} dev nictl-v6.1 dst fd00:10::99 self permanent",
    "bridge fdb add 02:00:00:00:00:07 dev nictl.1 dst 192.0.2.98 port 9999 self permanent",
    "for a in 97 98 99; do bridge fdb append 00:00:00:00:00:00 dev nictl.1 dst 192.0.2.$a self permanent; done",
    "ip neighbour replace 10.244.2.0 lladdr {mac} dev nictl.1 nud reachable",
    "ip neighbour replace fd00:244:0:2:: lladdr 02:00:00:00:00:01 dev nictl-v6.1 nud stale",
    "ip link del nictl.1; ip link add nictl.1 type vxlan id 1 dstport 8472 local 192.0.2.99 || true",
]
GPE = [
    "ip route replace 10.244.2.0/24 encap ip id 1 dst 192.0.2.12 ttl 1 dev nictl-gpe proto 112 metric 102 scope link",
    "ip route replace 10.244.2.0/24 encap ip id 1 dst 192.0.2.12 src 192.0.2.99 dev nictl-gpe proto 112 metric 102 scope link",
    "ip route replace 10.244.2.0/24 encap ip id 2 dst 192.0.2.12 dev nictl-gpe proto 112 metric 102 scope link",
    "ip -6 route replace fd00:244:0:2::/64 encap ip6 id 1 dst fd00:10::12 dev nictl-gpe proto 112 metric 100",
]


@pytest.mark.parametrize(("backend", "scripts"), [("host-gw", HOST_GW), ("vxlan", VXLAN), ("vxlan-gpe", GPE)])
def test_puts_right_whatever_was_changed(cluster: Cluster, backend: str, scripts: list[str]) -> None:
    host, agent = start(cluster, backend)
    macs = {"mac": mac(cluster, "n2"), "mac6": mac(cluster, "n2", Family.IPV6)}
    wanted = seen(host)
    for script in scripts:
        host.sh(script.format(**macs))
        until(lambda: seen(host) == wanted, f"this is put right: {script}", timeout_s=3)
    assert cluster.condition("n1") == ("False", "NodeIPAMRoutesReady")
    turns = agent.metric("nodeipam_turn_seconds_count")
    host.run("ping", "-c", "1", "-W", "2", "192.0.2.1")
    assert agent.metric("nodeipam_turn_seconds_count") <= turns + 1, "what was put right is left alone"


def test_a_device_that_goes_takes_no_node_out_of_service(cluster: Cluster) -> None:
    host, agent = start(cluster, "vxlan")
    wanted = seen(host)
    told = len(agent.lines("node_ready")), len(agent.lines("condition_written"))
    for _ in range(5):
        host.run("ip", "link", "del", "nictl.1")
        until(lambda: seen(host) == wanted, "the device and all on it are back", timeout_s=3)
    turns = agent.metric("nodeipam_turn_seconds_count")
    host.run("ip", "route", "del", "10.244.3.0/24", "proto", "112")
    until(lambda: agent.metric("nodeipam_turn_seconds_count") > turns, "later turns are over as well")
    assert (len(agent.lines("node_ready")), len(agent.lines("condition_written"))) == told
    assert not agent.lines("host_change_failed"), "that entries went before their device is no failure"


def test_a_foreign_route_for_one_type_of_service_is_no_conflict(cluster: Cluster) -> None:
    host, agent = start(cluster, "host-gw")
    wanted = seen(host)
    host.run("ip", "route", "add", "10.244.2.0/24", "tos", "0x10", "via", "192.0.2.99", "metric", "102")
    host.run("ip", "route", "del", "10.244.3.0/24", "proto", "112")
    until(lambda: set(seen(host)) == set(wanted), "the host was read again", timeout_s=3)
    assert not agent.lines("finding")


def start(cluster: Cluster, backend: str) -> tuple[Namespace, Agent]:
    """Node n1 with an agent that knows two others, of both families."""
    for number in (1, 2, 3):
        cluster.add(
            f"n{number}",
            pod_cidrs=(f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64"),
            addresses=(f"192.0.2.1{number}", f"fd00:10::1{number}"),
        )
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1", "--backend", backend, "--audit-period", "120")
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    until(lambda: cluster.condition("n1") is not None, "its Node says so")
    return host, agent


def seen(host: Namespace) -> list[str]:
    """Routes, neighbours and FDB entries of ours, with every attribute."""
    text = "".join(
        host.run(*command.split())
        for command in (
            "ip -4 -d route show proto 112",
            "ip -6 -d route show proto 112",
            "ip neighbour show nud permanent",
            "bridge fdb show",
        )
    )
    return sorted(" ".join(line.split()) for line in text.splitlines() if "dev eth0 self" not in line)
