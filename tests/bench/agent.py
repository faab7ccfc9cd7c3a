"""How fast and how small is an agent with thousands of peers? Real process, real kernel, a namespace of its own; run as root.

python -m tests.bench.agent [--backend host-gw ...] [--feed slices|nodes] [--peers 5000]
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from nodeipam_ctl.linux import rtnl
from nodeipam_ctl.linux.netlink import Monitor
from tests.agent.cluster import Agent, Cluster, until
from tests.bench.kubelet_node import kubelet_node
from tests.linux.namespaces import Namespace, Segment

_FIRST_POD_CIDR = int(IPv4Address("10.0.0.0"))
_FIRST_ADDRESS = int(IPv4Address("192.0.16.0"))
_CHANGES = 30
_HEARTBEATS, _HEARTBEATS_PER_S = 2000, 500
_RTMGRP_IPV4_ROUTE = 7

MOST_COLD_S = {"host-gw": 0.6, "vxlan": 1.5, "vxlan-gpe": 1.0}
MOST_RSS_MB = 60
MOST_CHANGE_MS = 50
MOST_MESSAGES = 6
"""The goals for 5,000 peers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One measurement.

    Attributes:
        cold_s: from the start of the process until all peers are in the kernel.
        list_to_kernel_s: the part of it after the feed's list was there.
        change_ms: from the API's write of a page to the kernel's event about the route, for each node that came or went.
        change_cpu_ms: the agent's CPU time for one of them.
        change_messages: netlink messages for one of them.
        heartbeat_us: the agent's CPU time for the heartbeat of another node, less what it needs anyway.
    """

    backend: str
    cold_s: float
    list_to_kernel_s: float
    cold_cpu_s: float
    objects: int
    rss_mb: float
    peak_mb: float
    change_ms: tuple[float, ...]
    change_cpu_ms: float
    change_messages: float
    heartbeat_us: float
    restart_changes: int
    restart_cpu_s: float

    def lines(self) -> list[str]:
        """The figures, each with its goal."""
        p50, p95 = (statistics.quantiles(self.change_ms, n=20)[place] for place in (9, 18))
        return [
            _line(
                "cold start to all peers programmed, median of 3",
                self.cold_s,
                "s",
                MOST_COLD_S.get(self.backend),
            ),
            _line(f"  from the list to {self.objects} objects", self.list_to_kernel_s, "s"),
            _line("  CPU", self.cold_cpu_s, "s"),
            _line("RSS", self.rss_mb, "MB", MOST_RSS_MB),
            _line("RSS at its peak", self.peak_mb, "MB"),
            _line("a node comes or goes, page to kernel, median", p50, "ms", MOST_CHANGE_MS),
            _line("  95th percentile", p95, "ms", MOST_CHANGE_MS),
            _line(f"  worst of {len(self.change_ms)}", max(self.change_ms), "ms"),
            _line("  CPU", self.change_cpu_ms, "ms"),
            _line("  netlink messages", self.change_messages, "", MOST_MESSAGES),
            _line(
                f"CPU at {_HEARTBEATS_PER_S} heartbeats/s", self.heartbeat_us * _HEARTBEATS_PER_S / 1e4, "%"
            ),
            _line("changes of a restart", self.restart_changes, "", 0),
            _line("  CPU", self.restart_cpu_s, "s"),
        ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", type=int, default=5000)
    parser.add_argument("--feed", choices=("slices", "nodes"), default="slices")
    parser.add_argument("--backend", action="append", choices=(*MOST_COLD_S,))
    chosen = parser.parse_args()
    for backend in chosen.backend or MOST_COLD_S:
        print(f"agent, {backend}, {chosen.peers} peers, --feed {chosen.feed}:")
        for line in measure(backend, chosen.peers, chosen.feed).lines():
            print(f"  {line}", flush=True)


def measure(backend: str, peers: int, feed: str) -> Result:
    """Cold start, nodes that come and go, heartbeats, restart."""
    with (
        tempfile.TemporaryDirectory(prefix="nictl-bench-") as directory,
        Segment() as segment,
        Cluster(Path(directory), segment) as cluster,
    ):
        _as_installed(Path(directory))
        _fill(cluster, peers)
        gc.collect()
        gc.freeze()  # the API server lives in this process, and would stop for 50 to 90 ms now and then
        host = segment.host("192.0.2.11/16")
        flags = ("--backend", backend, "--feed", feed, "--audit-period", "3600")
        starts = [_cold_start(cluster, host, flags, last=last) for last in (False, False, True)]
        agent = starts[-1].agent
        rss_mb, peak_mb = _memory_mb(agent, "VmRSS"), _memory_mb(agent, "VmHWM")
        changes = _Changes(cluster, host, peers, feed)
        cpu_s, messages = _cpu_s(agent), agent.metric("nodeipam_netlink_messages_total")
        idle_s = time.monotonic()
        latencies = changes.measured(_CHANGES)
        cpu_s, lasted_s = _cpu_s(agent) - cpu_s, time.monotonic() - idle_s
        messages = (agent.metric("nodeipam_netlink_messages_total") - messages) / len(latencies)
        change_cpu_s = (cpu_s - _idle_cpu_s(agent, lasted_s)) / len(latencies)
        heartbeat_s = _heartbeats(cluster, agent, peers)
        agent.stop()
        again = cluster.start_agent(host, "n0", *flags)
        until(
            lambda: len(again.lines("node_ready")) > len(starts), "the restarted agent is ready", timeout_s=60
        )
        return Result(
            backend=backend,
            cold_s=statistics.median(start.programmed_s for start in starts),
            list_to_kernel_s=statistics.median(start.from_list_s for start in starts),
            cold_cpu_s=statistics.median(start.cpu_s for start in starts),
            objects=starts[-1].objects,
            rss_mb=rss_mb,
            peak_mb=peak_mb,
            change_ms=tuple(1000 * seconds for seconds in latencies),
            change_cpu_ms=1000 * change_cpu_s,
            change_messages=messages,
            heartbeat_us=heartbeat_s * 1e6,
            restart_changes=int(again.metric("nodeipam_host_changes_total")),
            restart_cpu_s=_cpu_s(again),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ColdStart:
    """An agent that began on a host without anything of ours."""

    agent: Agent
    programmed_s: float
    from_list_s: float
    cpu_s: float
    objects: int


def _cold_start(cluster: Cluster, host: Namespace, flags: tuple[str, ...], *, last: bool) -> _ColdStart:
    """One cold start; unless it is the last, everything is removed again."""
    began = time.time()
    agent = cluster.start_agent(host, "n0", *flags)
    until(
        lambda: any(_time(line).timestamp() > began for line in agent.lines("node_ready")),
        "the agent is ready",
        timeout_s=60,
    )
    cpu_s = _cpu_s(agent)
    programmed = agent.lines("host_changed")[-1]
    listed = max(_time(line) for line in agent.lines("resource_listed"))
    if not last:
        agent.stop()
        cleanup = ("cleanup", "--yes", "--cni-conf-dir", str(agent.conflist.parent))
        host.run(sys.executable, "-m", "nodeipam_ctl", *cleanup)
    return _ColdStart(
        agent=agent,
        programmed_s=_time(programmed).timestamp() - began,
        from_list_s=(_time(programmed) - listed).total_seconds(),
        cpu_s=cpu_s,
        objects=int(programmed.get("changes", 1)),
    )


class _Changes:
    """Nodes that come and go, one at a time, and how long each takes to the kernel of a host."""

    def __init__(self, cluster: Cluster, host: Namespace, peers: int, feed: str) -> None:
        self._cluster = cluster
        self._host = host
        self._peers = peers
        self._feed = feed

    def measured(self, times: int) -> list[float]:
        """Seconds for each of so many arrivals, each followed by a departure."""
        with self._host.entered():
            monitor = Monitor([_RTMGRP_IPV4_ROUTE])
        found: list[float] = []
        try:
            for number in range(self._peers + 1, self._peers + 1 + times):
                for there in (True, False):
                    heard = _Heard(monitor, _pod_cidr(number), there=there)
                    began_s = time.monotonic()
                    self._change(number, there=there)
                    found.append(heard.at_s() - began_s)
                    time.sleep(0.15)  # one at a time: the agent has come to rest
        finally:
            monitor.close()
        return found

    def _change(self, number: int, *, there: bool) -> None:
        if self._feed == "nodes":
            if there:
                self._cluster.add_many([_node(number)])
            else:
                self._cluster.remove(f"n{number}")
            return
        first = number - number % 16
        neighbours = range(max(first, 0), min(first + 16, self._peers + 1))
        numbers = [n for n in neighbours if n != number] + ([number] if there else [])
        self._cluster.apply(_page(first, numbers))


class _Heard:
    """When does the kernel speak of a route? A thread waits for it, so that nothing else delays the answer."""

    def __init__(self, monitor: Monitor, cidr: IPv4Network, *, there: bool) -> None:
        self._monitor = monitor
        self._wanted = rtnl.packed_destination(cidr), rtnl.RTM_NEWROUTE if there else rtnl.RTM_DELROUTE
        self._at_s = 0.0
        self._thread = threading.Thread(target=self._wait, name="kernel")
        self._thread.start()

    def at_s(self) -> float:
        """The monotonic time of the event."""
        self._thread.join()
        assert self._at_s, f"no event about {self._wanted} within 10 s"
        return self._at_s

    def _wait(self) -> None:
        end_s = time.monotonic() + 10
        while time.monotonic() < end_s:
            select.select([self._monitor], [], [], 0.5)
            for message in self._monitor.read()[0]:
                if (rtnl.route_destination(message.body), message.type) == self._wanted:
                    self._at_s = time.monotonic()
                    return


def _as_installed(directory: Path) -> None:
    """Hides rich from the agents: a package of developers, 4 MB, which structlog would load because it is there."""
    (directory / "hidden").mkdir()
    (directory / "hidden" / "rich.py").write_text("raise ImportError\n")
    os.environ["PYTHONPATH"] = str(directory / "hidden")


def _fill(cluster: Cluster, peers: int) -> None:
    """Nodes as kubelets report them, the ledger's pages for them, and the ClusterCIDR they come from."""
    cluster.install_crds()
    cluster.apply(
        {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "ClusterCIDR",
            "metadata": {"name": "default"},
            "spec": {"ipv4": {"cidrs": ["10.0.0.0/9"], "nodeMaskSize": 24}},
        }
    )
    cluster.add_many([_node(number) for number in range(peers + 1)])
    own_uid = cluster.read("n0")["metadata"]["uid"]
    for first in range(0, peers + 1, 16):
        page = _page(first, range(first, min(first + 16, peers + 1)))
        for line in page["entries"]:
            if line["node"] == "n0":
                line["nodeUID"] = own_uid
        cluster.apply(page)


def _page(first: int, numbers: Any) -> dict[str, Any]:
    """A page of the ledger, as the controller writes it."""
    network = IPv4Network((_FIRST_POD_CIDR + (first << 8), 20))
    return {
        "apiVersion": "nodeipam.dev/v1alpha1",
        "kind": "PodCIDRSlice",
        "metadata": {
            "name": f"{network.network_address}-20",
            "labels": {"nodeipam.dev/family": "IPv4"},
        },
        "page": str(network),
        "entries": [
            {
                "cidr": str(_pod_cidr(number)),
                "state": "Bound",
                "node": f"n{number}",
                "nodeUID": f"00000000-0000-4000-8000-{number:012x}",
                "clusterCIDR": "default",
                "addresses": [_address(number)],
                "since": "2026-01-01T00:00:00Z",
            }
            for number in numbers
        ],
    }


def _node(number: int) -> dict[str, Any]:
    made = kubelet_node(number)
    made["metadata"]["name"] = f"n{number}"
    made["spec"] |= {"podCIDR": str(_pod_cidr(number)), "podCIDRs": [str(_pod_cidr(number))]}
    made["status"]["addresses"] = [{"type": "InternalIP", "address": _address(number)}]
    return made


def _pod_cidr(number: int) -> IPv4Network:
    return IPv4Network((_FIRST_POD_CIDR + (number << 8), 24))


def _address(number: int) -> str:
    """Number 0 is the host's own."""
    return "192.0.2.11" if number == 0 else str(IPv4Address(_FIRST_ADDRESS + number))


def _heartbeats(cluster: Cluster, agent: Agent, peers: int) -> float:
    """The agent's CPU seconds for one kubelet status update of another node, less what the same time costs at rest."""
    before_s, began_s = _cpu_s(agent), time.monotonic()
    for number in range(_HEARTBEATS):
        cluster.heartbeat(f"n{1 + number % peers}")
        ahead_s = began_s + number / _HEARTBEATS_PER_S - time.monotonic()
        if ahead_s > 0:
            time.sleep(ahead_s)
    spent_s = time.monotonic() - began_s
    used_s = _cpu_s(agent) - before_s
    return (used_s - _idle_cpu_s(agent, spent_s)) / _HEARTBEATS


def _idle_cpu_s(agent: Agent, seconds: float) -> float:
    """What the agent uses at rest in that time, from a sample of two seconds."""
    before_s = _cpu_s(agent)
    time.sleep(2)
    return (_cpu_s(agent) - before_s) / 2 * seconds


def _cpu_s(agent: Agent) -> float:
    """CPU seconds of all its threads so far, in the scheduler's nanoseconds (Documentation/scheduler/sched-stats.rst)."""
    tasks = Path(f"/proc/{agent.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _memory_mb(agent: Agent, field: str) -> float:
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def _time(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


def _line(what: str, value: float, unit: str, most: float | None = None) -> str:
    goal = "" if most is None else f"   goal ≤ {most} {unit}: {'met' if value <= most else 'MISSED'}"
    return f"{what:50} {value:9.3f} {unit:2}{goal}"


if __name__ == "__main__":
    main()
