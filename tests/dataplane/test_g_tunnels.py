"""G: what fits a tunnel, and what a change of the backend costs pods that talk meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import state
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]


@scenario("G5-gpe")
def test_gpe_carries_both_families_without_neighbours_or_fdb(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", dual=True)
    for name, fields in lab.nodes.items():  # pods of both families, nodes of one
        lab.cluster.add(name, pod_cidrs=fields["pod_cidrs"], addresses=fields["addresses"][:1])
    lab.settle("--backend", "vxlan-gpe")
    found = state(lab.hosts["n1"])
    assert found["neighbour"] == found["fdb"] == []
    (link,) = lab.hosts["n1"].ip("link", "show", "nictl-gpe")
    data: dict[str, Any] = link["linkinfo"]["info_data"]
    assert (data["port"], link["mtu"]) == (4790, 1464)
    pods = lab.pod("n1"), lab.pod("n2")
    assert [":" in address for address in pods[1].addresses] == [False, True]
    assert all(pods[0].reaches(address) for address in pods[1].addresses)


def ping_loss(text: str) -> int:
    """How many answers are missing before the last one that came; the rest may still be under way when ping is stopped."""
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}
    assert len(answered) > 50, "the ping ran all the time"
    return max(answered) - len(answered)


@scenario("G6-backend-switch-live")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("host-gw", "vxlan", id="host-gw to vxlan"),
        pytest.param("vxlan", "host-gw", id="vxlan to host-gw"),
        pytest.param("vxlan", "vxlan-gpe", id="classic vxlan to external vxlan"),
    ],
)
def test_pods_hardly_notice_a_change_of_the_backend(make_lab: MakeLab, before: str, after: str) -> None:
    lab = make_lab("n1", "n2", dual=True)
    lab.settle("--backend", before)
    pods = lab.pod("n1"), lab.pod("n2")
    pings = [
        subprocess.Popen(
            pods[0].space.inside("ping", "-n", "-i", "0.01", address), stdout=subprocess.PIPE, text=True
        )
        for address in pods[1].addresses
    ]
    texts: list[str] = []
    try:
        for flags in (
            ("--backend", before, "--also-accept", after),
            ("--backend", after, "--also-accept", before),
            ("--backend", after),
        ):
            for name in lab.hosts:
                lab.start(name, *flags)
                lab.ready()
    finally:
        for ping in pings:
            ping.send_signal(signal.SIGINT)
            texts.append(ping.communicate()[0])
    most = case("G6-backend-switch-live")["expect"]["ping_loss_packets_max"]
    assert [ping_loss(text) <= most for text in texts] == [True, True]
    for name, host in lab.hosts.items():
        devices = {link["ifname"] for link in host.ip("link")}
        left = {"vxlan": "nictl.1", "vxlan-gpe": "nictl-gpe"}.get(before)
        assert left not in devices, "the former backend left nothing"
        assert lab.planned(name) == []
