"""How fast and how small is an agent with thousands of peers? Real process, real kernel, a namespace of its own; run as root.

python -m tests.bench.agent [--backend host-gw ...] [PEERS ...]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from nodeipam_ctl.routing.backends import NAMES
from tests.agent.cluster import Agent, Cluster, node, until
from tests.linux.namespaces import Segment

_FIRST_POD_CIDR = int(IPv4Address("10.0.0.0"))
_FIRST_ADDRESS = int(IPv4Address("192.0.16.0"))
_HEARTBEATS = 2000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement; seconds, megabytes, counts."""

    backend: str
    peers: int
    start_to_ready_s: float
    list_to_kernel_s: float
    objects: int
    cold_cpu_s: float
    rss_mb: float
    one_more_ms: float
    one_more_messages: int
    heartbeat_us: float
    restart_changes: int
    restart_cpu_s: float

    def __str__(self) -> str:
        return (
            f"{self.backend:10} {self.peers:6} {self.start_to_ready_s:8.2f} {self.list_to_kernel_s:8.3f} "
            f"{self.objects / self.list_to_kernel_s:9.0f} {self.cold_cpu_s:7.2f} {self.rss_mb:6.1f} "
            f"{self.one_more_ms:8.1f} {self.one_more_messages:5} {self.heartbeat_us:12.0f} {self.restart_changes:8} {self.restart_cpu_s:8.2f}"
        )


HEADER = "backend     peers  ready_s program_s objects/s  cpu_s rss_mb one_more_ms msgs heartbeat_us restart_changes restart_cpu_s"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("peers", nargs="*", type=int, default=[1000, 5000])
    parser.add_argument("--backend", action="append", choices=NAMES)
    chosen = parser.parse_args()
    print(HEADER)
    for backend in chosen.backend or ["host-gw", "vxlan", "vxlan-gpe"]:
        for peers in chosen.peers:
            print(measure(backend, peers))
            sys.stdout.flush()


def measure(backend: str, peers: int) -> Result:
    """Cold start, one more peer, restart."""
    with (
        tempfile.TemporaryDirectory(prefix="nictl-bench-") as directory,
        Segment() as segment,
        Cluster(Path(directory), segment) as cluster,
    ):
        cluster.install_crds()
        cluster.apply(
            {
                "apiVersion": "nodeipam.dev/v1alpha1",
                "kind": "ClusterCIDR",
                "metadata": {"name": "default"},
                "spec": {"ipv4": {"cidrs": ["10.0.0.0/9"], "nodeMaskSize": 24}},
            }
        )
        cluster.add_many([_node(0), *(_node(number) for number in range(1, peers + 1))])
        host = segment.host("192.0.2.11/16")
        flags = ("--backend", backend, "--audit-period", "3600")
        began_s = time.monotonic()
        agent = cluster.start_agent(host, "n0", *flags)
        until(lambda: agent.lines("node_ready"), "the agent is ready", timeout_s=60)
        ready_s = time.monotonic() - began_s
        programmed = agent.lines("host_changed")[-1]
        listed = max(_time(line) for line in agent.lines("resource_listed"))
        cold_cpu_s, rss_mb = _cpu_s(agent), _rss_mb(agent)
        before = agent.metric("nodeipam_host_changes_total")
        one_more_s = _one_more(cluster, agent, peers + 1)
        messages = agent.metric("nodeipam_host_changes_total") - before
        heartbeat_s = _heartbeats(cluster, agent, peers)
        agent.stop()
        again = cluster.start_agent(host, "n0", *flags)
        until(lambda: len(again.lines("node_ready")) == 2, "the restarted agent is ready", timeout_s=60)
        return Result(
            backend=backend,
            peers=peers,
            start_to_ready_s=ready_s,
            list_to_kernel_s=(_time(programmed) - listed).total_seconds(),
            objects=int(programmed.get("changes", 1)),
            cold_cpu_s=cold_cpu_s,
            rss_mb=rss_mb,
            one_more_ms=one_more_s * 1000,
            one_more_messages=int(messages),
            heartbeat_us=heartbeat_s * 1e6,
            restart_changes=int(again.metric("nodeipam_host_changes_total")),
            restart_cpu_s=_cpu_s(again),
        )


def _one_more(cluster: Cluster, agent: Agent, number: int) -> float:
    before = len(agent.lines("host_changed"))
    began = time.time()
    cluster.add_many([_node(number)])
    until(lambda: len(agent.lines("host_changed")) > before, "the new peer is programmed")
    return _time(agent.lines("host_changed")[-1]).timestamp() - began


def _heartbeats(cluster: Cluster, agent: Agent, peers: int) -> float:
    """The agent's CPU seconds for one kubelet status update of another node, which changes nothing that matters."""
    before_s = _cpu_s(agent)
    for number in range(_HEARTBEATS):
        cluster.heartbeat(f"n{1 + number % peers}")
    began_s = time.monotonic()
    until(lambda: time.monotonic() - began_s > 0.5, "the last of them has arrived")
    return (_cpu_s(agent) - before_s) / _HEARTBEATS


def _node(number: int) -> dict[str, Any]:
    """A Node of realistic size: 0 is the host's own."""
    address = "192.0.2.11" if number == 0 else str(IPv4Address(_FIRST_ADDRESS + number))
    made = node(
        f"n{number}",
        pod_cidrs=(str(IPv4Network((_FIRST_POD_CIDR + (number << 8), 24))),),
        addresses=(address,),
    )
    made["metadata"]["labels"] = {f"example.com/label-{i}": f"value-{i}" for i in range(15)}
    made["status"]["images"] = [
        {"names": [f"registry.example/team/image-{i}@sha256:{i:064x}"], "sizeBytes": 10_000_000 + i}
        for i in range(35)
    ]
    return made


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


def _cpu_s(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _rss_mb(agent: Agent) -> float:
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
