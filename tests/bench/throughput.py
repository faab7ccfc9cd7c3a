"""Do packets of pods pass as fast by our routes as by hand-made ones of the same kind? iperf3 between two pods, in turns; run as root.

python -m tests.bench.throughput [--backend host-gw ...] [--rounds N] [--seconds S]

Both setups have two nodes, a pod on each, the same sizes of packets and masquerade of what leaves the pod network. They are measured
one after the other, many times, and the median of the ratios is what counts: a shared machine is faster at one moment than at another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.agent.cluster import Cluster, until
from tests.linux.namespaces import Namespace, Segment

_MTU_BYTES = {"host-gw": 1500, "vxlan": 1450, "vxlan-gpe": 1464}
_HOSTS = (1, 2)


class Pair:
    """Two nodes with a pod each; the pods can talk once the nodes have routes."""

    def __init__(self, stack: ExitStack, segment: Segment, *, mtu_bytes: int) -> None:
        self.hosts = {n: segment.host(f"192.0.2.1{n}/24") for n in _HOSTS}
        self.pods = {n: self._pod(stack, n, mtu_bytes) for n in _HOSTS}

    def _pod(self, stack: ExitStack, number: int, mtu_bytes: int) -> Namespace:
        pod, host, address = stack.enter_context(Namespace()), self.hosts[number], f"10.244.{number}.10"
        host.sh(
            f"ip link add pod mtu {mtu_bytes} type veth peer name eth0 mtu {mtu_bytes} netns {pod.pid};"
            f"ip address add 169.254.1.1/32 dev pod; ip link set pod up; ip route add {address}/32 dev pod"
        )
        pod.sh(
            f"ip address add {address}/32 dev eth0; ip link set eth0 up;"
            "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1"
        )
        return pod

    def listen(self) -> subprocess.Popen[bytes]:
        """The receiver, for as long as the process lives."""
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.pods[2].inside("iperf3", "-s", "--forceflush")],
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        while b"listening" not in server.stdout.readline():
            assert server.poll() is None, "iperf3 ended"
        return server

    def gigabits_per_s(self, seconds: int) -> float:
        """One stream of TCP from pod to pod."""
        said = json.loads(self.pods[1].run("iperf3", "-J", "-t", str(seconds), "-c", "10.244.2.10"))
        return float(said["end"]["sum_received"]["bits_per_second"]) / 1e9


def by_hand(path: Pair, backend: str) -> None:
    """What an administrator would type."""
    for n, host in path.hosts.items():
        other = 3 - n
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")
        host.run(
            *("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", f"10.244.{n}.0/24"),
            *("!", "-d", "10.244.0.0/16", "-j", "MASQUERADE", "--random-fully"),
        )
        host.sh(
            {
                "host-gw": f"ip route add 10.244.{other}.0/24 via 192.0.2.1{other}",
                "vxlan": (
                    f"ip link add v0 address 0a:00:00:00:00:0{n} mtu 1450 type vxlan id 1 dstport 8472 nolearning"
                    f" local 192.0.2.1{n} dev eth0; ip address add 10.244.{n}.0/32 dev v0; ip link set v0 up;"
                    f"ip neighbour add 10.244.{other}.0 lladdr 0a:00:00:00:00:0{other} dev v0 nud permanent;"
                    f"bridge fdb append 0a:00:00:00:00:0{other} dev v0 dst 192.0.2.1{other};"
                    f"ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev v0 onlink"
                ),
                "vxlan-gpe": (
                    "ip link add g0 mtu 1464 type vxlan external gpe dstport 4790; ip link set g0 up;"
                    f"ip route add 10.244.{other}.0/24 encap ip id 1 dst 192.0.2.1{other} dev g0"
                ),
            }[backend]
        )


def measure(backend: str, *, rounds: int, seconds: int) -> None:
    """Prints both throughputs and their ratio."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nictl-bench-"))
        segments = [stack.enter_context(Segment()) for _ in _HOSTS]
        cluster = stack.enter_context(Cluster(Path(directory), segments[0]))
        ours, manual = (Pair(stack, segment, mtu_bytes=_MTU_BYTES[backend]) for segment in segments)
        cluster.install_crds()
        cluster.apply(
            {
                "apiVersion": "nodeipam.dev/v1alpha1",
                "kind": "ClusterCIDR",
                "metadata": {"name": "default"},
                "spec": {"ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}},
            }
        )
        for n in _HOSTS:
            cluster.add(f"n{n}", pod_cidrs=(f"10.244.{n}.0/24",), addresses=(f"192.0.2.1{n}",))
        for n, host in ours.hosts.items():
            agent = cluster.start_agent(host, f"n{n}", "--backend", backend)
            until(agent.conflist.exists, "the conflist is there")
            mtu_bytes = json.loads(agent.conflist.read_text())["plugins"][0]["mtu"]
            assert mtu_bytes == _MTU_BYTES[backend], f"pods have {mtu_bytes} bytes"
        by_hand(manual, backend)
        for path in (ours, manual):
            stack.callback(path.listen().kill)
        rates: dict[str, list[float]] = {"ours": [], "by hand": []}
        turns: list[tuple[str, Callable[[int], float]]] = [
            ("ours", ours.gigabits_per_s),
            ("by hand", manual.gigabits_per_s),
        ]
        for number in range(rounds):
            for name, rate in turns if number % 2 == 0 else reversed(turns):
                rates[name].append(rate(seconds))
        ratios = [a / b for a, b in zip(rates["ours"], rates["by hand"], strict=True)]
        medians = {name: statistics.median(found) for name, found in rates.items()}
        print(
            f"{backend:10} {medians['ours']:9.2f} {medians['by hand']:9.2f} {statistics.median(ratios):6.3f} "
            f"{min(ratios):6.3f} {max(ratios):6.3f}",
            flush=True,
        )


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", action="append", choices=list(_MTU_BYTES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=int, default=2)
    chosen = parser.parse_args()
    print("backend    ours_gbps hand_gbps  ratio lowest highest")
    for backend in chosen.backend or list(_MTU_BYTES):
        measure(backend, rounds=chosen.rounds, seconds=chosen.seconds)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
