"""B: nodes that come, go, return under their name or claim the same block, and an agent that dies meanwhile."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.agent.cluster import until
from tests.dataplane.cases import scenario
from tests.dataplane.kernel import heard, ours, state
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]


@scenario("B1-node-delete-live")
def test_a_deleted_node_loses_its_route_before_the_entries_the_route_needs(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab("n1")
    lab.settle("--backend", "vxlan")
    host = lab.hosts["n1"]
    with heard(host, tmp_path) as events:
        lab.cluster.remove("n3")
        took_s = until(lambda: "192.0.2.13" not in str(state(host)["fdb"]), "the FDB entry is gone")
    assert took_s < 2
    kept = state(host)
    assert "10.244.3." not in str(kept)
    assert (len(kept["route"]), len(kept["neighbour"]), len(kept["fdb"])) == (2, 1, 1)
    gone = [event for event in ours(events) if "Deleted" in event]
    (route,) = (n for n, event in enumerate(gone) if "10.244.3.0/24" in event)
    (neighbour,) = (n for n, event in enumerate(gone) if "Deleted 10.244.3.0 dev" in event)
    (fdb,) = (n for n, event in enumerate(gone) if "Deleted 192.0.2.13 dev" in event)
    assert route < min(neighbour, fdb), gone


@scenario("B3-recreated-same-name-new-cidr-coalesced")
def test_a_node_recreated_within_one_batch_leaves_nothing_of_the_old_one(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    lab.settle("--backend", "vxlan")
    host, faults = lab.hosts["n1"], lab.cluster.api.cluster.faults
    old = next(line.split()[0] for line in state(host)["fdb"] if "192.0.2.12 " in line)
    faults.stall_watches()
    lab.cluster.remove("n2")
    lab.cluster.add("n2", pod_cidrs=("10.244.9.0/24",), addresses=("192.0.2.22",))
    faults.resume_watches()
    until(lambda: "10.244.9.0/24" in str(state(host)["route"]), "the new block has its route")
    until(lambda: "10.244.2." not in str(state(host)), "the old block has nothing")
    now = state(host)
    assert old not in str(now)
    assert any("192.0.2.22 " in line for line in now["fdb"])
    assert (len(now["route"]), len(now["neighbour"]), len(now["fdb"])) == (3, 2, 2)
    assert lab.planned("n1") == []


@scenario("B5-duplicate-cidr-conflict")
def test_a_block_that_two_nodes_claim_stays_with_the_older_claim(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    lab.settle()
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    wanted = state(host, agent)
    with heard(host, tmp_path) as events:
        lab.cluster.add(
            "n4", pod_cidrs=("10.244.2.0/24",), addresses=("192.0.2.14",), created="2026-02-01T00:00:00Z"
        )
        until(lambda: agent.metric("nodeipam_podcidr_conflicts") == 1, "the dispute is counted")
        for number in range(5):  # the feed says both again and again, in either order
            for name in ("n2", "n4") if number % 2 else ("n4", "n2"):
                fields = lab.nodes.get(name, {"pod_cidrs": ("10.244.2.0/24",), "addresses": ("192.0.2.14",)})
                lab.cluster.add(name, **fields, annotations={"again": str(number)})
            lab.cluster.add("n3", pod_cidrs=("10.244.3.0/24",), addresses=(f"192.0.2.{30 + number}",))
            until(lambda: f"192.0.2.{30 + number}" in str(host.routes()), "it has heard all of it")  # noqa: B023
    assert [entry["code"] for entry in agent.lines("finding")] == ["PodCIDRConflict"]
    assert not [event for event in ours(events) if "10.244.2.0/24" in event], "no flapping"
    lab.cluster.add("n3", **lab.nodes["n3"])
    until(lambda: state(host, agent) == wanted, "the host is as before the dispute")


@scenario("B7-sigkill-at-random-points")
def test_killed_at_any_moment_the_next_start_makes_the_host_right(make_lab: MakeLab) -> None:
    chance = random.Random(7)
    lab = make_lab("n1")
    host = lab.hosts["n1"]
    blocks = {"n2": 2, "n3": 3}
    # Four nodes that went while the agent was dead are a mass removal: the second list is to come soon.
    flags = ("--backend", "vxlan", "--mass-removal-delay", "0.2")
    lab.start("n1", *flags)
    for _ in range(30):
        started = len(lab.agents["n1"].lines("agent_started"))
        for name in chance.sample([f"m{n}" for n in range(6)] + ["n2", "n3"], 3):
            if name in blocks and chance.random() < 0.5:
                del blocks[name]
                lab.cluster.remove(name)
            else:  # a Node's podCIDR never changes: another block is another Node
                if name in blocks:
                    lab.cluster.remove(name)
                blocks[name] = block = chance.randrange(20, 250)
                lab.cluster.add(name, pod_cidrs=(f"10.244.{block}.0/24",), addresses=(f"192.0.2.{block}",))
        agent = lab.agents["n1"]
        if agent.process.poll() is not None:
            agent = lab.start("n1", *flags)
            until(lambda: len(agent.lines("agent_started")) > started, "it runs")  # noqa: B023
        time.sleep(chance.uniform(0.0, 0.3))  # the moment of death
        agent.stop(signal.SIGKILL)
    lab.start("n1", *flags)
    lab.ready()
    wanted = {
        f"10.244.{block}.0/24 via 10.244.{block}.0 dev nictl.1 metric {100 + block % 64} onlink"
        for block in blocks.values()
    }
    wanted.add("unreachable 10.244.1.0/24 metric 4278198272")
    until(lambda: set(host.routes()) == wanted, "every peer has its route and nobody else")
    found = state(host)
    assert len(found["neighbour"]) == len(found["fdb"]) == len(set(blocks.values()))
    assert lab.planned("n1") == []
