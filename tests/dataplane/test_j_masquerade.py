"""J: whose address do packets of real pods carry, also while the rules change?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

from tests.agent.cluster import until
from tests.agent.test_masquerade import seen_as
from tests.dataplane.cases import case, scenario
from tests.dataplane.lab import Lab
from tests.linux.namespaces import Namespace

MakeLab = Callable[..., Lab]
OUTSIDE = "192.0.2.200"


def outside_of(lab: Lab, *more: str) -> Namespace:
    """A host beside the nodes that knows the way to n1's pods, with more addresses behind it."""
    outside = lab.segment.host(f"{OUTSIDE}/24")
    outside.run("ip", "route", "add", "10.244.1.0/24", "via", "192.0.2.11")
    for address in more:
        outside.run("ip", "address", "add", f"{address}/32", "dev", "lo")
        lab.hosts["n1"].run("ip", "route", "add", f"{address}/32", "via", OUTSIDE)
    return outside


@scenario("J1-matrix")
def test_pods_keep_their_address_inside_the_pod_network_only(make_lab: MakeLab) -> None:
    given = case("J1-matrix")["given"]
    lab = make_lab("n1", "n2", pools=True)
    lab.pool("default", *given["clusterCIDRs"])
    outside = outside_of(lab, "10.96.0.10", "198.18.0.1")
    lab.settle("--non-masquerade-cidr", ",".join(given["nonMasq"]))
    here, there = lab.pod("n1"), lab.pod("n2")
    host = lab.hosts["n1"]
    table = [
        # (from, source, at, destination, mark, seen as)
        (here.space, here.address, there.space, there.address, 0, here.address),
        (here.space, here.address, outside, OUTSIDE, 0, "192.0.2.11"),
        (here.space, here.address, lab.hosts["n2"], "192.0.2.12", 0, "192.0.2.11"),
        (here.space, here.address, outside, "10.96.0.10", 0, here.address),
        (here.space, here.address, outside, "198.18.0.1", 0, here.address),
        (host, "192.0.2.11", there.space, there.address, 0, "192.0.2.11"),
        (outside, OUTSIDE, here.space, here.address, 0, OUTSIDE),
    ]
    for source, address, at, target, mark, expected in table:
        assert seen_as(source, at, source=address, target=target, mark=mark) == expected, (address, target)
    # A pod's mark does not leave its namespace; kube-proxy sets it on the host, before routing.
    host.sh(
        "nft add table inet kube; nft 'add chain inet kube c { type filter hook prerouting priority -100; }';"
        f"nft add rule inet kube c ip saddr {here.address} udp dport 53 meta mark set 0x4001"
    )
    with outside.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((OUTSIDE, 53))
        receiver.settimeout(5)
        with here.space.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (OUTSIDE, 53))
        assert receiver.recvfrom(16)[1][0] == here.address, "left to kube-proxy's own chain"
    multicast = host.run("nft", "list", "set", "inet", "nodeipam", "inside4")
    assert "224.0.0.0/4" in multicast


def handle_of_the_chain(host: Namespace) -> str:
    listed = host.run("nft", "-a", "list", "chain", "inet", "nodeipam", "postrouting")
    return next(line for line in listed.splitlines() if "chain postrouting {" in line)


@scenario("J2-atomic-update")
def test_no_flow_slips_through_while_the_table_is_replaced(make_lab: MakeLab) -> None:
    lab = make_lab("n1", pools=True)
    outside = outside_of(lab)
    lab.settle()
    pod, agent = lab.pod("n1"), lab.agents["n1"]
    chain = handle_of_the_chain(lab.hosts["n1"])
    stop = threading.Event()
    sent: list[int] = []
    seen: dict[str, int] = {}

    def send() -> None:
        with pod.space.entered():
            while not stop.wait(0.001):
                with socket.socket(
                    socket.AF_INET, socket.SOCK_DGRAM
                ) as fresh:  # a new port: a new connection
                    fresh.sendto(b"x", (OUTSIDE, 9999))
                sent.append(1)

    def receive(receiver: socket.socket) -> None:
        while True:
            data, (address, _) = receiver.recvfrom(16)
            if data == b"end":
                return
            seen[address] = seen.get(address, 0) + 1

    with outside.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind((OUTSIDE, 9999))
        receiver.settimeout(20)
    threads = [threading.Thread(target=send), threading.Thread(target=receive, args=(receiver,))]
    try:
        for thread in threads:
            thread.start()
        changes = agent.metric("nodeipam_host_changes_total")
        for number in range(100):
            if number % 2 == 0:
                lab.pool("second", "10.250.0.0/16")
            else:
                lab.forget("ClusterCIDR", "second")
            changes += 1
            until(
                lambda: agent.metric("nodeipam_host_changes_total") >= changes,  # noqa: B023
                "the table is replaced",
            )
    finally:
        stop.set()
        threads[0].join()
        with outside.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", (OUTSIDE, 9999))
        threads[1].join()
        receiver.close()
    assert handle_of_the_chain(lab.hosts["n1"]) == chain, "the chain itself stayed in the hook"
    assert len(sent) > 500
    assert seen == {"192.0.2.11": len(sent)}, "none with the pod's address, none lost"


@scenario("J6-masq-off")
def test_without_masquerade_there_is_no_chain_and_the_files_say_so(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    env = tmp_path / "flannel" / "subnet.env"
    lab.settle("--no-masquerade", "--subnet-env", str(env))
    assert "nodeipam" not in lab.hosts["n1"].run("nft", "list", "tables")
    until(env.exists, "the file is there")
    assert "FLANNEL_IPMASQ=false\n" in env.read_text()
