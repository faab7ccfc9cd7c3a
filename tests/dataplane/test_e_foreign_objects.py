"""E: what is not ours stays as it is, whoever made it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.agent.cluster import until
from tests.dataplane.cases import scenario
from tests.dataplane.kernel import state
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]


@scenario("E4-bird-shares-the-host", "E6-nft-neighbours-untouched", "N3-cleanup-idempotent")
def test_routes_of_bird_and_tables_of_others_outlive_agent_and_cleanup(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    host = lab.hosts["n1"]
    host.sh(
        "nft add table inet other; nft 'add chain inet other c { type nat hook postrouting priority 0; }'"
    )
    lab.settle("--backend", "vxlan")
    agent = lab.agents["n1"]
    wanted = state(host, agent)
    host.sh(
        "ip route add 203.0.113.0/24 via 192.0.2.12 proto 12;"
        "ip route add 10.244.2.0/24 via 192.0.2.12 proto 12 metric 32"
    )

    def others() -> tuple[str, str]:
        return host.run("ip", "route", "show", "proto", "12"), host.run(
            "nft", "list", "table", "inet", "other"
        )

    theirs = others()
    until(
        lambda: agent.metric("nodeipam_route_conflicts") == 1, "the better route of somebody else is reported"
    )
    assert [entry["code"] for entry in agent.lines("finding")] == ["RouteShadowed"]
    assert state(host, agent) == wanted
    agent.stop()
    for _ in range(2):
        done = subprocess.run(
            host.inside(
                *(sys.executable, "-m", "nodeipam_ctl", "cleanup", "--yes"),
                *("--cni-conf-dir", str(agent.conflist.parent)),
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert others() == theirs
        assert host.routes() == []
        assert "nodeipam" not in host.run("nft", "list", "tables")


@pytest.mark.kernel
def test_an_aggregate_around_all_pods_stays_and_hinders_no_tunnel(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", dual=True)
    aggregates = ("10.244.0.0/16 via 192.0.2.99 dev eth0", "fd00:244::/48 via fd00:10::99 dev eth0")
    for host in lab.hosts.values():
        for aggregate in aggregates:
            host.run("ip", "route", "add", *aggregate.split())
    lab.settle("--backend", "vxlan")
    pods = lab.pod("n1"), lab.pod("n2")
    assert all(pods[0].reaches(address) for address in pods[1].addresses)
    for aggregate in aggregates:
        words = aggregate.split()
        family = "-6" if ":" in aggregate else "-4"
        assert words[2] in lab.hosts["n1"].run("ip", family, "route", "show", words[0])
    assert lab.planned("n1") == []
