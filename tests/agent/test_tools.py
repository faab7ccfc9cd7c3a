"""What the agent shows and undoes: --plan, --print-sysctls, cleanup; and its other feed, the ledger."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.cluster import Cluster, until
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

N1 = {"pod_cidrs": ("10.244.1.0/24",), "addresses": ("192.0.2.11",)}
N2 = {"pod_cidrs": ("10.244.2.0/24",), "addresses": ("192.0.2.12",)}


def nodeipam_ctl(host: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        host.inside(sys.executable, "-m", "nodeipam_ctl", *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def page(name: str, cidr: str, *entries: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "PodCIDRSlice",
        "metadata": {"name": name, "labels": {"nodeipam.dev/family": "IPv4"}},
        "page": cidr,
        "entries": list(entries),
    }


def line(cluster: Cluster, cidr: str, node: str, address: str, state: str = "Bound") -> dict[str, object]:
    return {
        "cidr": cidr,
        "state": state,
        "node": node,
        "nodeUID": cluster.read(node)["metadata"]["uid"],
        "clusterCIDR": "default",
        "addresses": [address],
    }


def test_the_plan_is_what_the_agent_then_does(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24")
    host.run("ip", "route", "add", "10.244.9.0/24", "via", "192.0.2.12", "proto", "112", "metric", "109")
    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    flags = (
        "--node-name",
        "n1",
        "--kubeconfig",
        str(config),
        "--cni-conf-dir",
        str(tmp_path / "n1" / "net.d"),
        "--feed",
        "nodes",
    )
    shown = nodeipam_ctl(host, "agent", *flags, "--plan")
    assert shown.returncode == 0, shown.stderr
    changes = [text.partition("  #")[0] for text in shown.stdout.splitlines()]
    assert changes == [
        "~ sysctl net.ipv4.ip_forward = 1",
        "+ route 10.244.2.0/24 via 192.0.2.12 dev eth0 proto 112 metric 102",
        "+ route unreachable 10.244.1.0/24 proto 112 metric 4278198272",
        "+ nft table inet nodeipam (7 lines)",
        "- route 10.244.9.0/24 via 192.0.2.12 dev eth0 proto 112 metric 109",
    ]
    settings = nodeipam_ctl(host, "agent", *flags, "--print-sysctls")
    assert settings.stdout == "net.ipv4.ip_forward = 1  # now: 0\n"
    assert host.routes() == ["10.244.9.0/24 via 192.0.2.12 dev eth0 metric 109"], "nothing was changed"


def test_cleanup_removes_everything_of_ours_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("n1", **N1)
    cluster.add("n2", **N2)
    host = cluster.segment.host("192.0.2.11/24")
    host.sh(
        "ip route add 203.0.113.0/24 via 192.0.2.12 proto static; nft add table inet other;"
        "ip link add other type vxlan id 9 dstport 4789 dev eth0"
    )
    before = (
        host.run("ip", "route"),
        host.run("nft", "list", "ruleset"),
        [x["ifname"] for x in host.ip("link")],
    )
    handed = (
        *("--subnet-env", str(tmp_path / "subnet.env")),
        *("--docker-opts", str(tmp_path / "docker.env")),
    )
    agent = cluster.start_agent(host, "n1", "--backend", "vxlan", *handed)
    until(agent.conflist.exists, "the conflist is there")
    assert {path.name for path in tmp_path.glob("*.env")} == {"subnet.env", "docker.env"}
    foreign = agent.conflist.with_name("99-other.conflist")
    foreign.write_text("{}")
    agent.stop()
    flags = ("--cni-conf-dir", str(agent.conflist.parent), *handed)
    refused = nodeipam_ctl(host, "cleanup", *flags)
    assert refused.returncode == 2
    assert agent.conflist.exists()
    done = nodeipam_ctl(host, "cleanup", *flags, "--yes")
    assert done.returncode == 0, done.stderr
    after = (
        host.run("ip", "route"),
        host.run("nft", "list", "ruleset"),
        [x["ifname"] for x in host.ip("link")],
    )
    assert after == before
    assert not agent.conflist.exists()
    assert not list(tmp_path.glob("*.env"))
    assert foreign.exists()
    again = nodeipam_ctl(host, "cleanup", *flags, "--yes")
    assert (again.returncode, again.stdout) == (0, "nothing of ours is on this host\n")


def test_a_host_has_one_agent_and_no_cleanup_beside_it(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add("n1", **N1)
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1")
    until(agent.conflist.exists, "the conflist is there")
    directory = ("--cni-conf-dir", str(agent.conflist.parent))
    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    other = ("--kubeconfig", str(config), "--metrics-address", "", "--backend", "vxlan", *directory)
    for refused in (
        nodeipam_ctl(host, "agent", "--node-name", "n1", *other),
        nodeipam_ctl(host, "cleanup", "--yes", *directory),
    ):
        assert refused.returncode == 2
        assert refused.stderr.splitlines()[-1].endswith("in this network namespace: stop it first")
    assert agent.conflist.exists()
    agent.stop(signal.SIGKILL)
    assert nodeipam_ctl(host, "cleanup", "--yes", *directory).returncode == 0, (
        "the kernel gave the place back"
    )
    assert not agent.conflist.exists()


def test_peers_come_from_the_ledger_as_well(cluster: Cluster) -> None:
    cluster.install_crds()
    cluster.add("n1", **N1)
    cluster.add("n2", addresses=("192.0.2.12",))
    ours = line(cluster, "10.244.1.0/24", "n1", "192.0.2.11")
    theirs = line(cluster, "10.244.2.0/24", "n2", "192.0.2.12")
    cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", ours, theirs))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--feed", "slices")
    until(agent.conflist.exists, "the conflist is there")
    sink = "unreachable 10.244.1.0/24 metric 4278198272"
    assert host.routes() == ["10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102", sink]
    resting = {**theirs, "state": "Resting", "reusableAt": "2030-01-01T00:00:00Z"}
    more = line(cluster, "10.244.130.0/25", "n2", "192.0.2.12")
    cluster.apply(page("10.244.130.0-24", "10.244.130.0/24", more))
    cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", ours, resting))
    until(
        lambda: host.routes() == ["10.244.130.0/25 via 192.0.2.12 dev eth0 metric 104", sink],
        "the routes follow the ledger",
    )


def test_a_line_and_a_page_that_make_no_sense_are_named_and_the_others_used(cluster: Cluster) -> None:
    cluster.install_crds(lax="PodCIDRSlice")
    cluster.add("n1", **N1)
    cluster.add("n2", addresses=("192.0.2.12",))
    ours = line(cluster, "10.244.1.0/24", "n1", "192.0.2.11")
    theirs = line(cluster, "10.244.2.0/24", "n2", "192.0.2.12")
    cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", ours, {**theirs, "cidr": "10.9.0.0/24"}, theirs))
    cluster.apply(page("nonsense", "nonsense"))
    host = cluster.segment.host("192.0.2.11/24")
    agent = cluster.start_agent(host, "n1", "--feed", "slices")
    until(agent.conflist.exists, "the conflist is there")
    assert host.routes()[0] == "10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102"
    assert {finding["subject"] for finding in agent.lines("finding")} == {
        "podcidrslice/10.244.0.0-20",
        "podcidrslice/nonsense",
    }
    cluster.apply(page("10.244.0.0-20", "10.244.0.0/20, says somebody", ours, theirs))
    more = line(cluster, "10.244.16.0/24", "n2", "192.0.2.12")
    cluster.apply(page("10.244.16.0-20", "10.244.16.0/20", more))
    until(
        lambda: [route.split()[0] for route in host.routes()[:2]] == ["10.244.16.0/24", "10.244.2.0/24"],
        "the page that cannot be read any more keeps its nodes, and the others go on",
    )
    agent.stop()
    again = cluster.start_agent(host, "n1", "--feed", "slices")
    until(lambda: again.lines("mass_removal_held"), "a page that it never understood may hold any node")
    assert host.routes()[1] == "10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102"
    cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", ours))
    until(lambda: len(host.routes()) == 2, "the corrected page lets the route go")


@pytest.mark.parametrize("shown", [(), ("--plan",), ("--print-sysctls",)])
@pytest.mark.parametrize(
    "how", [("setpriv", "--bounding-set", "-net_admin"), ("unshare", "--user", "--map-root-user")]
)
def test_without_the_capability_in_this_namespace_one_line_names_it(
    cluster: Cluster, tmp_path: Path, how: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    host = cluster.segment.host("192.0.2.11/24")
    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    flags = ("agent", "--node-name", "n1", "--kubeconfig", str(config), "--cni-conf-dir", str(tmp_path))
    refused = subprocess.run(
        host.inside(*how, sys.executable, "-m", "nodeipam_ctl", *flags, *shown),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 2
    (line_,) = refused.stderr.splitlines()
    assert "CAP_NET_ADMIN" in line_


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param((), "nft is not installed", id="no nft"),
        pytest.param(
            ("--metrics-address", "nowhere"), "HOST:PORT", id="a bad address is said before all else"
        ),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_before_anything_is_changed(
    cluster: Cluster, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    host = cluster.segment.host("192.0.2.11/24")
    config = tmp_path / "kubeconfig"
    cluster.api.write_kubeconfig(config)
    refused = subprocess.run(
        host.inside(
            *("env", f"PATH={tmp_path}", sys.executable, "-m", "nodeipam_ctl", "agent", "--node-name", "n1"),
            *("--kubeconfig", str(config), "--cni-conf-dir", str(tmp_path), *flags),
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 2
    (line_,) = refused.stderr.splitlines()
    assert said in line_
