"""Taking over from another agent: no packet lost, nothing of it left, nothing of others touched."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodeipam_ctl.agent.predecessor_rules import PredecessorRules
from nodeipam_ctl.linux import iptables
from nodeipam_ctl.settings import AgentSettings
from tests.agent.cluster import Cluster, until
from tests.agent.test_forwarding import Pair
from tests.agent.test_masquerade import pool
from tests.agent.test_tools import nodeipam_ctl
from tests.linux.namespaces import Namespace
from tests.linux.sets import make_set

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
    assert host.routes() == ["10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102", SINK]
    kept = [line.split()[0] for line in host.run("ip", "route").splitlines() if "proto 112" not in line]
    assert kept == ["10.244.78.0/24", "192.0.2.0/24", "203.0.113.0/24"]
    assert (directory / "99-other.conflist").exists()
    changes = [(e["op"], e["object"]) for e in agent.lines("host_changed") if "10.244.2.0/24" in e["object"]]
    assert [op for op, _ in changes] == ["add", "remove"], "ours was there before theirs went"
    agent.stop()
    again = cluster.start_agent(host, "n1", "--adopt", name)
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0


def test_a_node_that_we_cannot_reach_keeps_its_way_and_a_policy_rule_goes(cluster: Cluster) -> None:
    cluster.install_crds()
    cluster.apply(pool("default", "10.244.0.0/16"))
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    cluster.add("n2", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.12",))
    cluster.add("n3", pod_cidrs=("10.244.3.0/24",), addresses=("198.51.100.13",))
    host = cluster.segment.host("192.0.2.11/24")
    host.sh("""
        ip route add 10.244.2.0/24 via 192.0.2.12 proto 17
        ip route add 10.244.3.0/24 via 192.0.2.1 proto 17
        ip rule add from 10.244.1.0/24 lookup 77
        ip rule add from 10.244.1.0/24 lookup 78
        ip rule add from 203.0.113.0/24 lookup 77
        ip rule add from 10.244.1.0/24 iif lo lookup 77
    """)
    agent = cluster.start_agent(host, "n1", "--adopt", "kube-router", "--audit-period", "1")
    until(lambda: agent.lines("node_ready"), "it is ready")
    theirs = "10.244.3.0/24 via 192.0.2.1 dev eth0 proto 17"
    assert [line.strip() for line in host.run("ip", "route", "show", "proto", "17").splitlines()] == [
        theirs.removesuffix(" proto 17")
    ]
    assert [line.split(":\t")[1].strip() for line in host.run("ip", "rule").splitlines()[1:-2]] == [
        "from 10.244.1.0/24 iif lo lookup 77",
        "from 203.0.113.0/24 lookup 77",
        "from 10.244.1.0/24 lookup 78",
    ]
    assert agent.metric("nodeipam_unroutable_peers") == 1
    cluster.remove("n3")
    until(lambda: not host.run("ip", "route", "show", "proto", "17"), "the way to a node that left goes")


_FLANNEL = """
    {tool} -t nat -N FLANNEL-POSTRTG
    {tool} -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
    {tool} -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
    {tool} -t nat -A FLANNEL-POSTRTG -s {pods} ! -d {multicast} -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
    {tool} -N FLANNEL-FWD
    {tool} -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
    {tool} -A FLANNEL-FWD -s {pods} -m comment --comment "flanneld forward" -j ACCEPT
    {tool} -A FLANNEL-FWD -d {pods} -m comment --comment "flanneld forward" -j ACCEPT
"""
_KINDNET = """
    {tool} -t nat -N KIND-MASQ-AGENT
    {tool} -t nat -A POSTROUTING -m addrtype ! --dst-type LOCAL -m comment --comment \
        "kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain" \
        -j KIND-MASQ-AGENT
    {tool} -t nat -A KIND-MASQ-AGENT -d {pods} -m comment --comment "kind-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN
    {tool} -t nat -A KIND-MASQ-AGENT -j MASQUERADE
"""
_KUBE_ROUTER = """
    {tool} -t nat -A POSTROUTING -m set --match-set {set}kube-router-pod-subnets src -m set ! --match-set {set}kube-router-pod-subnets dst -j MASQUERADE --random-fully
    {tool} -I FORWARD 1 -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT
    {tool} -I FORWARD 1 -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT
"""
_OTHERS = """
    {tool} -t nat -N KUBE-POSTROUTING
    {tool} -t nat -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
    {tool} -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
    {tool} -N KUBE-ROUTER-FORWARD
    {tool} -N KUBE-NWPLCY-DEFAULT
    {tool} -A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
    {tool} -A KUBE-ROUTER-FORWARD -j KUBE-NWPLCY-DEFAULT
"""
_V4 = {"pods": "10.244.0.0/16", "multicast": "224.0.0.0/4", "set": ""}
_V6 = {"pods": "fd00:244::/48", "multicast": "ff00::/8", "set": "inet6:"}
_TOOLS = {"iptables-nft": _V4, "iptables-legacy": _V4, "ip6tables-nft": _V6, "ip6tables-legacy": _V6}


def rules(host: Namespace) -> dict[str, list[str]]:
    return {
        f"{tool} {table}": host.run(tool, "-t", table, "-S").splitlines()
        for tool in _TOOLS
        for table in ("nat", "filter")
    }


@pytest.mark.parametrize(
    ("name", "script"),
    [
        pytest.param("flannel", _FLANNEL, id="flannel"),
        pytest.param("kindnet", _KINDNET, id="kindnet"),
        pytest.param("kube-router", _KUBE_ROUTER, id="kube-router"),
    ],
)
def test_removes_a_predecessors_rules_of_either_kind_and_no_others(
    cluster: Cluster, tmp_path: Path, name: str, script: str
) -> None:
    cluster.install_crds()
    cluster.apply(pool("default", "10.244.0.0/16"))
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    for tool, words in _TOOLS.items():
        host.sh(_OTHERS.format(tool=tool, **words))
    before = rules(host)
    for family, prefix in ((socket.AF_INET, ""), (socket.AF_INET6, "inet6:")):
        make_set(host, f"{prefix}kube-router-pod-subnets", family)
    for tool, words in _TOOLS.items():
        host.sh(script.format(tool=tool, **words))
    assert all(rules(host)[f"{tool} nat"] != before[f"{tool} nat"] for tool in _TOOLS)

    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    flags = ("--node-name", "n1", "--kubeconfig", str(config), "--cni-conf-dir", str(tmp_path / "net.d"))
    shown = nodeipam_ctl(host, "agent", *flags, "--feed", "nodes", "--adopt", name, "--plan").stdout
    assert all(f"\n- {tool} -t nat -D POSTROUTING " in shown for tool in _TOOLS)

    assert ("\n- ipset inet6:kube-router-pod-subnets\n" in shown) is (name == "kube-router")

    agent = cluster.start_agent(host, "n1", "--adopt", name)
    until(lambda: rules(host) == before, "they are gone, and only they")
    if name == "kube-router":
        until(lambda: agent.lines("predecessor_sets_removed"), "nothing used its sets any more")
    (told,) = agent.lines("predecessor_sets_removed") or [{"sets": []}]
    assert told["sets"] == (
        ["kube-router-pod-subnets", "inet6:kube-router-pod-subnets"] if name == "kube-router" else []
    )
    events = [json.loads(text)["event"] for text in agent.log().splitlines()]
    assert events.index("host_changed") < events.index("predecessor_rules_removed"), "ours were there first"
    agent.stop()
    again = cluster.start_agent(host, "n1", "--adopt", name)
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0
    assert rules(host) == before


@pytest.mark.parametrize(("flag", "table"), [("--no-masquerade", "nat"), ("--no-forward-accept", "filter")])
def test_leaves_a_predecessors_rules_that_nothing_replaces(cluster: Cluster, flag: str, table: str) -> None:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    host = cluster.segment.host("192.0.2.11/24")
    host.sh(_FLANNEL.format(tool="iptables-nft", **_V4) + "nft add table ip flannel-ipv4\n")
    before = rules(host)[f"iptables-nft {table}"]
    agent = cluster.start_agent(host, "n1", "--adopt", "flannel", flag)
    until(lambda: agent.lines("predecessor_rules_removed"), "the others are gone")
    assert rules(host)[f"iptables-nft {table}"] == before
    assert ("flannel-ipv4" in host.run("nft", "list", "tables")) is (table == "nat")


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(cluster, stack)


def test_pods_lose_no_packet_while_what_accepted_them_is_replaced(pair: Pair) -> None:
    host, other = pair.hosts
    for one, peer, number in ((host, 12, 2), (other, 11, 1)):
        one.sh(f"sysctl -qw net.ipv4.ip_forward=1; ip route add 10.244.{number}.0/24 via 192.0.2.{peer}")
    host.sh("iptables -P FORWARD DROP\n" + _FLANNEL.format(tool="iptables", **_V4))
    assert pair.ping()
    with subprocess.Popen(
        pair.pods[0].inside("ping", "-q", "-i", "0.005", "-W", "1", "10.244.2.10"),
        stdout=subprocess.PIPE,
        text=True,
    ) as pinging:
        agent = pair.cluster.start_agent(host, "n1", "--adopt", "flannel")
        until(lambda: len(agent.lines("predecessor_rules_removed")) == 2, "flannel's rules are gone")
        until(lambda: agent.lines("node_ready"), "it is ready")
        pinging.send_signal(signal.SIGINT)
        told, _ = pinging.communicate(timeout=10)
    assert " 0% packet loss" in told
    assert "FLANNEL" not in host.run("iptables-save")


def test_a_predecessor_that_still_runs_is_named_and_not_fought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    settings = AgentSettings(node_name="n1", backend="host-gw", cni_conf_dir=tmp_path, adopt="flannel")
    with Namespace() as host, host.entered():
        # /proc/self is the process, which stands in another namespace than this thread.
        here = {tool: (family, Path("/nowhere")) for tool, (family, _) in iptables.LEGACY.items()}
        monkeypatch.setattr(iptables, "LEGACY", here)
        rules_ = PredecessorRules(settings, clock=lambda: now_s)
        script = _FLANNEL.format(tool="iptables-nft", **_V4)
        host.sh(script)
        assert (rules_.look(), rules_.findings) == (False, ())
        assert "FLANNEL" not in host.run("iptables-nft-save")
        host.sh(script)
        made = rules(host)
        assert rules_.look()
        assert [(f.code, f.subject) for f in rules_.findings] == [("PredecessorRuns", "adopt/flannel")]
        assert rules(host) == made
        assert not rules_.look(), "nothing new"
        host.run("nft", "flush", "ruleset")
        assert (rules_.look(), rules_.findings) == (True, ())
