"""Whose is the device on a kernel that has WireGuard? The kernel's, unless a wireguard-go that works has it already."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.agent.cluster import Cluster, until
from tests.agent.wireguard_lab import DEVICE, Lab, pings, pod
from tests.linux.machine import end

pytestmark = [pytest.mark.kernel, pytest.mark.debian_kernel]


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[Lab]:
    with Lab(cluster) as made:
        yield made


def test_the_kernels_device_is_taken_where_there_is_one_and_outlives_the_agent(lab: Lab) -> None:
    lab.start("n1", "n2")
    lab.connected("n1", "n2")
    machine = lab.machines["n1"]
    assert (lab.kind("n1"), lab.process("n1")) == ("wireguard", 0), "though wireguard-go is installed"
    end(lab.agents["n1"].process, signal.SIGKILL)
    assert pings(machine, pod("n1")[0], pod("n2")[0])


def test_deleting_wireguard_gos_device_moves_a_host_to_the_kernels(lab: Lab) -> None:
    lab.start("n1", "n2", userspace=True)
    lab.connected("n1", "n2")
    machine, key = lab.machines["n1"], lab.key("n1")
    assert lab.kind("n1") == "tun"
    machine.run("ip", "link", "delete", DEVICE)
    until(lambda: lab.kind("n1") == "wireguard", "the kernel has a device now")
    until(lambda: pings(machine, pod("n1")[1], pod("n2")[1]), "it speaks with the other node's wireguard-go")
    assert (lab.kind("n2"), lab.key("n1")) == ("tun", key)
