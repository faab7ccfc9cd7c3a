"""H, O3: what flanneld's nodes say of themselves, well or badly, and what we say for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.agent.cluster import until
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import heard, ours, state
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]
PREFIX = "flannel.alpha.coreos.com/"
FLAGS = ("--backend", "vxlan", "--flannel-compat")
MAC = "5e:11:22:33:44:0{}"


def flannel_notes(address: str, data: str, *, backend: str = "vxlan", **more: str) -> dict[str, str]:
    """What flanneld writes to its Node."""
    wanted = {
        "kube-subnet-manager": "true",
        "backend-type": backend,
        "backend-data": data,
        "public-ip": address,
    }
    return {
        f"{PREFIX}{key}": value
        for key, value in (wanted | {k.replace("_", "-"): v for k, v in more.items()}).items()
    }


def data(mac: str, vni: int | None = 1) -> str:
    return json.dumps(({} if vni is None else {"VNI": vni}) | {"VtepMAC": mac}, separators=(",", ":"))


def say(lab: Lab, name: str, noted: dict[str, str]) -> None:
    lab.cluster.add(name, **lab.nodes[name], annotations=noted)


@scenario("H5-other-backend-type-ignored")
def test_a_peer_with_another_backend_is_reached_directly_or_reported(make_lab: MakeLab) -> None:
    lab = make_lab("n1", topology="mixed_flannel")
    say(lab, "n2", flannel_notes("192.0.2.12", data(MAC.format(2))))
    say(lab, "n3", flannel_notes("192.0.2.13", "null", backend="host-gw"))
    lab.cluster.add(
        "n4",
        pod_cidrs=("10.244.4.0/24",),
        addresses=("198.51.100.14",),
        annotations=flannel_notes("198.51.100.14", "null", backend="host-gw"),
    )
    lab.settle(*FLAGS)
    assert lab.hosts["n1"].routes() == [
        "10.244.2.0/24 via 10.244.2.0 dev flannel.1 metric 102 onlink",
        "10.244.3.0/24 via 192.0.2.13 dev eth0 metric 103",
        "unreachable 10.244.1.0/24 metric 4278198272",
    ]
    assert {(e["code"], e["subject"]) for e in lab.agents["n1"].lines("finding")} == {
        ("PeerUnroutable", "node/n4")
    }
    assert lab.agents["n1"].process.poll() is None


@scenario("H6-overwrite-annotation")
def test_an_overwritten_public_ip_is_what_peers_are_told(make_lab: MakeLab) -> None:
    lab = make_lab("n1", topology="mixed_flannel")
    say(lab, "n1", {f"{PREFIX}public-ip-overwrite": "203.0.113.5"})
    lab.settle(*FLAGS)
    wanted = case("H6-overwrite-annotation")["expect"]["n1_annotations"]
    until(
        lambda: wanted.items() <= lab.cluster.read("n1")["metadata"]["annotations"].items(), "peers are told"
    )
    (link,) = lab.hosts["n1"].ip("link", "show", "flannel.1")
    assert link["linkinfo"]["info_data"]["local"] == "192.0.2.11", "the overwrite is for others"


@scenario("H7-old-peer-without-vni", "H8-malformed-peer-data")
def test_a_peer_whose_annotations_cannot_be_used_is_skipped_and_stops_nobody(make_lab: MakeLab) -> None:
    lab = make_lab("n1", topology="mixed_flannel")
    say(lab, "n2", flannel_notes("192.0.2.12", data(MAC.format(2), vni=None)))
    table: list[str] = case("H8-malformed-peer-data")["table"]
    for number, text in enumerate(table):
        address = f"192.0.2.{50 + number}"
        lab.cluster.add(
            f"bad{number}",
            pod_cidrs=(f"10.244.{50 + number}.0/24",),
            addresses=(address,),
            annotations=flannel_notes(address, text),
        )
    lab.settle(*FLAGS)
    host, agent = lab.hosts["n1"], lab.agents["n1"]
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 metric 102 onlink" in host.routes()
    found = state(host)
    assert f"10.244.2.0 {MAC.format(2)} flannel.1" in found["neighbour"]
    assert f"{MAC.format(2)} 192.0.2.12 flannel.1 permanent" in found["fdb"]
    assert not [entry for entry in found["neighbour"] + found["route"] if "10.244.5" in entry]
    until(lambda: agent.metric("nodeipam_invalid_peers") == len(table), "each is counted")
    assert agent.metric("nodeipam_unroutable_peers") == len(table)
    assert agent.process.poll() is None


@scenario("O3-v4-only-change-in-dual-stack")
def test_a_change_of_one_family_leaves_the_other_alone(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1", topology="mixed_flannel", dual=True)

    def noted(mac: str, address: str) -> dict[str, str]:
        return flannel_notes(
            address, data(mac), backend_v6_data=data(MAC.format(6)), public_ipv6="fd00:10::12"
        )

    say(lab, "n2", noted(MAC.format(2), "192.0.2.12"))
    lab.settle(*FLAGS)
    host = lab.hosts["n1"]
    with heard(host, tmp_path) as events:
        say(lab, "n2", noted(MAC.format(9), "192.0.2.22"))
        until(lambda: f"{MAC.format(9)} 192.0.2.22 flannel.1 permanent" in state(host)["fdb"], "IPv4 follows")
        until(lambda: MAC.format(2) not in str(state(host)), "nothing of the old MAC is left")
    after = state(host)
    assert f"10.244.2.0 {MAC.format(9)} flannel.1" in after["neighbour"]
    assert f"fd00:244:0:2:: {MAC.format(6)} flannel-v6.1" in after["neighbour"]
    assert f"{MAC.format(6)} fd00:10::12 flannel-v6.1 permanent" in after["fdb"]
    assert not [event for event in ours(events) if "fd00:" in event or "flannel-v6" in event]
