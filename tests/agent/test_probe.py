"""Does the agent notice peers that packets do not reach, and change nothing because of it?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

_FAST = ("--probe-interval", "0.1")


def two(cluster: Cluster, *flags: str, family: int = 4) -> tuple[list[Namespace], list[Agent]]:
    """Two nodes that probe each other; none has a pod."""
    hosts, agents = [], []
    for n in (1, 2):
        pod_cidr = f"10.244.{n}.0/24" if family == 4 else f"fd00:244:0:{n}::/64"
        cluster.add(
            f"n{n}", pod_cidrs=(pod_cidr,), addresses=(f"192.0.2.1{n}" if family == 4 else f"fd00:10::1{n}",)
        )
        hosts.append(cluster.segment.host(f"192.0.2.1{n}/24", f"fd00:10::1{n}/64"))
    for n, host in enumerate(hosts, 1):
        agents.append(cluster.start_agent(host, f"n{n}", *flags, *_FAST))
        until(agents[-1].conflist.exists, "the conflist is there")
    return hosts, agents


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("how", ["icmp", "udp"])
@pytest.mark.parametrize("backend", ["host-gw", "vxlan", "vxlan-gpe"])
def test_a_peer_answers_although_it_has_no_pod(cluster: Cluster, backend: str, how: str, family: int) -> None:
    _, (agent, _) = two(cluster, "--probe", how, "--backend", backend, family=family)

    # One is enough: "unreachable" is said about once in two seconds (net.ipv4.icmp_ratelimit).
    until(lambda: agent.metric("nodeipam_probes_answered_total"), "a probe is answered")
    assert agent.metric("nodeipam_probe_rtt_seconds_count") >= 1
    assert agent.metric("nodeipam_probe_unreachable_peers") == 0


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param("ip link set eth0 down", id="the peer is gone: our own kernel says unreachable"),
        pytest.param(
            "nft add table inet f; nft 'add chain inet f c { type filter hook prerouting priority -300; policy drop; }'",
            id="the peer drops all silently",
        ),
    ],
)
def test_a_silent_peer_is_named_until_it_answers_and_keeps_its_route(cluster: Cluster, cut: str) -> None:
    (host, other), (agent, _) = two(cluster, "--probe", "icmp")
    other.run("ip", "address", "add", "10.244.2.1/32", "dev", "lo")  # the gateway of a pod
    until(lambda: agent.metric("nodeipam_probes_answered_total") >= 1, "a probe is answered")
    routes = host.routes()

    other.sh(cut)
    until(lambda: agent.lines("finding"), "the peer is named", timeout_s=30)

    (finding,) = agent.lines("finding")
    assert (finding["code"], finding["subject"]) == ("PeerUnreachable", "node/n2")
    until(lambda: agent.metric("nodeipam_probe_unreachable_peers") == 1, "it is counted")
    assert host.routes() == routes
    other.sh("ip link set eth0 up; nft flush ruleset")
    until(lambda: agent.lines("finding_cleared"), "it answers again")


def test_nothing_is_asked_by_default(cluster: Cluster) -> None:
    _, (agent, _) = two(cluster)

    assert "probe" not in agent.get("/metrics")[1]


def test_without_the_capability_for_it_nobody_is_asked_and_all_else_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24", "fd00:244:0:1::/64"), addresses=("192.0.2.11",))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    cluster.add("n3", pod_cidrs=("fd00:244:0:3::/64",), addresses=("192.0.2.13", "fd00:10::13"))
    host = cluster.segment.host("192.0.2.11/24", "fd00:10::11/64")
    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            host.inside(
                *("setpriv", "--pdeathsig", "KILL", "--bounding-set", "-net_raw"),
                *(sys.executable, "-m", "nodeipam_ctl", "agent", "--node-name", "n1", "--feed", "nodes"),
                *("--kubeconfig", str(config), "--cni-conf-dir", str(tmp_path / "net.d")),
                *("--log-format", "json", "--probe", "icmp", *_FAST),
            ),
            stdout=stream,
            stderr=stream,
            text=True,
        )
    agent = Agent(host, process, tmp_path, log)
    try:
        until(lambda: agent.lines("probe_failed"), "it is said")
        turns = agent.metric("nodeipam_turn_seconds_count")
        cluster.remove("n2")
        until(lambda: agent.metric("nodeipam_turn_seconds_count") > turns, "turns go on")
        (said,) = agent.lines("probe_failed")
        assert "CAP_NET_RAW" in said["reason"]
    finally:
        assert agent.stop() == 0
