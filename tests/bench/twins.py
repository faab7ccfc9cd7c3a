"""How do two clusters come about that differ only in who programmed the nodes: the agent, or an administrator at a shell?"""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.agent.cluster import Cluster, until
from tests.linux.namespaces import Namespace, Segment

MTU_BYTES: Final = {"host-gw": 1500, "vxlan": 1450, "vxlan-gpe": 1464}
"""The backends, and the largest packet of a pod with each on Ethernet."""
HOSTS: Final = (1, 2)
TUNNELS: Final = {"vxlan": ("nictl.1", "v0"), "vxlan-gpe": ("nictl-gpe", "g0")}
"""What the tunnel is called: by the agent, by hand."""


class Pair:
    """Two nodes with a pod each; the pods can talk once the nodes have routes."""

    def __init__(self, stack: ExitStack, segment: Segment, backend: str) -> None:
        self.backend = backend
        self.segment = segment
        self.hosts = {n: segment.host(f"192.0.2.1{n}/24") for n in HOSTS}
        self.pods = {n: self._pod(stack, n) for n in HOSTS}

    def _pod(self, stack: ExitStack, number: int) -> Namespace:
        pod, host, address = stack.enter_context(Namespace()), self.hosts[number], pod_address(number)
        mtu_bytes = MTU_BYTES[self.backend]
        host.sh(
            f"ip link add pod mtu {mtu_bytes} type veth peer name eth0 mtu {mtu_bytes} netns {pod.pid};"
            f"ip address add 169.254.1.1/32 dev pod; ip link set pod up; ip route add {address}/32 dev pod"
        )
        # What a connection learned of its path would be carried over to the next and make one pair differ from the other for good.
        pod.sh(
            f"ip address add {address}/32 dev eth0; ip link set eth0 up; sysctl -qw net.ipv4.tcp_no_metrics_save=1;"
            "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1"
        )
        return pod

    def meet(self) -> None:
        """Waits until the pods reach each other; the first packet also settles neighbours and the switch's table."""
        target = pod_address(2)
        until(
            lambda: " 0% packet loss" in self.pods[1].run("ping", "-c1", "-W1", target, check=False),
            "the pods reach each other",
        )


def pod_address(number: int) -> str:
    """The address of the pod on a node."""
    return f"10.244.{number}.10"


def by_agent(pair: Pair, directory: Path, stack: ExitStack) -> None:
    """An agent on each node with its defaults, and an API server beside the nodes; they run until the stack is closed."""
    cluster = stack.enter_context(Cluster(directory, pair.segment))
    cluster.install_crds()
    cluster.apply(
        {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "ClusterCIDR",
            "metadata": {"name": "default"},
            "spec": {"ipv4": {"cidrs": ["10.244.0.0/16"], "nodeMaskSize": 24}},
        }
    )
    for n in HOSTS:
        cluster.add(f"n{n}", pod_cidrs=(f"10.244.{n}.0/24",), addresses=(f"192.0.2.1{n}",))
    for n, host in pair.hosts.items():
        agent = cluster.start_agent(host, f"n{n}", "--backend", pair.backend)
        until(agent.conflist.exists, "the conflist is there")
        mtu_bytes = json.loads(agent.conflist.read_text())["plugins"][0]["mtu"]
        assert mtu_bytes == MTU_BYTES[pair.backend], f"pods have {mtu_bytes} bytes"
    pair.meet()


def by_hand(pair: Pair) -> None:
    """What an administrator would type, masquerade of what leaves the pod network included."""
    for n, host in pair.hosts.items():
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
            }[pair.backend]
        )
    pair.meet()


def listening(pod: Namespace) -> subprocess.Popen[bytes]:
    """An iperf3 server in a pod, for as long as the process lives."""
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *pod.inside("iperf3", "-s")], stdout=subprocess.DEVNULL
    )
    until(lambda: ":5201" in pod.run("ss", "-Hltn"), "iperf3 listens")
    return server
