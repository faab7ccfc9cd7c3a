"""A node of ours beside a node set up exactly as flanneld does it: both reach each other's pods."""

from __future__ import annotations

import json

import pytest

from tests.agent.cluster import Cluster, until

pytestmark = pytest.mark.kernel

PREFIX = "flannel.alpha.coreos.com/"
THEIR_MAC = "5e:11:22:33:44:02"
THEIRS = {
    f"{PREFIX}kube-subnet-manager": "true",
    f"{PREFIX}backend-type": "vxlan",
    f"{PREFIX}backend-data": f'{{"VNI":1,"VtepMAC":"{THEIR_MAC}"}}',
    f"{PREFIX}public-ip": "192.0.2.12",
}
N2 = {"pod_cidrs": ("10.244.2.0/24",), "addresses": ("192.0.2.12",)}


def test_pods_of_both_kinds_of_nodes_reach_each_other(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", **N2, annotations=THEIRS)
    ours = cluster.segment.host("192.0.2.11/24")
    ours.run("ip", "address", "add", "10.244.1.10/32", "dev", "lo")
    agent = cluster.start_agent(ours, "n1", "--backend", "vxlan", "--flannel-compat")

    def published() -> dict[str, str]:
        found: dict[str, str] = cluster.read("n1")["metadata"].get("annotations", {})
        return {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}

    until(lambda: "backend-data" in published(), "our annotations are there")
    assert published()["backend-type"] == "vxlan"
    assert published()["public-ip"] == "192.0.2.11"
    mac = json.loads(published()["backend-data"])["VtepMAC"]
    assert ours.ip("link", "show", "flannel.1")[0]["address"] == mac

    theirs = cluster.segment.host("192.0.2.12/24")
    theirs.sh(f"""
        sysctl -qw net.ipv4.ip_forward=1
        ip address add 10.244.2.10/32 dev lo
        ip link add flannel.1 address {THEIR_MAC} type vxlan id 1 dev eth0 local 192.0.2.12 dstport 8472 nolearning
        ip address add 10.244.2.0/32 dev flannel.1
        ip link set flannel.1 mtu 1450 up
        ip neighbour add 10.244.1.0 lladdr {mac} dev flannel.1 nud permanent
        bridge fdb add {mac} dev flannel.1 dst 192.0.2.11 self permanent
        ip route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
    """)
    for host, source, target in (
        (ours, "10.244.1.10", "10.244.2.10"),
        (theirs, "10.244.2.10", "10.244.1.10"),
    ):
        assert " 0% packet loss" in host.run("ping", "-c", "1", "-W", "2", "-I", source, target)

    rotated = "5e:11:22:33:44:99"
    theirs.sh(  # a change of MAC makes the kernel forget the device's neighbours
        f"ip link set flannel.1 address {rotated};"
        f"ip neighbour replace 10.244.1.0 lladdr {mac} dev flannel.1 nud permanent"
    )
    cluster.add(
        "n2", **N2, annotations={**THEIRS, f"{PREFIX}backend-data": f'{{"VNI":1,"VtepMAC":"{rotated}"}}'}
    )
    until(lambda: rotated in ours.run("ip", "neighbour", "show", "dev", "flannel.1"), "the new MAC is known")
    fdb = ours.run("bridge", "fdb", "show", "dev", "flannel.1")
    assert rotated in fdb
    assert THEIR_MAC not in fdb
    assert " 0% packet loss" in ours.run("ping", "-c", "1", "-W", "2", "-I", "10.244.1.10", "10.244.2.10")
    agent.stop()
    again = cluster.start_agent(ours, "n1", "--backend", "vxlan", "--flannel-compat")
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0


def test_of_nodes_with_one_mac_the_older_keeps_its_pods_and_the_next_takes_its_place(
    cluster: Cluster,
) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", **N2, annotations=THEIRS)
    clone = {"pod_cidrs": ("10.244.3.0/24",), "addresses": ("192.0.2.13",)}
    cloned = {**THEIRS, f"{PREFIX}public-ip": "192.0.2.13"}
    cluster.add("n3", **clone, annotations=cloned)
    ours = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(ours, "n1", "--backend", "vxlan", "--flannel-compat")

    def state() -> set[str]:
        shown = (
            *ours.run("bridge", "fdb", "show", "dev", "flannel.1").splitlines(),
            *ours.run("ip", "neighbour", "show", "dev", "flannel.1", "nud", "permanent").splitlines(),
            *ours.run("ip", "route", "show", "dev", "flannel.1").splitlines(),
        )
        return {" ".join(line.split()[:3]) for line in shown}

    def reached(number: int) -> set[str]:
        block = f"10.244.{number}.0"
        return {
            f"{THEIR_MAC} dst 192.0.2.1{number}",
            f"{block} lladdr {THEIR_MAC}",
            f"{block}/24 via {block}",
        }

    until(lambda: agent.lines("node_ready"), "it is ready")
    until(lambda: state() == reached(2), "the older node is reached, and only that one")
    (said,) = agent.lines("finding")
    assert (said["code"], said["subject"]) == ("VtepMACShared", "node/n3")

    cluster.remove("n2")
    until(lambda: state() == reached(3), "the MAC is the other node's now")
    assert agent.lines("finding_cleared")[-1]["subject"] == "node/n3"

    own = ours.ip("link", "show", "flannel.1")[0]["address"]
    cloned[f"{PREFIX}backend-data"] = f'{{"VNI":1,"VtepMAC":"{own}"}}'
    cluster.add("n3", **clone, annotations=cloned)
    until(lambda: state() == set(), "nothing is sent to a node with our own MAC")
    assert "is this node's own" in agent.lines("finding")[-1]["message"]
