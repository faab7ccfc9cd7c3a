"""F: what the API server says wrongly, late or not at all costs no route."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from nodeipam_ctl.demo.apiserver.faults import Effect, Fault
from tests.agent.cluster import until
from tests.agent.test_tools import line, page
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import back, heard, ours, state
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]


def deleted(events: list[str]) -> list[str]:
    return [event for event in ours(events) if event.startswith("Deleted") or "] Deleted" in event]


@scenario("F1-api-outage", "F2-start-during-outage")
def test_an_outage_of_the_api_stops_neither_healing_nor_traffic_nor_a_restart(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab("n1", "n2")
    lab.settle("--backend", "vxlan")
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    pods = lab.pod("n1"), lab.pod("n2")
    wanted = state(host, agent)
    with heard(host, tmp_path) as events:
        lab.cluster.do(lab.cluster.api.stop())
        host.run("ip", "route", "del", "10.244.2.0/24")
        back(host, agent, wanted, "the route is healed without the API")
    assert len(deleted(events)) == 1, events
    assert pods[0].reaches(pods[1].address)

    agent.stop(signal.SIGKILL)
    tries = len(agent.lines("api_server_lost"))
    with heard(host, tmp_path) as events:
        blind = lab.start("n1", "--backend", "vxlan")
        until(lambda: len(blind.lines("api_server_lost")) > tries, "it has tried in vain")
    assert ours(events) == []
    assert state(host, blind) == wanted
    code, text = blind.get("/readyz")
    assert code == 503, text
    assert blind.process.poll() is None
    lab.cluster.do(lab.cluster.api.start())
    until(lambda: blind.get("/readyz")[0] == 200, "it is ready again", timeout_s=30)
    assert state(host, blind) == wanted


@scenario("F3-empty-list")
def test_a_ledger_that_lost_all_pages_removes_nothing(make_lab: MakeLab) -> None:
    lab = make_lab("n1", pools=True)
    lines = [
        line(lab.cluster, fields["pod_cidrs"][0], name, fields["addresses"][0])
        for name, fields in lab.nodes.items()
    ]
    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", *lines))
    lab.settle("--feed", "slices", "--mass-removal-delay", "0.2")
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    wanted = state(host, agent)
    assert len(wanted["route"]) == 3
    lab.forget("PodCIDRSlice", "10.244.0.0-20")
    until(lambda: agent.metric("nodeipam_held_removals") == 2, "the removals are held")
    until(lambda: agent.lines("mass_removal_held"), "the log says it")
    assert state(host, agent) == wanted
    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", *lines))
    until(lambda: agent.metric("nodeipam_held_removals") == 0, "nothing is held any more")
    assert state(host, agent) == wanted


@scenario("F4-mass-delete-guard-threshold")
def test_few_removals_pass_and_many_wait_for_a_second_list(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    host, faults = lab.hosts["n1"], lab.cluster.api.cluster.faults
    for name in ("n2", "n3"):
        lab.cluster.remove(name)
    for number in range(case("F4-mass-delete-guard-threshold")["given"]["peers"]):
        lab.cluster.add(f"m{number}", pod_cidrs=(f"10.244.{100 + number}.0/24",), addresses=("192.0.2.12",))

    def peers() -> int:
        return sum(" via " in route for route in host.routes())

    def remove_at_once(first: int, last: int) -> None:
        faults.stall_watches("nodes")
        for number in range(first, last):
            lab.cluster.remove(f"m{number}")
        faults.resume_watches("nodes")

    lab.settle("--mass-removal-delay", "2")
    agent = lab.agents["n1"]
    until(lambda: peers() == 100, "every peer has its route")
    remove_at_once(0, 5)
    until(lambda: peers() == 95, "five removals pass")
    assert agent.lines("mass_removal_held") == []
    remove_at_once(5, 65)
    until(lambda: agent.lines("mass_removal_held"), "sixty are held")
    assert agent.metric("nodeipam_held_removals") == 60
    assert peers() == 95
    until(lambda: peers() == 35, "the second complete list settles it", timeout_s=20)


@scenario("F5-watch-expired-410")
def test_a_node_that_went_while_the_watch_was_lost_has_no_route(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    lab.settle("--backend", "vxlan")
    host, api = lab.hosts["n1"], lab.cluster.api
    api.cluster.faults.stall_watches()
    lab.cluster.remove("n3")
    api.store.compact()
    api.cluster.faults.cut_watches()
    api.cluster.faults.resume_watches()
    until(lambda: "10.244.3." not in str(state(host)), "nothing of n3 is left", timeout_s=20)
    assert len(state(host)["route"]) == 2
    assert lab.planned("n1") == []


@scenario("F6-stale-replica")
def test_a_replica_that_lags_behind_takes_no_route_away(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1")
    lab.cluster.remove("n3")
    lab.settle()
    host, api, agent = lab.hosts["n1"], lab.cluster.api, lab.agents["n1"]
    lists = api.cluster.faults.add(Fault(effect=Effect.DELAY, verb="list", resource="nodes"))
    lab.cluster.add("n3", **lab.nodes["n3"])
    until(lambda: agent.metric("nodeipam_peer_pod_cidrs_routed") == 2, "n3 has its route")
    wanted = state(host, agent)
    with heard(host, tmp_path, what="route") as events:
        api.cluster.faults.lag_watches(30.0)
        api.cluster.faults.cut_watches()
        api.cluster.faults.add(Fault(effect=Effect.EXPIRE, verb="watch", resource="nodes", times=2))
        until(lambda: api.cluster.faults.hits(lists) >= 2, "it has listed again", timeout_s=20)
        until(lambda: agent.get("/readyz")[0] == 200, "it is content", timeout_s=20)
    assert deleted(events) == []
    assert state(host, agent) == wanted
    api.cluster.faults.clear()


@scenario("F7-garbage-node-records")
def test_records_that_would_harm_the_host_are_refused_one_by_one(make_lab: MakeLab) -> None:
    lab = make_lab("n1")
    given = case("F7-garbage-node-records")["given"]["nodes"]
    readable = {
        name: {
            "pod_cidrs": tuple(fields.get("podCIDRs", ["10.244.4.0/24"])),
            "addresses": tuple(fields["internalIPs"]),
        }
        for name, fields in given.items()
        if fields.get("podCIDRs") != ["not-a-cidr"]
    }
    for name, fields in readable.items():
        lab.cluster.add(name, **fields)
    # An API server would refuse this one; a feed that has it nevertheless must not hurt.
    lab.cluster.add("n5", pod_cidrs=("10.244.5.0/24",), addresses=tuple(given["n5"]["internalIPs"]))
    for bucket in (
        resource.bucket for resource in lab.cluster.api.cluster.registry if resource.kind == "Node"
    ):
        stored = lab.cluster.api.store.bucket(bucket).objects["n5"]
        stored.raw = stored.raw.replace(b"10.244.5.0/24", b"not-a-cidr")
    lab.settle()
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    assert [route.split()[0] for route in host.routes()] == ["10.244.2.0/24", "10.244.3.0/24", "unreachable"]
    assert host.run("ip", "route", "show", "default") == ""
    until(
        lambda: agent.metric("nodeipam_invalid_peers") + agent.metric("nodeipam_unroutable_peers") == 5,
        "five are bad",
    )
    assert {entry["subject"] for entry in agent.lines("finding")} == {f"node/{name}" for name in given}
    assert all(entry["remedy"] for entry in agent.lines("finding"))
