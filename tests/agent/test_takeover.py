"""Do pods of two nodes reach each other without a lost packet while one after the other is taken over from another agent?"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import pytest

from nodeipam_ctl.routing import flannel
from nodeipam_ctl.routing.predecessors import PREDECESSORS, tunnel_names
from tests.agent.cluster import Agent, Cluster, until
from tests.agent.test_forwarding import Pair
from tests.linux.namespaces import Namespace
from tests.patience import PATIENCE

pytestmark = pytest.mark.kernel

_TUNNELS = pytest.mark.debian_kernel
"""IP in IP is missing in some kernels."""
_MACS = {1: "de:ad:be:ef:00:01", 2: "de:ad:be:ef:00:02"}


@pytest.fixture
def pair(cluster: Cluster) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(cluster, stack)


def as_flannel_leaves_it(host: Namespace, number: int, vni: int, address: str = "10.244.{}.0/32") -> None:
    """What flanneld's vxlan backend has made on one of two nodes."""
    peer, dev = 3 - number, f"flannel.{vni}"
    host.sh(f"""
        sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0.rp_filter=1
        ip link add {dev} address {_MACS[number]} type vxlan id {vni} dev eth0 local 192.0.2.1{number} dstport 8472 nolearning
        {f"ip address add {address.format(number)} dev {dev}" if address else ""}
        ip link set {dev} mtu 1450 up
        sysctl -qw net.ipv4.conf.{dev.replace(".", "/")}.rp_filter=1
        ip neighbour add 10.244.{peer}.0 lladdr {_MACS[peer]} dev {dev} nud permanent
        bridge fdb add {_MACS[peer]} dev {dev} dst 192.0.2.1{peer} self permanent
        ip route add 10.244.{peer}.0/24 via 10.244.{peer}.0 dev {dev} onlink
    """)


def without_an_address(host: Namespace, number: int, vni: int) -> None:
    """Devices as kube-router's tunnels are, on a kernel without IP in IP: they drop what is answered another way."""
    as_flannel_leaves_it(host, number, vni, address="")


def as_kube_router_leaves_it(host: Namespace, number: int, _: int) -> None:
    """What kube-router makes on one of two nodes with `--overlay-type=full`."""
    peer = 3 - number
    far_end = f"192.0.2.1{peer}"
    tunnel = tunnel_names(ip_address(far_end))[0]
    host.sh(f"""
        sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0.rp_filter=1
        ip tunnel add {tunnel} mode ipip local 192.0.2.1{number} remote {far_end}
        ip link set {tunnel} up
        sysctl -qw net.ipv4.conf.{tunnel}.rp_filter=1
        ip route add {far_end} dev {tunnel} table 77
        ip rule add from 10.244.{number}.0/24 lookup 77
        ip route add 10.244.{peer}.0/24 dev {tunnel} src 192.0.2.1{number} proto 17
    """)


class Pinging:
    """Pods ping each other, from both ends, two hundred times a second."""

    def __init__(self, pair: Pair, directory: Path) -> None:
        self._said = [directory / f"ping-{number}" for number in (1, 2)]
        self._all = []
        for number, (pod, said) in enumerate(zip(pair.pods, self._said, strict=True), 1):
            ping = pod.inside("ping", "-n", "-i", "0.005", f"10.244.{3 - number}.10")
            with said.open("w") as out:
                self._all.append(subprocess.Popen(ping, stdout=out))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for process in self._all:
            process.kill()
            process.wait()

    def lost(self) -> list[list[int]]:
        """The numbers that never came back from each end, but for those behind the last that did."""
        for process in self._all:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
        answered = [
            {int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", said.read_text())} for said in self._said
        ]
        return [sorted(set(range(1, max(numbers))) - numbers) for numbers in answered]


def left(host: Namespace) -> list[str]:
    """The predecessor's devices."""
    return [link["ifname"] for link in host.ip("link") if link["ifname"].startswith(("flannel", "tun-"))]


_LEFT: dict[str, Callable[[Namespace, int, int], None]] = {
    "flannel": as_flannel_leaves_it,
    "no address": without_an_address,
    "kube-router": as_kube_router_leaves_it,
}


@pytest.mark.parametrize(
    ("name", "vni", "flags"),
    [
        pytest.param("flannel", 1, ("--backend", "host-gw"), id="flannel to host-gw"),
        pytest.param("flannel", 1, ("--backend", "vxlan-gpe"), id="flannel to vxlan-gpe"),
        pytest.param("flannel", 1, ("--backend", "vxlan", "--vxlan-vni", "9"), id="flannel to another VNI"),
        pytest.param("flannel", 4096, ("--backend", "host-gw"), id="flannel with Windows' VNI to host-gw"),
        pytest.param("no address", 1, ("--backend", "host-gw"), id="devices without an address to host-gw"),
        *(
            pytest.param("kube-router", 0, ("--backend", to), id=f"kube-router to {to}", marks=_TUNNELS)
            for to in ("host-gw", "vxlan", "vxlan-gpe")
        ),
    ],
)
def test_no_packet_is_lost_while_nodes_are_taken_over_one_by_one(
    pair: Pair, tmp_path: Path, name: str, vni: int, flags: tuple[str, ...]
) -> None:
    for number, host in enumerate(pair.hosts, 1):
        _LEFT[name](host, number, vni)
    assert pair.ping()
    adopted = name if name in PREDECESSORS else "flannel"
    agents: list[Agent] = []
    with Pinging(pair, tmp_path) as pinging:
        for number, host in enumerate(pair.hosts, 1):
            agent = pair.cluster.start_agent(
                host, f"n{number}", "--adopt", adopted, "--audit-period", str(PATIENCE), *flags
            )
            agents.append(agent)
            until(lambda: agents[-1].lines("node_ready"), "it is ready")
            if number == 1:
                assert left(host), "n2 sends by it still"
        until(
            lambda: not any(map(left, pair.hosts)),
            "its devices are gone",
            timeout_s=30,
        )
        assert pinging.lost() == [[], []]
    for number, host in enumerate(pair.hosts, 1):
        (route,) = [line for line in host.routes() if line.startswith(f"10.244.{3 - number}.0/24")]
        assert "flannel" not in route
        assert "tun-" not in route
        assert "lookup 77" not in host.run("ip", "rule")
    assert all(
        "Route" not in line for agent in agents for line in agent.log().splitlines() if "finding" in line
    )


def test_no_packet_is_lost_while_flannels_own_device_is_taken_over(pair: Pair, tmp_path: Path) -> None:
    for number, host in enumerate(pair.hosts, 1):
        as_flannel_leaves_it(host, number, 1)
        pair.cluster.add(
            f"n{number}",
            pod_cidrs=(f"10.244.{number}.0/24",),
            addresses=(f"192.0.2.1{number}",),
            annotations={
                f"{flannel.PREFIX}kube-subnet-manager": "true",
                f"{flannel.PREFIX}backend-type": "vxlan",
                f"{flannel.PREFIX}backend-data": f'{{"VNI":1,"VtepMAC":"{_MACS[number]}"}}',
                f"{flannel.PREFIX}public-ip": f"192.0.2.1{number}",
            },
        )
    before = [host.ip("link", "show", "flannel.1")[0]["ifindex"] for host in pair.hosts]
    assert pair.ping()
    flags = ("--adopt", "flannel", "--backend", "vxlan", "--flannel-compat")
    agents: list[Agent] = []
    with Pinging(pair, tmp_path) as pinging:
        for number, host in enumerate(pair.hosts, 1):
            agents.append(pair.cluster.start_agent(host, f"n{number}", *flags))
            until(lambda: agents[-1].lines("node_ready"), "it is ready")
        assert pinging.lost() == [[], []]
    assert [host.ip("link", "show", "flannel.1")[0]["ifindex"] for host in pair.hosts] == before
    assert not any("flannel.1" in host.run("ip", "route", "show", "proto", "boot") for host in pair.hosts)
    # It stands on the NIC, and goes with it.
    pair.hosts[0].run("ip", "link", "delete", "flannel.1")
    until(pair.ping, "it is made again")
