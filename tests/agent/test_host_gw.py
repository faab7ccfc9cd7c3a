"""The agent with host-gw, as a real process in a namespace of the real kernel, against the embedded API server."""

from __future__ import annotations

import json
import signal

import pytest

from tests.agent.cluster import Cluster, until
from tests.patience import PATIENCE

pytestmark = pytest.mark.kernel

N1 = {"pod_cidrs": ("10.244.1.0/24", "fd00:244:0:1::/64"), "addresses": ("192.0.2.11", "fd00:10::11")}
N2 = {"pod_cidrs": ("10.244.2.0/24", "fd00:244:0:2::/64"), "addresses": ("192.0.2.12", "fd00:10::12")}
N3 = {"pod_cidrs": ("10.244.3.0/24",), "addresses": ("192.0.2.13",)}

SINKS = [
    "unreachable 10.244.1.0/24 metric 4278198272",
    "unreachable fd00:244:0:1::/64 dev lo metric 4278198272 pref medium",
]
TO_N2 = [
    "10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102",
    "fd00:244:0:2::/64 via fd00:10::12 dev eth0 metric 100 pref medium",
]
TO_N3 = ["10.244.3.0/24 via 192.0.2.13 dev eth0 metric 103"]


def test_programs_routes_and_writes_the_conflist_last(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    assert host.routes() == sorted(TO_N2 + SINKS)
    assert host.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding").split() == [
        "1",
        "1",
    ]
    ptp = json.loads(agent.conflist.read_text())["plugins"][0]
    assert ptp["type"] == "ptp"
    assert ptp["mtu"] == 1500
    assert ptp["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:244:0:1::/64"}]]
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    until(lambda: cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the condition is False")


def test_follows_nodes_that_come_move_and_go(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    cluster.start_agent(host, "n1")
    until(lambda: host.routes() == SINKS, "there are only the sinks")
    cluster.add("n2", **N2)
    cluster.add("n3", **N3)
    until(lambda: host.routes() == sorted(TO_N2 + TO_N3 + SINKS), "both peers have routes")
    cluster.remove("n2")
    until(lambda: host.routes() == sorted(TO_N3 + SINKS), "the deleted node's routes are gone")
    cluster.add("n3", pod_cidrs=N3["pod_cidrs"], addresses=("192.0.2.33",))
    until(lambda: "192.0.2.33" in "".join(host.routes()), "the route has the new next hop")
    assert len(host.routes()) == 3


def test_a_restart_on_a_healthy_node_changes_nothing(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    first = cluster.start_agent(host, "n1")
    until(lambda: cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the condition is False")
    before = host.run("ip", "-4", "route"), host.run("ip", "-6", "route"), first.conflist.stat().st_mtime_ns
    assert first.stop() == 0
    assert (host.run("ip", "-4", "route"), host.run("ip", "-6", "route")) == before[:2], (
        "forwarding must stay"
    )
    version = cluster.resource_version("n1")
    second = cluster.start_agent(host, "n1")
    until(
        lambda: len(second.lines("agent_started")) == 2 and second.get("/readyz")[0] == 200,
        "it is ready again",
    )
    assert second.metric("nodeipam_host_changes_total") == 0
    assert first.conflist.stat().st_mtime_ns == before[2]
    assert cluster.resource_version("n1") == version


def test_stops_within_a_second_and_leaves_forwarding(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    assert agent.stop(signal.SIGTERM, timeout_s=1.0) == 0
    assert host.routes() == sorted(TO_N2 + SINKS)
    assert agent.conflist.exists()


def test_removes_what_became_stale_while_it_was_down(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(lambda: host.routes() == sorted(TO_N2 + TO_N3 + SINKS), "both peers have routes")
    agent.stop(signal.SIGKILL)
    cluster.remove("n3")
    cluster.start_agent(host, "n1")
    until(lambda: host.routes() == sorted(TO_N2 + SINKS), "the stale route is gone")


def test_waits_for_its_pod_cidr_and_routes_to_peers_meanwhile(cluster: Cluster) -> None:
    cluster.add("n1", addresses=N1["addresses"])
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(lambda: host.routes() == TO_N2, "the peer has its routes")
    until(lambda: cluster.condition("n1") == ("True", "WaitingForPodCIDR"), "the condition says why")
    code, text = agent.get("/readyz")
    assert code == 503
    assert "WaitingForPodCIDR: node n1 has no podCIDR yet" in text
    assert not agent.conflist.exists()
    cluster.add("n1", **N1)
    until(agent.conflist.exists, "the conflist is there")
    until(lambda: cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the condition is False")
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    assert len(agent.lines("agent_started")) == 1, "the same process all the time"


def test_never_touches_a_foreign_route_and_takes_its_place_once_it_is_gone(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    host.run("ip", "route", "add", "10.244.2.0/24", "via", "192.0.2.99", "proto", "static", "metric", "102")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    assert host.routes() == sorted(TO_N2[1:] + TO_N3 + SINKS)
    assert "via 192.0.2.99" in host.run("ip", "route", "show", "10.244.2.0/24")
    assert [entry["code"] for entry in agent.lines("finding")] == ["RouteConflict"]
    assert agent.metric("nodeipam_route_conflicts") == 1
    host.run("ip", "route", "del", "10.244.2.0/24", "via", "192.0.2.99")
    until(lambda: host.routes() == sorted(TO_N2 + TO_N3 + SINKS), "our route has its place", timeout_s=1)


def test_heals_what_somebody_else_breaks_within_200_ms(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    wanted = sorted(TO_N2 + TO_N3 + SINKS)
    until(lambda: agent.lines("node_ready"), "the first turn is over")
    assert host.routes() == wanted
    for script in (
        "ip route del 10.244.2.0/24",
        "ip route replace 10.244.3.0/24 via 192.0.2.12 proto 112 metric 103",
        "ip route del unreachable 10.244.1.0/24 metric 4278198272",
        "sysctl -qw net.ipv4.ip_forward=0",
        "ip link set eth0 down; ip link set eth0 up; ip -6 address add fd00:10::11/64 dev eth0 nodad",
    ):
        host.sh(script)
        until(
            lambda: (
                host.routes() == wanted and host.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
            ),
            f"this is healed: {script}",
            timeout_s=3,
        )
    # Where the link stays down for a whole turn, nothing is wanted meanwhile, and what comes back with it was not broken.
    until(lambda: agent.metric("nodeipam_drift_repaired_total") >= 4, "all are counted")
    assert (
        agent.metric("nodeipam_heal_seconds_sum") / agent.metric("nodeipam_heal_seconds_count")
        < 0.2 * PATIENCE
    )


def test_keeps_routes_and_says_so_once_while_the_api_is_away(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    wanted = sorted(TO_N2 + TO_N3 + SINKS)
    until(lambda: host.routes() == wanted, "the host is as wanted")
    cluster.do(cluster.api.stop())
    host.run("ip", "route", "del", "10.244.2.0/24")
    until(lambda: host.routes() == wanted, "the route is healed without the API", timeout_s=3)
    until(lambda: agent.get("/readyz")[0] == 503, "it says that it is out of date")
    until(lambda: agent.lines("api_server_lost"), "the log says it")
    assert len(agent.lines("api_server_lost")) == 1
    cluster.do(cluster.api.start())
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready again", timeout_s=20)


def test_an_empty_list_removes_nothing(cluster: Cluster) -> None:
    for name, fields in (("n1", N1), ("n2", N2), ("n3", N3)):
        cluster.add(name, **fields)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    wanted = sorted(TO_N2 + TO_N3 + SINKS)
    until(lambda: host.routes() == wanted, "the host is as wanted")
    cluster.replace_history_by_an_empty_list()
    until(lambda: agent.lines("node_not_ready"), "it says that it is not known", timeout_s=20)
    assert "WaitingForNode" in agent.lines("node_not_ready")[0]["reason"]
    assert host.routes() == wanted
    assert agent.conflist.exists()


def test_a_mass_removal_waits_for_a_second_complete_list(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    many = [f"m{number}" for number in range(40)]
    for number, name in enumerate(many):
        cluster.add(name, pod_cidrs=(f"10.244.{100 + number}.0/24",), addresses=("192.0.2.12",))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(lambda: len(host.routes()) == 42, "every peer has its route")
    agent.stop()
    for name in many[:30]:
        cluster.remove(name)
    agent = cluster.start_agent(host, "n1", "--mass-removal-delay", "1")
    until(lambda: agent.lines("mass_removal_held"), "the removal is held")
    assert agent.metric("nodeipam_held_removals") == 30
    assert len(host.routes()) == 42
    until(lambda: len(host.routes()) == 12, "the second list settles it", timeout_s=40)


def test_a_peer_off_the_segment_is_reported_and_stops_nobody(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    cluster.add("n3", pod_cidrs=("10.244.3.0/24",), addresses=("198.51.100.13",))
    cluster.add("n4", pod_cidrs=("192.0.2.0/24",), addresses=("192.0.2.14",))
    cluster.add("n5", pod_cidrs=("10.244.5.0/24",))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    assert host.routes() == sorted(TO_N2 + SINKS)
    assert {(e["code"], e["subject"]) for e in agent.lines("finding")} == {
        ("PeerUnroutable", "node/n3"),
        ("PeerRefused", "node/n4"),
        ("PeerUnroutable", "node/n5"),
    }
    assert agent.metric("nodeipam_unroutable_peers") == 2
    status, body = agent.get("/readyz")
    assert status == 200, "one node out of reach is no reason to take this one out of service"
    (line,) = [line for line in body.splitlines() if "host ok" in line]
    assert line.startswith("[+]host ok: node/n3: ")
    assert line.endswith("(and 2 more)")


def test_loosens_the_source_check_of_the_underlay_and_keeps_router_advertisements(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    host.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    wanted = {
        "net.ipv4.conf.eth0.rp_filter": "2",
        "net.ipv4.ip_forward": "1",
        "net.ipv6.conf.all.forwarding": "1",
    }
    for name, value in wanted.items():
        assert host.run("sysctl", "-n", name).strip() == value
    code, _ = agent.get("/healthz")
    assert code == 200


def test_a_start_without_the_api_changes_nothing(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(lambda: host.routes() == sorted(TO_N2 + SINKS), "the host is as wanted")
    agent.stop(signal.SIGKILL)
    cluster.do(cluster.api.stop())
    host.run("ip", "route", "add", "10.244.9.0/24", "via", "192.0.2.12", "proto", "112", "metric", "100")
    before = host.routes()
    again = cluster.start_agent(host, "n1", "--audit-period", "1")
    until(lambda: again.lines("api_server_lost"), "it says that the API server is away")
    assert host.routes() == before, "not even what looks stale goes before the first complete list"
    assert again.get("/readyz")[0] == 503
    cluster.do(cluster.api.start())
    until(lambda: host.routes() == sorted(TO_N2 + SINKS), "the stale route goes now", timeout_s=30)


def test_leaves_the_condition_to_others_when_told_so(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1", "--no-network-unavailable")
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    assert cluster.condition("n1") is None


def test_a_better_route_of_somebody_that_was_there_before_the_node_is_named(cluster: Cluster) -> None:
    cluster.add("n1", **N1)
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    host.run("ip", "route", "add", "10.244.2.0/24", "via", "192.0.2.99", "proto", "static", "metric", "5")
    cluster.add("n2", **N2)
    until(
        lambda: "RouteShadowed" in {finding["code"] for finding in agent.lines("finding")},
        "it is named long before the audit",
        timeout_s=20,
    )
