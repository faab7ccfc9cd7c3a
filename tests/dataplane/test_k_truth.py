"""K, J4: does an agent say what is so, no more often than it must, and nothing that is somebody else's to say?"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from nodeipam_ctl.demo.apiserver.faults import Effect, Fault
from tests.agent.cluster import until
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import heard, ours
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
    assert sum(faults.hits(number) for number in writes) == 1, "the condition, once, and before all this"
    assert case("K4-status-patch-rate")["expect"]["api_writes_by_agent_max"] == 1


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
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab("n1")
    # Somebody puts a pipe where we read a file: the turn hangs in the kernel, as with a dead NFS mount.
    env = tmp_path / "subnet.env"
    os.mkfifo(env)
    agent = lab.start("n1", "--subnet-env", str(env), "--audit-period", "1")
    until(lambda: agent.lines("telemetry_served"), "it serves")
    assert agent.get("/healthz")[0] == 200
    code, text = agent.get("/readyz")
    assert code == 503
    assert "no turn has been completed" in text or "list is not complete" in text
    until(lambda: agent.get("/healthz")[0] == 500, "it says that it hangs", timeout_s=10)

    def works() -> bool:
        with contextlib.suppress(OSError):  # ENXIO: nobody reads at the moment
            os.close(os.open(env, os.O_WRONLY | os.O_NONBLOCK))  # whoever reads goes on
        return agent.get("/healthz")[0] == 200

    until(works, "it works again", timeout_s=30)
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready")
    assert env.is_file(), "the pipe has given way to the file"
    assert agent.get("/metrics")[1].startswith("# HELP ")
