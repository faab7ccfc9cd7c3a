"""Turns beside what a predecessor left: what cannot be removed, what returns, what stands in another table, and what is foretold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from nodeipam_ctl.agent.reconcile import Reconciler, Snapshot, planned
from nodeipam_ctl.linux import links
from nodeipam_ctl.linux.host import Host
from nodeipam_ctl.linux.netlink import Request
from nodeipam_ctl.plan import Change, Op, Plan
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.state import HostChange, PolicyRule
from nodeipam_ctl.settings import AgentSettings
from tests.linux.namespaces import Namespace, Segment
from tests.routing.views import N1, peer

pytestmark = pytest.mark.kernel

_LEFT = """
    sysctl -qw net.ipv4.ip_forward=1
    ip link add flannel.1 type vxlan id 1 local 192.0.2.11 dstport 8472 nolearning
    ip link set flannel.1 up
    ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
"""
_LOOPBACK = 1


def snapshot(*, runs: str = "host-gw", **fields: Any) -> Snapshot:
    """This node and n2, which have both said what they run."""
    other = peer("n2", "10.244.2.0/24", at=("192.0.2.12",), runs=runs)
    return Snapshot(own=N1, peers=(other,), formerly=("host-gw",), lists=1, **fields)


@contextmanager
def adopting(machine: Namespace, directory: Path, **settings: Any) -> Iterator[Reconciler]:
    """An agent's turns on a host, where nothing has to be idle for long."""
    known = AgentSettings(
        node_name="n1", cni_conf_dir=directory, adopt="flannel", audit_period_s=0.0, **settings
    )
    with machine.entered():
        host = Host(cni_conf_dir=directory)
        try:
            yield Reconciler(known, host, backends.load(known.backend), template=None)
        finally:
            host.close()


@pytest.fixture
def machine(segment: Segment) -> Namespace:
    made = segment.host("192.0.2.11/24", "fd00:10::11/64")
    made.sh(_LEFT)
    return made


def theirs(machine: Namespace) -> tuple[bool, bool]:
    """Whether the predecessor's route and device are there."""
    devices = {link["ifname"] for link in machine.ip("link")}
    return "dev flannel.1" in machine.run(
        "ip", "-4", "route", "show", "proto", "boot"
    ), "flannel.1" in devices


def test_a_device_that_stays_is_named_and_takes_no_node_out_of_service(
    machine: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = links.delete

    def refused(_index: int) -> Request:
        return remove(_LOOPBACK)  # which no kernel removes

    monkeypatch.setattr(links, "delete", refused)
    with adopting(machine, tmp_path) as agent:
        turn = agent.turn(snapshot())
        assert turn.outcome.failed == []
        (finding,) = (f for f in turn.findings if f.code == "PredecessorStays")
        assert finding.message.startswith("what it left cannot be looked through or removed: link flannel.1 ")
        assert theirs(machine) == (False, True)
        monkeypatch.undo()
        agent.dirty.everything()
        assert not [f for f in agent.turn(snapshot()).findings if f.code == "PredecessorStays"]
    assert theirs(machine) == (False, False)


def test_what_returns_is_named_once_and_not_fought(machine: Namespace, tmp_path: Path) -> None:
    with adopting(machine, tmp_path) as agent:
        agent.turn(snapshot())
        assert theirs(machine) == (False, False)
        machine.sh(_LEFT)
        agent.dirty.everything()
        turn = agent.turn(snapshot())
        (finding,) = (f for f in turn.findings if f.code == "PredecessorRuns")
        assert finding.subject == "adopt/flannel"
        assert "route 10.244.2.0/24 via 10.244.2.0 dev flannel.1" in finding.message
        machine.run("ip", "route", "delete", "10.244.2.0/24", "dev", "flannel.1")
        agent.dirty.everything()
        (finding,) = (f for f in agent.turn(snapshot()).findings if f.code == "PredecessorRuns")
        assert "link flannel.1" in finding.message, "it has another MAC now, and is the same"
        assert theirs(machine) == (False, True)
        machine.run("ip", "link", "delete", "flannel.1")
        agent.dirty.everything()
        assert not [f for f in agent.turn(snapshot()).findings if f.code == "PredecessorRuns"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"plausible": False}, "the list lacks this node", id="a list without this node"),
        pytest.param({"whole": False}, "nodes may be missing", id="a part that nobody understood"),
    ],
)
def test_nothing_of_it_goes_by_a_list_that_may_lack_nodes(
    machine: Namespace, tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    with adopting(machine, tmp_path) as agent:
        agent.turn(snapshot(**fields))
        agent.turn(snapshot(**fields))
        assert theirs(machine) == (True, True), why
        agent.turn(snapshot())
    assert theirs(machine) == (False, False)


def test_its_routes_are_found_in_the_main_table_wherever_ours_are(machine: Namespace, tmp_path: Path) -> None:
    with adopting(machine, tmp_path, route_table=100) as agent:
        agent.turn(snapshot(runs=""))
        assert theirs(machine) == (True, True)
        assert "10.244.2.0/24" not in machine.run("ip", "route", "show", "table", "all", "proto", "112")
        agent.turn(snapshot())
        assert theirs(machine) == (False, False)
        shown = machine.run("ip", "route", "show", "table", "100", "type", "unicast")
        assert shown.startswith("10.244.2.0/24 via 192.0.2.12 dev eth0 ")


def test_when_all_is_taken_over_a_new_node_costs_no_more_than_without(
    machine: Namespace, tmp_path: Path
) -> None:
    with adopting(machine, tmp_path) as agent:
        agent.turn(snapshot())
        assert theirs(machine) == (False, False)
        agent.turn(snapshot())
        seen = snapshot()
        newcomer = peer("n3", "10.244.3.0/24", at=("192.0.2.13",))
        turn = agent.turn(replace(seen, peers=(*seen.peers, newcomer)))
    assert turn.messages == 1


def test_the_plan_foretells_what_goes_once_ours_is_there(machine: Namespace, tmp_path: Path) -> None:
    with adopting(machine, tmp_path, masquerade=False) as agent:
        plan, _ = planned(agent, snapshot())
        assert theirs(machine) == (True, True)
    going = [str(change) for change in plan.changes if change.op is Op.REMOVE]
    assert going == [
        "- route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 3 metric 0 onlink  # once ours is there",
        going[1],
    ]
    assert going[1].startswith("- link flannel.1 ")
    assert going[1].endswith("  # once idle for an audit period")
    with adopting(machine, tmp_path, masquerade=False) as agent:
        plan, _ = planned(agent, snapshot(runs=""))
    assert [change for change in plan.changes if change.op is Op.REMOVE] == [], "n2 still sends by it"


def test_a_policy_rule_that_is_gone_already_is_removed(machine: Namespace, tmp_path: Path) -> None:
    rule = PolicyRule(source=ip_network("10.244.1.0/24"), table=77, priority=9)
    removal: HostChange = Change(op=Op.REMOVE, key=rule.key, before=rule, after=None, why="stale")
    with machine.entered():
        host = Host(cni_conf_dir=tmp_path)
        outcome = host.apply(Plan(changes=(removal,)))
        host.close()
    assert (outcome.done, outcome.failed) == ([removal], [])
