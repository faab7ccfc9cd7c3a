"""WireGuard between real hosts: pods reach each other encrypted, keys stay secret, and what dies comes back.

The device is the kernel's where these tests run on a kernel that has WireGuard, and wireguard-go's elsewhere.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.agent.cluster import Agent, Cluster, until
from tests.agent.wireguard_lab import ADDRESSES, DEVICE, SECRET, Lab, pings, pod
from tests.linux.machine import end
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

SOMEBODY = "c29tZWJvZHkncyBwdWJsaWMga2V5LCAzMiBieXRlcy4="
SINKS = (
    "unreachable 10.244.1.0/24 metric 4278198272",
    "unreachable fd00:244:0:1::/64 dev lo metric 4278198272 pref medium",
)


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Lab]:
    with Lab(cluster) as made:
        yield made


def says(agent: Agent, text: str) -> bool:
    return text in agent.log()


@contextmanager
def frames(where: Namespace, device: str) -> Iterator[list[bytes]]:
    """Every frame on a device meanwhile, complete once the context is left."""
    with where.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    seen: list[bytes] = []
    with tap:
        tap.bind((device, 3))
        tap.settimeout(0.3)  # after the last frame
        over = threading.Event()

        def listen() -> None:
            while True:
                try:
                    seen.append(tap.recv(65535))
                except TimeoutError:
                    if over.is_set():
                        return

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()


def test_pods_reach_each_other_and_the_wire_shows_nothing(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    n1, n2 = lab.machines["n1"], lab.machines["n2"]
    with frames(lab.cluster.segment.switch, "p1") as seen:
        for mine, theirs in zip(pod("n1"), pod("n2"), strict=True):
            assert pings(n1, mine, theirs)
            assert pings(n2, theirs, mine)
            assert pings(n1, mine, theirs, "-M", "do", "-s", "1300")
        assert pings(n1, *("10.244.1.0", pod("n2")[0])), "the host itself reaches pods"
    assert any(
        frame[12:14] == b"\x08\x00" and frame[36:38] == (51820).to_bytes(2) and frame[42] == 4
        for frame in seen
    ), "WireGuard's data messages pass here"
    assert not any(SECRET in frame for frame in seen)
    with frames(lab.cluster.segment.switch, "p1") as seen:
        assert pings(n1, *(ADDRESSES[name][0] for name in ("n1", "n2")))
    assert any(SECRET in frame for frame in seen), "what is not encrypted would have been seen"

    (link,) = n1.ip("link", "show", DEVICE)
    assert link["mtu"] == 1500 - 80, "one of the underlays is IPv6"
    assert json.loads(lab.agents["n1"].conflist.read_text())["plugins"][0]["mtu"] == 1420
    assert n1.routes() == sorted(
        (
            "10.244.2.0/24 dev nictl-wg scope link metric 102",
            "fd00:244:0:2::/64 dev nictl-wg metric 100 pref medium",
            *SINKS,
        )
    )


def test_the_private_key_is_nowhere_but_in_its_file(lab: Lab) -> None:
    lab.start("n1", "n2", flags=("--log-level", "debug"))
    lab.connected("n1", "n2")
    machine, agent = lab.machines["n1"], lab.agents["n1"]
    file = lab.key_file("n1")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["wireguard.key"]
    secret = file.read_text().strip()
    assert machine.run("wg", "pubkey", stdin=secret).strip() == lab.key("n1")
    config = agent.directory / "kubeconfig"
    plan = machine.run(
        *(sys.executable, "-m", "nodeipam_ctl", "agent", "--node-name", "n1", "--kubeconfig", str(config)),
        *("--cni-conf-dir", str(agent.directory / "other.d"), "--backend", "wireguard", "--plan"),
        *("--state-dir", str(agent.directory / "other")),
    )
    assert "key file" in plan
    assert not (agent.directory / "other").exists(), "a plan makes no key"
    arguments = machine.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ")
    for text in (plan, agent.log(), lab.agents["n2"].log(), arguments, json.dumps(lab.cluster.read("n1"))):
        assert secret not in text
        assert secret.rstrip("=") not in text


def test_peers_come_move_and_go_and_broken_ones_hurt_nobody_else(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    agent, machine = lab.agents["n1"], lab.machines["n1"]

    lab.register("n3")
    until(lambda: "unreachable 10.244.3.0/24 metric 103" in machine.routes(), "n3 is closed off")
    assert "it publishes no WireGuard key" in agent.log()
    for hostile, reason in (
        ("not base64 at all", "is no WireGuard key"),
        (SOMEBODY[:-5] + "=", "is no WireGuard key"),
        (lab.key("n1"), "it is this node's own key"),
        (lab.key("n2"), "it is the key of node n2, which is older and keeps it"),
    ):
        lab.register("n3", key=hostile, created="2030-01-01T00:00:00Z")
        until(partial(says, agent, reason), f"the key is refused: {reason}")
        assert set(lab.peers("n1")) == {lab.key("n2")}
    lab.register("n3", key=SOMEBODY)
    until(lambda: lab.peers("n1").get(SOMEBODY) == "10.244.3.0/24 fd00:244:0:3::/64", "n3 is a peer")
    until(lambda: "10.244.3.0/24 dev nictl-wg scope link metric 103" in machine.routes(), "and has a route")
    endpoints = machine.run("wg", "show", DEVICE, "endpoints")
    assert f"{SOMEBODY}\t192.0.2.13:51820\n" in endpoints
    assert pings(machine, pod("n1")[0], pod("n2")[0])

    lab.register("n3", key=SOMEBODY, addresses=("fd00:10::33",))
    until(lambda: "[fd00:10::33]:51820" in machine.run("wg", "show", DEVICE, "endpoints"), "n3 has moved")
    lab.cluster.remove("n3")
    until(lambda: SOMEBODY not in lab.peers("n1"), "n3 is forgotten")
    until(lambda: not any("10.244.3." in route for route in machine.routes()), "and its routes")
    assert pings(machine, pod("n1")[1], pod("n2")[1])


def test_a_killed_process_comes_back_and_no_packet_takes_another_way_meanwhile(lab: Lab) -> None:
    lab.start("n1", "n2", userspace=True)
    lab.connected("n1", "n2")
    machine, before = lab.machines["n1"], lab.process("n1")
    assert before, "a working device is left to wireguard-go, also where the kernel could have it"
    assert pings(machine, pod("n1")[0], pod("n2")[0])
    routes = machine.routes()
    machine.run("kill", "-9", str(before))
    during = machine.routes()
    assert [route.replace(" linkdown", "") for route in during] == routes, "the routes stay"
    until(lambda: lab.process("n1") not in (0, before), "wireguard-go runs again")
    until(lambda: pings(machine, pod("n1")[0], pod("n2")[0]), "pods reach each other again")
    (link,) = machine.ip("link", "show", DEVICE)
    assert link["mtu"] == 1420
    assert machine.routes() == routes


def test_a_deleted_device_comes_back_with_its_key_and_peers(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    machine, key, kind = lab.machines["n1"], lab.key("n1"), lab.kind("n1")
    routes, peers = machine.routes(), lab.peers("n1")
    machine.run("ip", "link", "delete", DEVICE)
    until(lambda: machine.routes() == routes, "the routes are there again")
    until(lambda: pings(machine, pod("n1")[0], pod("n2")[0]), "pods reach each other again")
    assert (lab.key("n1"), lab.kind("n1"), lab.peers("n1")) == (key, kind, peers)


def test_a_restart_changes_nothing_and_a_stop_leaves_forwarding(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    machine, before = lab.machines["n1"], lab.process("n1")
    assert pings(machine, *(pod(name)[1] for name in ("n1", "n2")))
    end(lab.agents["n1"].process)
    assert lab.process("n1") == before
    assert pings(machine, *(pod(name)[0] for name in ("n1", "n2")))
    version = lab.cluster.resource_version("n1")
    agent = lab.agents["n1"]
    said = len(agent.log())
    lab.agent("n1")
    until(lambda: "node_ready" in agent.log()[said:], "the agent is ready again")
    assert lab.process("n1") == before
    assert "host_changed" not in agent.log()[said:]
    assert lab.cluster.resource_version("n1") == version


def test_removing_the_key_file_changes_the_key(lab: Lab) -> None:
    lab.start("n1", "n2", flags=("--audit-period", "1"))
    lab.connected("n1", "n2")
    old = lab.key("n1")
    lab.key_file("n1").unlink()
    until(lambda: lab.key("n1") != old, "the new key is published")
    until(lambda: set(lab.peers("n2")) == {lab.key("n1")}, "n2 knows the new key and not the old one")
    until(lambda: pings(lab.machines["n1"], pod("n1")[0], pod("n2")[0]), "pods reach each other")
    lab.key_file("n1").chmod(0o644)
    until(lambda: lab.key_file("n1").stat().st_mode & 0o777 == 0o600, "nobody else may read it")


def test_keys_come_through_the_ledger_as_well(lab: Lab) -> None:
    lab.cluster.install_crds()
    lab.register("n2")
    lab.cluster.apply(
        {
            "apiVersion": "nodeipam.dev/v1alpha1",
            "kind": "PodCIDRSlice",
            "metadata": {"name": "10.244.0.0-20", "labels": {"nodeipam.dev/family": "IPv4"}},
            "page": "10.244.0.0/20",
            "entries": [
                {
                    "cidr": "10.244.2.0/24",
                    "state": "Bound",
                    "node": "n2",
                    "nodeUID": lab.cluster.read("n2")["metadata"]["uid"],
                    "addresses": ["192.0.2.12"],
                    "wireguardPublicKey": SOMEBODY,
                }
            ],
        }
    )
    lab.start("n1", flags=("--feed", "slices"))
    until(lambda: lab.peers("n1") == {SOMEBODY: "10.244.2.0/24"}, "n2 is a peer")


def test_a_node_that_sends_another_way_still_understands(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    end(lab.agents["n2"].process)
    lab.agent("n2", "--backend", "host-gw", "--also-accept", "wireguard")
    n1, n2 = lab.machines["n1"], lab.machines["n2"]
    until(lambda: any("dev eth0" in route for route in n2.routes()), "n2 sends directly")
    assert lab.peers("n2") == {lab.key("n1"): "10.244.1.0/24 fd00:244:0:1::/64"}
    assert pings(n1, pod("n1")[0], pod("n2")[0])


def test_cleanup_removes_device_process_and_key(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    machine, agent = lab.machines["n1"], lab.agents["n1"]
    end(agent.process)
    said = machine.run(
        *(sys.executable, "-m", "nodeipam_ctl", "cleanup", "--yes"),
        *("--cni-conf-dir", str(agent.conflist.parent), "--state-dir", str(lab.key_file("n1").parent)),
    )
    assert re.search(r"removed \d+ objects", said)
    until(lambda: not lab.process("n1"), "wireguard-go ends with its device")
    assert machine.routes() == []
    assert not machine.run("ip", "link", "show", DEVICE, check=False)
    assert not lab.key_file("n1").exists()
