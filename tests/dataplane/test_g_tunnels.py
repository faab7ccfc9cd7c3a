"""G: what fits a tunnel, and what a change of the backend costs pods that talk meanwhile."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from tests.agent.cluster import until
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import state
from tests.dataplane.lab import Lab, Pod

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


class Talk:
    """Every pod pings every other, 100 times a second, until it is asked how many answers are missing."""

    def __init__(self, pods: dict[str, Pod], directory: Path) -> None:
        self._pings: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        for here, pod in pods.items():
            for there, other in pods.items():
                for address in other.addresses if here != there else ():
                    log = directory / f"{here}-{there}-{address.replace(':', '_')}"
                    with log.open("wb") as stream:
                        ping = subprocess.Popen(
                            [
                                *("setpriv", "--pdeathsig", "KILL"),
                                *pod.space.inside("stdbuf", "-oL", "ping", "-n", "-i", "0.01", address),
                            ],
                            stdout=stream,
                        )
                    self._pings[log.name] = ping, log

    def __enter__(self) -> Self:
        try:
            until(lambda: all(map(self._answered, self._pings)), "every pod is answered")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for ping, _ in self._pings.values():
            ping.kill()
            ping.wait()

    def goes_on(self, seconds: float) -> None:
        """Waits until every ping has been answered for so long."""
        before = {name: max(self._answered(name)) for name in self._pings}
        until(
            lambda: all(max(self._answered(n)) >= b + seconds * 100 for n, b in before.items()),
            "pods have talked",
            timeout_s=30,
        )

    def losses(self) -> dict[str, int]:
        """How many answers are missing before the last one that came; later ones may still be under way."""
        answered = {name: self._answered(name) for name in self._pings}
        return {name: max(numbers) - len(numbers) for name, numbers in answered.items()}

    def _answered(self, name: str) -> set[int]:
        text = self._pings[name][1].read_text()
        return {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)}


@scenario("G6-backend-switch-live")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("host-gw", "vxlan", id="host-gw to vxlan"),
        pytest.param("vxlan", "host-gw", id="vxlan to host-gw"),
        pytest.param("vxlan", "vxlan-gpe", id="classic vxlan to external vxlan"),
    ],
)
@pytest.mark.parametrize(
    "follow",
    [
        pytest.param(True, id="one rollout"),
        pytest.param(False, id="three rollouts where nobody follows"),
    ],
)
def test_pods_hardly_notice_a_change_of_the_backend(
    make_lab: MakeLab, tmp_path: Path, before: str, after: str, follow: bool
) -> None:
    lab = make_lab("n1", "n2", "n3", dual=True)
    always = () if follow else ("--no-follow-peers",)
    lab.settle("--backend", before, *always)
    rollouts: list[tuple[str, ...]] = [
        ("--backend", before, "--also-accept", after, *always),
        ("--backend", after, "--also-accept", before, *always),
        ("--backend", after, *always),
    ]
    if follow:
        rollouts = rollouts[-1:]
    with Talk({name: lab.pod(name) for name in lab.hosts}, tmp_path) as talk:
        for flags in rollouts:
            for name in lab.hosts:
                lab.start(name, *flags)
                lab.ready()
                talk.goes_on(1.0)
        losses = talk.losses()
    assert len(losses) == 3 * 2 * 2, "every pair, both ways, both families"
    most = case("G6-backend-switch-live")["expect"]["ping_loss_packets_max"]
    assert max(losses.values()) <= most, losses
    former = {"vxlan": {"nictl.1", "nictl-v6.1"}, "vxlan-gpe": {"nictl-gpe"}}.get(before, set())
    for name, host in lab.hosts.items():
        until(
            lambda: not former & {link["ifname"] for link in host.ip("link")},  # noqa: B023
            "the former backend left nothing",
        )
        assert lab.planned(name) == []
