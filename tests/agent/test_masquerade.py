"""Whose address does a packet carry? Real nftables, real packets between namespaces."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

POD = "10.244.1.10"
OUTSIDE = "192.0.2.200"


def pool(name: str, *cidrs: str) -> dict[str, object]:
    return {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "ClusterCIDR",
        "metadata": {"name": name},
        "spec": {"ipv4": {"cidrs": list(cidrs), "nodeMaskSize": 24}},
    }


def start(cluster: Cluster, *flags: str) -> tuple[Namespace, Namespace, Agent]:
    """Node n1 with a pod address, an outside host that knows the way back, and an agent on n1."""
    cluster.install_crds()
    cluster.apply(pool("default", "10.244.0.0/16"))
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    host.run("ip", "address", "add", f"{POD}/32", "dev", "lo")
    outside = cluster.segment.host(f"{OUTSIDE}/24")
    outside.sh(
        "ip route add 10.244.1.0/24 via 192.0.2.11;"
        "for a in 10.244.2.10 10.250.0.1 198.18.0.1; do ip address add $a/32 dev lo; done"
    )
    host.sh("for a in 10.250.0.0/16 198.18.0.0/15; do ip route add $a via 192.0.2.200; done")
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=(OUTSIDE,))
    agent = cluster.start_agent(host, "n1", *flags)
    until(agent.conflist.exists, "the conflist is there")
    return host, outside, agent


@contextmanager
def listening(namespace: Namespace, address: str) -> Iterator[socket.socket]:
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.settimeout(5)
        yield sock


def seen_as(host: Namespace, outside: Namespace, *, source: str, target: str, mark: int = 0) -> str:
    """The source address with which a packet arrives."""
    with listening(outside, target) as receiver, listening(host, source) as sender:
        if mark:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sender.sendto(b"x", receiver.getsockname())
        address: str = receiver.recvfrom(16)[1][0]
        return address


def test_only_what_leaves_the_pod_network_is_masqueraded(cluster: Cluster) -> None:
    host, outside, _ = start(cluster, "--non-masquerade-cidr", "198.18.0.0/15")
    table = [
        # (source, destination, mark, seen as)
        (POD, "10.244.2.10", 0, POD),  # a pod of another node
        (POD, OUTSIDE, 0, "192.0.2.11"),  # outside, and other nodes' own addresses
        (POD, "198.18.0.1", 0, POD),  # exempt by flag
        (POD, "10.250.0.1", 0, "192.0.2.11"),  # not a range of the cluster, yet
        (POD, OUTSIDE, 0x4000, POD),  # marked: kube-proxy decides
        (POD, OUTSIDE, 0x4001, POD),  # the mark is masked
        ("192.0.2.11", "10.244.2.10", 0, "192.0.2.11"),  # the host's own packets
    ]
    for source, target, mark, expected in table:
        assert seen_as(host, outside, source=source, target=target, mark=mark) == expected, (
            source,
            target,
            mark,
        )
    cluster.apply(pool("second", "10.250.0.0/16"))
    until(
        lambda: seen_as(host, outside, source=POD, target="10.250.0.1") == POD,
        "the new range is exempt, live",
    )


def test_puts_a_disturbed_table_right_and_leaves_others_alone(cluster: Cluster) -> None:
    host, _, agent = start(cluster)
    host.sh(
        "nft add table inet other; nft 'add chain inet other c { type nat hook postrouting priority 0; }'"
    )
    wanted = host.run("nft", "-s", "list", "table", "inet", "nodeipam")
    other = host.run("nft", "list", "table", "inet", "other")
    for script in ("nft flush chain inet nodeipam postrouting", "nft delete table inet nodeipam"):
        host.sh(script)
        until(
            lambda: host.run("nft", "-s", "list", "table", "inet", "nodeipam", check=False) == wanted,
            f"this is healed: {script}",
            timeout_s=3,
        )
    assert host.run("nft", "list", "table", "inet", "other") == other
    until(lambda: agent.metric("nodeipam_drift_repaired_total") >= 2, "both are counted")


def test_a_restart_does_not_touch_the_table_and_switching_off_removes_it(cluster: Cluster) -> None:
    host, _, agent = start(cluster)
    with_handles = host.run("nft", "-a", "list", "table", "inet", "nodeipam")
    agent.stop()
    again = cluster.start_agent(host, "n1")
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0
    assert host.run("nft", "-a", "list", "table", "inet", "nodeipam") == with_handles
    again.stop()
    off = cluster.start_agent(host, "n1", "--no-masquerade")
    until(lambda: len(off.lines("node_ready")) == 3, "it is ready again")
    assert json.loads(host.run("nft", "-j", "list", "tables"))["nftables"][1:] == []


def test_names_chains_of_others_that_drop_forwarded_packets_when_it_may_not_help(cluster: Cluster) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    host.sh(
        "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'"
    )
    agent = cluster.start_agent(host, "n1", "--no-forward-accept")
    until(lambda: agent.lines("finding"), "it is reported")
    assert [(e["code"], e["subject"]) for e in agent.lines("finding")] == [
        ("ForwardDropped", "chain/ip filter FORWARD")
    ]


def test_no_packet_escapes_unmasqueraded_while_the_ranges_change(cluster: Cluster) -> None:
    host, outside, agent = start(cluster)

    def replaced() -> int:
        return len([e for e in agent.lines("host_changed") if e["kind"] == "nft table"])

    seen: set[str] = set()
    for number in range(10):
        before = replaced()
        cluster.apply(pool("moving", f"10.{100 + number}.0.0/16"))
        with listening(outside, OUTSIDE) as receiver:
            target = receiver.getsockname()

            def flow() -> bool:
                """A new flow from a port of its own; whether the table has been replaced meanwhile."""
                with listening(host, POD) as sender:
                    sender.sendto(b"x", target)  # noqa: B023
                seen.add(receiver.recvfrom(16)[1][0])
                return replaced() > before  # noqa: B023

            until(flow, "the table has been replaced")
    assert seen == {"192.0.2.11"}


def test_a_pool_that_cannot_be_read_any_more_keeps_its_ranges(cluster: Cluster) -> None:
    host, outside, agent = start(cluster)
    cluster.install_crds(lax="ClusterCIDR")
    cluster.apply({**pool("default"), "spec": {"ipv4": "10.244.0.0/16"}})
    until(lambda: agent.lines("finding"), "the pool is named")
    assert agent.lines("finding")[0]["subject"] == "clustercidr/default"
    cluster.apply(pool("more", "10.250.0.0/16"))
    until(lambda: "10.250.0.0/16" in host.run("nft", "list", "table", "inet", "nodeipam"), "life goes on")
    assert "10.244.0.0/16" in host.run("nft", "list", "table", "inet", "nodeipam")
    assert seen_as(host, outside, source=POD, target="10.244.2.10") == POD
