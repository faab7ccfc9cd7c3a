"""J: whose address do packets of real pods carry, also while the rules change?"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.agent.cluster import until
from tests.agent.test_masquerade import seen_as
from tests.dataplane.cases import case, scenario
from tests.dataplane.lab import Lab
from tests.linux.namespaces import Namespace

MakeLab = Callable[..., Lab]
OUTSIDE = "192.0.2.200"
MULTICAST, ROUTED_GROUP = "224.0.0.251", "239.255.0.77"


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
    sources = {
        "pod@n1": (here.space, here.address, 0),
        "n1": (host, "192.0.2.11", 0),
        f"{OUTSIDE} routed through n1": (outside, OUTSIDE, 0),
        "pod@n1 with mark 0x4000": (here.space, here.address, 0x4000),
        "pod@n1 with mark 0x4001": (here.space, here.address, 0x4001),
    }
    targets = {
        "pod@n1": (here.space, here.address),
        "pod@n2": (there.space, there.address),
        OUTSIDE: (outside, OUTSIDE),
        "n2 InternalIP": (lab.hosts["n2"], "192.0.2.12"),
        "address in second ClusterCIDR": (outside, "10.96.0.10"),
        "address in nonMasq": (outside, "198.18.0.1"),
    }
    words = {
        "pod": here.address,
        "n1": "192.0.2.11",
        # Nothing of kube-proxy's is here, so nobody changes what is left to it.
        "left to kube-proxy chain": here.address,
        "same: mark test is masked": here.address,
    }
    rows = [row for row in case("J1-matrix")["table"] if row["dst"] != MULTICAST]
    assert len(rows) == len(case("J1-matrix")["table"]) - 1, "multicast has a test of its own"
    for row in rows:
        source, address, mark = sources[row["src"]]
        at, target = targets[row["dst"]]
        with marked(host, address, mark):
            seen = seen_as(source, at, source=address, target=target)
        assert seen == words.get(row["seen_as"], row["seen_as"]), row


@contextmanager
def marked(host: Namespace, address: str, mark: int) -> Iterator[None]:
    """Packets of an address get a mark where kube-proxy would give it: on the host; a pod's own mark does not leave its namespace."""
    if not mark:
        yield
        return
    host.sh(
        "nft add table inet kube; nft 'add chain inet kube c { type filter hook prerouting priority -100; }';"
        f"nft add rule inet kube c ip saddr {address} meta mark set {mark:#x}"
    )
    try:
        yield
    finally:
        host.run("nft", "delete", "table", "inet", "kube")


@scenario("J1-matrix")
def test_pods_keep_their_address_towards_nodes_where_that_is_asked_for(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", pools=True)
    outside = outside_of(lab)
    lab.settle("--no-masquerade-nodes")
    pod = lab.pod("n1")

    def seen(at: Namespace, target: str) -> str:
        return seen_as(pod.space, at, source=pod.address, target=target)

    assert seen(lab.hosts["n2"], "192.0.2.12") == pod.address
    assert seen(outside, OUTSIDE) == "192.0.2.11", "not a node"
    lab.cluster.add("n4", pod_cidrs=("10.244.4.0/24",), addresses=(OUTSIDE,))
    until(lambda: seen(outside, OUTSIDE) == pod.address, "a node now, live")
    lab.cluster.remove("n4")
    until(lambda: seen(outside, OUTSIDE) == "192.0.2.11", "a node no more")
    assert lab.planned("n1") == []
    lab.start("n1")
    lab.ready()
    assert seen(lab.hosts["n2"], "192.0.2.12") == "192.0.2.11", "masqueraded unless asked for"
    assert lab.agents["n1"].metric("nodeipam_host_changes_total") == 1, "the table, and nothing else"


@scenario("J1-matrix")
def test_the_hosts_own_packets_to_pods_keep_their_source_unless_asked_for(make_lab: MakeLab) -> None:
    other = "203.0.113.11"  # as a program has it that is bound to an address only this host knows
    lab = make_lab("n1", "n2", pools=True)
    host = lab.hosts["n1"]
    host.run("ip", "address", "add", f"{other}/32", "dev", "lo")
    outside = outside_of(lab)
    lab.settle()
    here, there = lab.pod("n1"), lab.pod("n2")

    def seen(source: str) -> str:
        return seen_as(host, there.space, source=source, target=there.address)

    assert (seen("192.0.2.11"), seen(other)) == ("192.0.2.11", other)
    lab.start("n1", "--masquerade-host")
    lab.ready()
    assert (seen("192.0.2.11"), seen(other)) == ("192.0.2.11", "192.0.2.11")
    assert seen_as(host, here.space, source=other, target=here.address) == other, "our own pods see it"
    assert seen_as(host, outside, source=other, target=OUTSIDE) == other, "and so does the rest of the world"
    assert seen_as(outside, here.space, source=OUTSIDE, target=here.address) == OUTSIDE


@scenario("J1-matrix")
def test_multicast_of_a_pod_leaves_the_host_under_the_pods_address(make_lab: MakeLab) -> None:
    lab = make_lab("n1", pools=True)
    outside = outside_of(lab)
    lab.settle()
    pod, host = lab.pod("n1"), lab.hosts["n1"]
    device = host.ip("route", "get", pod.address)[0]["dev"]
    # Link-local groups end at the host.
    assert group_seen_as(pod.space, host, MULTICAST, device) == pod.address
    # Others are forwarded by a multicast router, which the kernel is for as long as this socket lives.
    with multicast_router(host, device, "eth0", source=pod.address, group=ROUTED_GROUP):
        assert group_seen_as(pod.space, outside, ROUTED_GROUP, "eth0") == pod.address
        lab.agents["n1"].stop()
        text = host.run("nft", "list", "table", "inet", "nodeipam")
        assert ", 224.0.0.0/4 }" in text
        without = f"delete table inet nodeipam\n{text.replace(', 224.0.0.0/4 }', ' }')}"
        host.run("nft", "-f", "-", stdin=without)
        assert group_seen_as(pod.space, outside, ROUTED_GROUP, "eth0") == "192.0.2.11", (
            "without the exemption"
        )
        lab.start("n1")
        lab.ready()
        assert group_seen_as(pod.space, outside, ROUTED_GROUP, "eth0") == pod.address


def group_seen_as(source: Namespace, at: Namespace, group: str, device: str) -> str:
    """The source address with which a packet to a group arrives at a device."""
    with at.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind((group, 0))
        joined = struct.pack("4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(device))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        with source.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
            sender.sendto(b"x", receiver.getsockname())
        address: str = receiver.recvfrom(16)[1][0]
        return address


@contextmanager
def multicast_router(
    host: Namespace, inside: str, outside: str, *, source: str, group: str
) -> Iterator[None]:
    """The kernel forwards a source's packets to a group from one device to another (linux/mroute.h)."""
    init, add_device, add_route, by_index = 200, 202, 204, 0x8
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP) as router:
        router.setsockopt(socket.IPPROTO_IP, init, 1)
        for number, device in enumerate((inside, outside)):
            vif = struct.pack("HBBIi4x", number, by_index, 1, 0, socket.if_nametoindex(device))
            router.setsockopt(socket.IPPROTO_IP, add_device, vif)
        thresholds = bytes([0, 1]).ljust(32, b"\0")  # out of the second device only
        route = struct.pack("4s4sH32s2x16x", socket.inet_aton(source), socket.inet_aton(group), 0, thresholds)
        router.setsockopt(socket.IPPROTO_IP, add_route, route)
        yield


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
