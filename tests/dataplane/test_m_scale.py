"""M: do thousands of peers stay cheap, and does a cluster in motion leave nothing wrong behind? Speed itself is `make bench`."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from nodeipam_ctl.demo.apiserver.faults import Effect, Fault
from tests.agent.cluster import Agent, node, until
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import heard, ours, state
from tests.dataplane.lab import Lab
from tests.linux.namespaces import Namespace

MakeLab = Callable[..., Lab]
_TICKS = os.sysconf("SC_CLK_TCK")
_AUDITS = 3
_CHURN_PER_S, _CHURN_S = 50, 60


def block(number: int) -> str:
    return f"{IPv4Address('10.0.0.0') + (number << 8)}/24"


def address(number: int) -> str:
    return str(IPv4Address("192.0.16.0") + number)


def peer(number: int) -> dict[str, Any]:
    return node(f"m{number}", pod_cidrs=(block(number),), addresses=(address(number),))


def memory_mib(agent: Agent, field: str = "VmHWM") -> float:
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def cpu_s(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def widen(host: Namespace, number: int) -> None:
    """Every peer is on the host's own segment."""
    host.sh(f"ip address flush dev eth0; ip address add 192.0.2.1{number}/16 dev eth0")


@scenario("M1-5000-peers-cold", "M2-5000-peers-steady", "M6-list-paging")
def test_five_thousand_peers_are_programmed_in_seconds_and_cost_nothing_afterwards(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    peers = case("M1-5000-peers-cold")["given"]["peers"]
    most = case("M1-5000-peers-cold")["expect"]
    steady = case("M2-5000-peers-steady")
    lab = make_lab("n1", "n2", "n3")
    lab.cluster.add_many([peer(number) for number in range(16, 16 + peers)])
    faults = lab.cluster.api.cluster.faults
    wanted_objects = {"host-gw": 1, "vxlan": 3, "vxlan-gpe": 1}
    for number, (backend, objects) in enumerate(wanted_objects.items(), 1):
        name, pages = f"n{number}", faults.add(Fault(effect=Effect.DELAY, verb="list", resource="nodes"))
        host = lab.hosts[name]
        widen(host, number)
        agent = lab.start(name, "--backend", backend, "--no-follow-peers", "--audit-period", "1")
        lab.ready()
        # In CPU seconds, start of the interpreter included: what others do on this machine does not count.
        assert cpu_s(agent) < most["time_to_converge_s_max"], backend
        assert faults.hits(pages) >= peers / 1000, "the list came in pages"
        found = state(host)
        assert len(found["route"]) == peers + 2 + 1, "all peers, the two other nodes, our sink"
        assert len(found["neighbour"]) == len(found["fdb"]) == (peers + 2 if objects == 3 else 0)
        assert memory_mib(agent) < most["rss_mib_max"], backend
        spent_s, turns = cpu_s(agent), agent.metric("nodeipam_turn_seconds_count")
        with heard(host, tmp_path) as events:
            until(
                lambda: agent.metric("nodeipam_turn_seconds_count") >= turns + _AUDITS,  # noqa: B023
                "some audits have passed",
                timeout_s=30,
            )
        assert ours(events) == []
        audits = agent.metric("nodeipam_turn_seconds_count") - turns
        percent = (cpu_s(agent) - spent_s) / audits / steady["given"]["audit"] * 100
        assert percent < steady["expect"]["cpu_percent_avg_max"], "an audit every 30 s"
        agent.stop()
        del lab.agents[name]


@scenario("M5-churn")
def test_a_cluster_in_motion_leaves_the_host_right_and_the_agent_small(make_lab: MakeLab) -> None:
    assert (
        case("M5-churn")["events"][0]
        == f"{_CHURN_PER_S} random adds/deletes/moves per second for {_CHURN_S} s"
    )
    chance = random.Random(3)
    lab = make_lab("n1")
    host = lab.hosts["n1"]
    widen(host, 1)
    for name in ("n2", "n3"):
        lab.cluster.remove(name)
    present = dict.fromkeys(range(16, 16 + case("M5-churn")["given"]["peers"]), 0)
    lab.cluster.add_many([peer(number) for number in present])
    lab.settle("--mass-removal-delay", "0.5")
    agent = lab.agents["n1"]

    def wanted() -> set[str]:
        routes = {
            f"{block(n)} via {address(n + moved)} dev eth0 metric {100 + n % 64}"
            for n, moved in present.items()
        }
        return {*routes, "unreachable 10.244.1.0/24 metric 4278198272"}

    until(lambda: set(host.routes()) == wanted(), "every peer has its route", timeout_s=20)
    before_mib = memory_mib(agent, "VmRSS")
    spare, began_s = 10_000, time.monotonic()
    for step in range(_CHURN_PER_S * _CHURN_S):
        time.sleep(max(0.0, began_s + step / _CHURN_PER_S - time.monotonic()))  # the scenario's pace
        number = chance.choice(list(present))
        match chance.choice(("delete", "add", "move")):
            case "delete":
                del present[number]
                lab.cluster.remove(f"m{number}")
            case "add":
                spare += 1
                present[spare] = 0
                lab.cluster.add_many([peer(spare)])
            case _:
                present[number] = 20_000 - number % 100 + step % 50
                moved = address(number + present[number])
                lab.cluster.add(f"m{number}", pod_cidrs=(block(number),), addresses=(moved,))
    behind_s = time.monotonic() - began_s - _CHURN_S
    assert behind_s < _CHURN_S / 4, "the cluster moved about as fast as the scenario says"
    until(lambda: set(host.routes()) == wanted(), "the host has followed", timeout_s=30)
    assert memory_mib(agent, "VmRSS") - before_mib < case("M5-churn")["expect"]["rss_growth_mib_max"]
    assert lab.planned("n1") == []
