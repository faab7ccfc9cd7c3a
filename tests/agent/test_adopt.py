"""Taking over from another agent: no packet lost, nothing of it left, nothing of others touched."""

from __future__ import annotations

import pytest

from tests.agent.cluster import Cluster, until
from tests.agent.test_masquerade import pool

pytestmark = pytest.mark.kernel

SINK = "unreachable 10.244.1.0/24 metric 4278198272"


@pytest.mark.parametrize(
    ("name", "protocol", "conflist"),
    [
        ("flannel", "boot", "10-flannel.conflist"),
        ("kindnet", "boot", "10-kindnet.conflist"),
        ("kube-router", "17", "10-kuberouter.conflist"),
    ],
)
def test_takes_over_routes_and_files_of_a_predecessor(
    cluster: Cluster, name: str, protocol: str, conflist: str
) -> None:
    cluster.install_crds()
    cluster.apply(pool("default", "10.244.0.0/16"))
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    host = cluster.segment.host("192.0.2.11/24")
    host.sh(f"""
        ip route add 10.244.2.0/24 via 192.0.2.12 proto {protocol}
        ip route add 10.244.77.0/24 via 192.0.2.77 proto {protocol}
        ip route add 203.0.113.0/24 via 192.0.2.12 proto {protocol}
        ip route add 10.244.78.0/24 via 192.0.2.78 proto static
    """)
    directory = cluster.directory("n1") / "net.d"
    directory.mkdir()
    (directory / conflist).write_text("{}")
    (directory / "99-other.conflist").write_text("{}")
    agent = cluster.start_agent(host, "n1", "--adopt", name)
    until(agent.conflist.exists, "the conflist is there")
    until(lambda: not (directory / conflist).exists(), "the predecessor's is gone")
    until(lambda: "10.244.77.0/24" not in host.run("ip", "route"), "its stale route is gone")
    until(lambda: agent.lines("node_ready"), "the first turn is told")
    assert host.routes() == ["10.244.2.0/24 via 192.0.2.12 dev eth0 metric 100", SINK]
    kept = [line.split()[0] for line in host.run("ip", "route").splitlines() if "proto 112" not in line]
    assert kept == ["10.244.78.0/24", "192.0.2.0/24", "203.0.113.0/24"]
    assert (directory / "99-other.conflist").exists()
    changes = [(e["op"], e["object"]) for e in agent.lines("host_changed") if "10.244.2.0/24" in e["object"]]
    assert [op for op, _ in changes] == ["add", "remove"], "ours was there before theirs went"
    agent.stop()
    again = cluster.start_agent(host, "n1", "--adopt", name)
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0
