"""Storms: thousands of foreign routes, dumps that never stand still, kills at any moment. The host ends as wanted, always."""

from __future__ import annotations

import random
import signal
import subprocess

import pytest

from tests.agent.cluster import Cluster, until

pytestmark = pytest.mark.kernel

SINK = "unreachable 10.244.1.0/24 metric 4278198272"
TO_N2 = "10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102"


def storm(count: int, verb: str) -> str:
    """`ip -batch` lines for foreign routes."""
    return "".join(
        f"route {verb} 172.{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32 dev eth0 proto static\n"
        for i in range(count)
    )


def test_a_storm_of_foreign_routes_hides_no_change_of_ours(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1")
    until(lambda: host.routes() == [TO_N2, SINK], "the host is as wanted")
    agent.process.send_signal(signal.SIGSTOP)  # deaf: the socket's buffer overruns
    host.run("ip", "-batch", "-", stdin=storm(60_000, "add"))
    host.run("ip", "route", "del", "10.244.2.0/24")
    agent.process.send_signal(signal.SIGCONT)
    until(lambda: TO_N2 in host.routes(), "our route is back")
    assert agent.process.poll() is None
    host.run("ip", "-batch", "-", stdin=storm(60_000, "del"))
    assert host.routes() == [TO_N2, SINK]


def test_foreign_churn_during_audits_changes_nothing_of_ours(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    for number in range(2, 250):
        cluster.add(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=(f"192.0.2.{number}",))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--audit-period", "1")
    until(lambda: len(host.routes()) == 248, "every peer but the one at our own address has its route")
    until(agent.conflist.exists, "the conflist is there")
    turns = agent.metric("nodeipam_turn_seconds_count")
    changes = agent.metric("nodeipam_host_changes_total")
    while agent.metric("nodeipam_turn_seconds_count") < turns + 4:
        host.run("ip", "-batch", "-", stdin=storm(3000, "add") + storm(3000, "del"))
    assert agent.metric("nodeipam_host_changes_total") == changes
    assert agent.process.poll() is None


def test_killed_at_any_moment_it_ends_as_wanted(cluster: Cluster) -> None:
    chance = random.Random(5)
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    present: dict[int, int] = {}
    for _ in range(8):
        for number in chance.sample(range(2, 40), 6):
            if number in present and chance.random() < 0.5:
                del present[number]
                cluster.remove(f"m{number}")
            else:
                present[number] = chance.randrange(12, 200)
                cluster.add(
                    f"m{number}",
                    pod_cidrs=(f"10.244.{number}.0/24",),
                    addresses=(f"192.0.2.{present[number]}",),
                )
        agent = cluster.start_agent(host, "n1", "--backend", "vxlan")
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(chance.uniform(0.2, 0.7))
        agent.stop(signal.SIGKILL)
    agent = cluster.start_agent(host, "n1", "--backend", "vxlan", "--mass-removal-delay", "0.5")
    wanted = sorted(
        [f"10.244.{n}.0/24 via 10.244.{n}.0 dev nictl.1 metric {100 + n % 64} onlink" for n in present]
        + [SINK]
    )
    until(lambda: host.routes() == wanted, "the routes are as wanted", timeout_s=15)
    fdb = [x for x in host.run("bridge", "fdb", "show", "dev", "nictl.1").splitlines() if "dst" in x]
    assert sorted(x.split()[2] for x in fdb) == sorted(f"192.0.2.{address}" for address in present.values())
