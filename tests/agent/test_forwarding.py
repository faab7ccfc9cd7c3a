"""Do pods reach each other on hosts whose firewall drops what it does not know? Debian's iptables, both kinds, and nft."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.agent.test_masquerade import pool
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

_TOOLS = [
    pytest.param("iptables-nft", id="iptables-nft"),
    pytest.param("iptables-legacy", id="legacy iptables"),
]


class Pair:
    """Two nodes with a pod each; n1's firewall drops."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self._stack = stack
        cluster.install_crds()
        cluster.apply(pool("default", "10.244.0.0/16"))
        self.hosts = []
        self.pods = []
        for number in (1, 2):
            cluster.add(f"n{number}", pod_cidrs=(f"10.244.{number}.0/24",), addresses=(f"192.0.2.1{number}",))
            self.hosts.append(cluster.segment.host(f"192.0.2.1{number}/24"))
            self.pods.append(self._pod(self.hosts[-1], f"10.244.{number}.10"))

    def _pod(self, host: Namespace, address: str) -> Namespace:
        pod = self._stack.enter_context(Namespace())
        host.sh(
            f"ip link add pod type veth peer name eth0 netns {pod.pid}; ip link set pod up;"
            f"ip address add 169.254.1.1/32 dev pod; ip route add {address}/32 dev pod"
        )
        pod.sh(
            f"ip address add {address}/32 dev eth0; ip link set eth0 up;"
            "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1"
        )
        return pod

    def start(self, *flags: str) -> list[Agent]:
        agents = [self.cluster.start_agent(host, f"n{n}", *flags) for n, host in enumerate(self.hosts, 1)]
        for agent in agents:
            until(agent.conflist.exists, "the conflist is there")
        return agents

    def ping(self) -> bool:
        """Whether a packet gets there and its answer back."""
        done = subprocess.run(
            self.pods[0].inside("ping", "-c", "1", "-W", "1", "10.244.2.10"), capture_output=True, check=False
        )
        return done.returncode == 0

    def rules(self, tool: str) -> list[str]:
        return self.hosts[0].run(tool, "-S").splitlines()


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(cluster, stack)


@pytest.mark.parametrize("tool", _TOOLS)
def test_pods_ping_through_a_chain_that_drops_and_cleanup_leaves_it_as_it_was(pair: Pair, tool: str) -> None:
    host = pair.hosts[0]
    host.sh(
        f"{tool} -P FORWARD DROP; {tool} -N MINE; {tool} -A FORWARD -j MINE; {tool} -A MINE -s 203.0.113.9 -j DROP"
    )
    before = pair.rules(tool)
    first, _ = pair.start()

    assert pair.ping()
    after = pair.rules(tool)
    assert [rule for rule in after if "NODEIPAM" not in rule] == before
    jump = "-A FORWARD -m comment --comment nodeipam-ctl -j NODEIPAM-FORWARD"
    assert [rule for rule in after if rule.startswith("-A FORWARD")] == ["-A FORWARD -j MINE", jump]
    assert {rule for rule in after if rule.startswith("-A NODEIPAM")} == {
        f"-A NODEIPAM-FORWARD -{way} 10.244.0.0/16 -m comment --comment nodeipam-ctl -j ACCEPT"
        for way in "sd"
    }

    first.stop()
    assert pair.ping(), "forwarding stays when the agent stops"
    again = pair.cluster.start_agent(host, "n1")
    until(lambda: len(again.lines("node_ready")) == 2, "it is ready again")
    assert again.metric("nodeipam_host_changes_total") == 0
    again.stop()

    flags = ("--cni-conf-dir", str(again.conflist.parent), "--yes")
    host.run(sys.executable, "-m", "nodeipam_ctl", "cleanup", *flags)
    assert pair.rules(tool) == before


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("iptables -F FORWARD", id="the jump is flushed"),
        pytest.param("iptables -F", id="all rules are flushed"),
        pytest.param("iptables -F; iptables -X", id="our chain is deleted"),
        pytest.param("iptables -I NODEIPAM-FORWARD -j DROP", id="our chain gets somebody's rule"),
        pytest.param("iptables -A FORWARD -j NODEIPAM-FORWARD", id="the jump is doubled"),
        pytest.param("nft delete table ip filter; iptables -P FORWARD DROP", id="the table is made anew"),
    ],
)
def test_what_somebody_undoes_is_restored_at_once(pair: Pair, script: str) -> None:
    host = pair.hosts[0]
    host.sh("iptables -P FORWARD DROP")
    pair.start()
    assert pair.ping()
    wanted = sorted(pair.rules("iptables"))

    host.sh(script)

    until(lambda: sorted(pair.rules("iptables")) == wanted, "our rules are back", timeout_s=3)
    assert pair.ping()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("iptables-legacy -F", id="all rules are flushed"),
        pytest.param("iptables-legacy -F; iptables-legacy -X", id="our chain is deleted"),
        pytest.param("iptables-legacy -I NODEIPAM-FORWARD -j DROP", id="our chain gets somebody's rule"),
    ],
)
def test_legacy_iptables_which_has_no_events_is_looked_after_as_well(pair: Pair, script: str) -> None:
    host = pair.hosts[0]
    pair.start()
    host.sh("iptables-legacy -P FORWARD DROP")
    until(pair.ping, "a policy that comes later is met", timeout_s=5)
    wanted = sorted(pair.rules("iptables-legacy"))

    host.sh(script)

    until(lambda: sorted(pair.rules("iptables-legacy")) == wanted, "our rules are back", timeout_s=5)
    assert pair.ping()


def test_follows_the_policy_and_the_ranges_live(pair: Pair) -> None:
    host = pair.hosts[0]
    pair.start()
    assert host.run("nft", "list", "tables") == "table inet nodeipam\n", "nothing is made where nothing drops"

    host.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
    until(
        lambda: "NODEIPAM-FORWARD" in host.run("iptables", "-S", "FORWARD"),
        "the new policy is met",
        timeout_s=3,
    )
    assert pair.ping()
    assert host.run("ip6tables", "-S", "FORWARD") == "-P FORWARD DROP\n", "there are no IPv6 pods"

    pair.cluster.apply(pool("second", "10.250.0.0/16"))
    until(lambda: "-s 10.250.0.0/16" in host.run("iptables", "-S"), "the new range is accepted", timeout_s=3)


def test_accepts_in_any_chain_that_drops_not_only_in_that_of_iptables(pair: Pair) -> None:
    host = pair.hosts[0]
    host.run(
        *("nft", "-f", "-"),
        stdin="table inet mine { chain passing { type filter hook forward priority 5; policy drop; ct state established accept; }; }",
    )
    agent, _ = pair.start()

    assert pair.ping()
    assert "jump NODEIPAM-FORWARD" in host.run("nft", "list", "chain", "inet", "mine", "passing")
    agent.stop()
    off = pair.cluster.start_agent(host, "n1", "--no-forward-accept")
    until(lambda: off.lines("finding"), "what drops is named")
    assert "NODEIPAM" not in host.run("nft", "list", "table", "inet", "mine")
    assert not pair.ping()


def test_without_nft_it_is_said_that_chains_cannot_be_seen(pair: Pair, tmp_path: Path) -> None:
    config, log = tmp_path / "kubeconfig", tmp_path / "log"
    pair.cluster.api.write_kubeconfig(config)
    with log.open("w") as stream:
        process = subprocess.Popen(
            pair.hosts[0].inside(
                *("setpriv", "--pdeathsig", "KILL", "env", f"PATH={tmp_path}", sys.executable),
                *("-m", "nodeipam_ctl", "agent", "--node-name", "n1", "--feed", "nodes", "--no-masquerade"),
                *("--kubeconfig", str(config), "--cni-conf-dir", str(tmp_path), "--log-format", "json"),
            ),
            stdout=stream,
            stderr=stream,
            text=True,
        )
    agent = Agent(pair.hosts[0], process, tmp_path, log)
    try:
        until(lambda: agent.lines("finding"), "it is said")
        assert [(line["code"], line["subject"]) for line in agent.lines("finding")] == [
            ("ForwardUnknown", "host/forward")
        ]
    finally:
        assert agent.stop() == 0
