"""K, J4: does an agent say what is so, no more often than it must, and nothing that is somebody else's to say?"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodeipam_ctl.demo.apiserver.faults import Effect, Fault
from tests.agent.cluster import until
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import heard, ours, state
from tests.dataplane.lab import Lab
from tests.linux.namespaces import Namespace

MakeLab = Callable[..., Lab]


@scenario("J4-no-periodic-rewrite", "K4-status-patch-rate")
def test_a_quiet_node_costs_kernel_and_api_nothing(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    host, faults = lab.hosts["n1"], lab.cluster.api.cluster.faults
    writes = [
        faults.add(Fault(effect=Effect.DELAY, verb=verb)) for verb in ("create", "update", "patch", "delete")
    ]
    audit_s = 9.0  # and a fifth more, at random: five of them within the minute
    lab.settle("--backend", "vxlan", "--audit-period", str(audit_s))
    agent = lab.agents["n1"]
    until(lambda: lab.cluster.condition("n1") == ("False", "NodeIPAMRoutesReady"), "the condition is False")
    quiet_s = next(
        float(event.split()[1]) for event in case("K4-status-patch-rate")["events"] if "wait" in event
    )
    log = tmp_path / "nft"
    with log.open("w") as stream, heard(host, tmp_path) as events:
        monitor = subprocess.Popen(host.inside("nft", "monitor"), stdout=stream)
        try:
            until(lambda: nft_monitor_listens(host, log), "nft's monitor listens")
            turns, began_s = agent.metric("nodeipam_turn_seconds_count"), time.monotonic()
            beats = itertools.cycle(
                lab.nodes
            )  # in the scenario's minute kubelets go on saying that they live
            while time.monotonic() < began_s + quiet_s:
                lab.cluster.heartbeat(next(beats))
                time.sleep(1.0)
            assert agent.metric("nodeipam_turn_seconds_count") >= turns + 5, "five audits"
        finally:
            monitor.kill()
            monitor.wait()
    assert "nodeipam" not in log.read_text()
    assert ours(events) == []
    assert sum(faults.hits(number) for number in writes) == 1, "what the Node says, once, and before all this"
    assert case("K4-status-patch-rate")["expect"]["api_writes_by_agent_max"] == 1


@scenario("K5-shutdown")
@pytest.mark.parametrize("backend", ["host-gw", "vxlan", "vxlan-gpe"])
def test_an_agent_that_is_stopped_leaves_everything_as_it_is(
    make_lab: MakeLab, tmp_path: Path, backend: str
) -> None:
    wanted = case("K5-shutdown")["expect"]
    lab = make_lab("n1", "n2", dual=True)
    lab.settle("--backend", backend)
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    pods = lab.pod("n1"), lab.pod("n2")
    before = state(host, agent)
    with heard(host, tmp_path) as events:
        assert agent.stop(timeout_s=wanted["exit_seconds_max"]) == wanted["exit_code"]
    assert ours(events) == []
    assert state(host, agent) == before
    assert all(pods[0].reaches(address) for address in pods[1].addresses)


def nft_monitor_listens(host: Namespace, log: Path) -> bool:
    host.sh("nft add table inet probe; nft delete table inet probe")
    return "probe" in log.read_text()


@scenario("K2-condition-not-owned")
def test_a_condition_that_belongs_to_cloud_routes_is_left_alone(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    condition = case("K2-condition-not-owned")["given"]["nodes"]["n1"]["conditions"]["NetworkUnavailable"]
    told = {"type": "NetworkUnavailable", **condition}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [told]}}

    async def tell() -> None:
        lab.cluster.api.apply(node, subresource="status")

    lab.cluster.do(tell())
    lab.settle("--no-network-unavailable", "--audit-period", "1")
    agent = lab.agents["n1"]
    turns = agent.metric("nodeipam_turn_seconds_count")
    until(lambda: agent.metric("nodeipam_turn_seconds_count") >= turns + 2, "two audits", timeout_s=20)
    assert lab.cluster.condition("n1") == ("True", "NoRouteCreated")


@scenario("K3-health-endpoints")
def test_health_turns_bad_when_a_turn_hangs_and_readiness_waits_for_the_first(
    make_lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab("n1")
    hangs, nft, real = tmp_path / "hangs", tmp_path / "bin" / "nft", shutil.which("nft")
    hangs.touch()
    nft.parent.mkdir()
    nft.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || while [ -e {hangs} ]; do sleep 0.05; done\nexec {real} "$@"\n'
    )
    nft.chmod(0o755)
    monkeypatch.setenv("PATH", str(nft.parent), prepend=os.pathsep)
    try:
        agent = lab.start("n1", "--audit-period", "1")
        until(lambda: agent.lines("telemetry_served"), "it serves")
        assert agent.get("/healthz")[0] == 200
        code, text = agent.get("/readyz")
        assert code == 503
        assert "no turn has been completed" in text or "list is not complete" in text
        until(lambda: agent.get("/healthz")[0] == 500, "it says that it hangs", timeout_s=10)
    finally:
        hangs.unlink()
    until(lambda: agent.get("/healthz")[0] == 200, "it works again", timeout_s=30)
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    assert agent.get("/metrics")[1].startswith("# HELP ")
