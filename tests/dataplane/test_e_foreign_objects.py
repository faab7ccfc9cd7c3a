"""E: what is not ours stays as it is, whoever made it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

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
