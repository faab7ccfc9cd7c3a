"""A, G3, O4: which way leads to a peer, through which of our devices, and with how many blocks?"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

from tests.agent.cluster import until
from tests.agent.test_tools import line, page
from tests.dataplane.cases import case, scenario
from tests.dataplane.kernel import heard, ours, state
from tests.dataplane.lab import Lab, pings

MakeLab = Callable[..., Lab]


@scenario("A2-vxlan-classic", "G3-big-packet-df")
def test_pods_and_hosts_reach_pods_through_the_tunnel_up_to_its_mtu(make_lab: MakeLab) -> None:
    lab = make_lab("n1", "n2", "n3")
    lab.settle("--backend", "vxlan")
    host = lab.hosts["n1"]
    (link,) = host.ip("link", "show", "nictl.1")
    wanted = case("A2-vxlan-classic")["expect"]["n1"]["link"]["$DEV"]
    data = link["linkinfo"]["info_data"]
    assert (link["linkinfo"]["info_kind"], link["mtu"]) == (wanted["kind"], wanted["mtu"])
    assert {key: data.get(key) for key in ("id", "port", "learning", "local")} == {
        key: wanted[key] for key in ("id", "port", "learning", "local")
    }
    assert "link" not in data, "no lower device"
    assert "UP" in link["flags"]
    found = state(host)
    assert found["address"] == ["nictl.1 10.244.1.0/32"]
    assert host.routes() == [
        "10.244.2.0/24 via 10.244.2.0 dev nictl.1 metric 102 onlink",
        "10.244.3.0/24 via 10.244.3.0 dev nictl.1 metric 103 onlink",
        "unreachable 10.244.1.0/24 metric 4278198272",
    ]
    macs = {n: lab.hosts[n].ip("link", "show", "nictl.1")[0]["address"] for n in ("n2", "n3")}
    assert found["neighbour"] == [f"10.244.{n[1]}.0 {mac} nictl.1" for n, mac in macs.items()]
    assert found["fdb"] == sorted(f"{mac} 192.0.2.1{n[1]} nictl.1 permanent" for n, mac in macs.items())
    pods = {name: lab.pod(name) for name in lab.hosts}
    assert pods["n1"].reaches(pods["n3"].address)
    assert pings(host, pods["n2"].address), "from the host itself"
    fits, too_big = (row["payload"] for row in case("G3-big-packet-df")["expect"]["ping_df"])
    assert pods["n1"].reaches(pods["n2"].address, "-M", "do", "-s", str(fits))
    assert not pods["n1"].reaches(pods["n2"].address, "-M", "do", "-s", str(too_big))


@scenario("A6-several-cidrs-per-node")
def test_every_block_of_a_node_has_a_route_and_loses_it_with_the_node(make_lab: MakeLab) -> None:
    lab = make_lab("n1", pools=True)
    blocks = case("A6-several-cidrs-per-node")["given"]["nodes"]["n2"]["podCIDRs"]
    rest = [line(lab.cluster, f"10.244.{n}.0/24", f"n{n}", f"192.0.2.1{n}") for n in (1, 3)]
    theirs = [line(lab.cluster, block, "n2", "192.0.2.12") for block in blocks]
    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", *rest, theirs[0]))
    lab.cluster.apply(page("10.244.130.0-24", "10.244.130.0/24", theirs[1]))
    lab.settle("--feed", "slices")
    host = lab.hosts["n1"]
    routes = [f"{block} via 192.0.2.12 dev eth0 metric {_metric(block)}" for block in blocks]
    until(lambda: set(routes) <= set(host.routes()), "both blocks have a route")
    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", *rest))
    lab.cluster.apply(page("10.244.130.0-24", "10.244.130.0/24"))
    until(lambda: "192.0.2.12" not in str(host.routes()), "neither has one")
    assert len(host.routes()) == 2
    assert lab.planned("n1") == []


@scenario("A4-host-gw-peer-not-on-link")
def test_a_peer_in_another_subnet_is_named_and_stops_nobody(make_lab: MakeLab) -> None:
    lab = make_lab("n1", topology="two_subnets")
    host = lab.hosts["n1"]
    host.run("ip", "route", "add", "default", "via", "192.0.2.1")
    lab.settle("--backend", "host-gw")
    agent = lab.agents["n1"]
    assert host.routes() == [
        "10.244.2.0/24 via 192.0.2.12 dev eth0 metric 102",
        "unreachable 10.244.1.0/24 metric 4278198272",
    ]
    (finding,) = agent.lines("finding")
    assert finding["subject"] == "node/n3"
    assert "peer n3 unroutable: next hop not on link" in finding["message"]
    assert agent.metric("nodeipam_unroutable_peers") == 1


@scenario("O4-family-added-later")
def test_a_family_that_comes_later_rewrites_nothing_of_the_first(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab("n1", pools=True)
    addresses = {f"n{n}": (f"192.0.2.1{n}", f"fd00:10::1{n}") for n in (1, 2)}
    for name, known in addresses.items():
        lab.cluster.add(name, pod_cidrs=lab.nodes[name]["pod_cidrs"], addresses=known)

    def lines(cidr: str) -> list[dict[str, object]]:
        found = [line(lab.cluster, cidr.format(name[1]), name, known[0]) for name, known in addresses.items()]
        return [{**entry, "addresses": list(addresses[str(entry["node"])])} for entry in found]

    lab.cluster.apply(page("10.244.0.0-20", "10.244.0.0/20", *lines("10.244.{}.0/24")))
    lab.settle("--feed", "slices")
    host = lab.hosts["n1"]
    conflist = lab.agents["n1"].conflist
    with heard(host, tmp_path) as events:
        sixth = page("fd00-244-0-0-60", "fd00:244::/60", *lines("fd00:244:0:{}::/64"))
        sixth["metadata"] = {"name": "fd00-244-0-0-60", "labels": {"nodeipam.dev/family": "IPv6"}}
        lab.cluster.apply(sixth)
        until(
            lambda: conflist.exists() and "fd00:244:0:2::/64 via fd00:10::12" in str(host.routes()),
            "the IPv6 block has its route",
        )
        until(lambda: "unreachable fd00:244:0:1::/64" in str(host.routes()), "our own has its sink")
    assert not [event for event in ours(events) if "10.244." in event]
    until(lambda: "fd00:244:0:1::/64" in conflist.read_text(), "pods get addresses of both families")
    changes = [e["object"] for e in lab.agents["n1"].lines("host_changed") if e.get("op") == "remove"]
    assert changes == [], "the conflist was there all the time"


def _metric(block: str) -> int:
    network = ip_network(block)
    return 100 + (int(network.network_address) >> (32 - network.prefixlen)) % 64
