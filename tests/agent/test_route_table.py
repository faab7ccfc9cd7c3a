"""Routes in a table of their own: `--route-table`, with a rule that asks it before the main one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.agent.cluster import Cluster, until
from tests.agent.test_forwarding import Pair
from tests.agent.test_tools import nodeipam_ctl

pytestmark = pytest.mark.kernel


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(cluster, stack)


def test_pods_are_reached_from_elsewhere_and_on_their_own_node(pair: Pair) -> None:
    for host in pair.hosts:
        host.run("ip", "rule", "add", "lookup", "100")
    agents = pair.start("--route-table", "100")
    until(pair.ping, "a pod reaches one of another node")
    for number, host in enumerate(pair.hosts, 1):
        local = host.inside("ping", "-c", "1", "-W", "2", f"10.244.{number}.10")
        assert subprocess.run(local, capture_output=True, check=False).returncode == 0
        (shown,) = host.run("ip", "route", "show", "table", "100").splitlines()
        assert shown.startswith(f"10.244.{3 - number}.0/24 via 192.0.2.1{3 - number} ")
        assert host.run("ip", "route", "show", "type", "unreachable").startswith(
            f"unreachable 10.244.{number}.0/24 "
        )
    agents[0].stop()
    pair.hosts[0].run("ip", "route", "add", "10.244.9.0/24", "via", "192.0.2.12", "table", "100")
    net_d = str(agents[0].conflist.parent)
    done = nodeipam_ctl(pair.hosts[0], "cleanup", "--yes", "--route-table", "100", "--cni-conf-dir", net_d)
    assert "removed " in done.stdout
    assert "proto 112" not in pair.hosts[0].run("ip", "route", "show", "table", "all")
    assert "10.244.9.0/24" in pair.hosts[0].run("ip", "route", "show", "table", "100")
