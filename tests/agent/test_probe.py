"""Does the agent notice peers that packets do not reach, and change nothing because of it?"""

from __future__ import annotations

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
    assert agent.metric("nodeipam_probe_unreachable_peers") == 1
    assert host.routes() == routes
    other.sh("ip link set eth0 up; nft flush ruleset")
    until(lambda: agent.lines("finding_cleared"), "it answers again")


def test_nothing_is_asked_by_default(cluster: Cluster) -> None:
    _, (agent, _) = two(cluster)

    assert "probe" not in agent.get("/metrics")[1]
