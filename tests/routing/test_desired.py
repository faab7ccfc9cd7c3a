"""Rules and laws of the desired state, without a kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.model import NodeName, NodeUID
from nodeipam_ctl.plan import applied, diff
from nodeipam_ctl.prefixes import Family
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import Memo, desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.state import SINK_METRIC, HostFile, Kind, Route, RouteType, Sysctl
from nodeipam_ctl.routing.view import Peer
from tests.routing.views import ETH0, N1, link, peer, view

HOST_GW = backends.load("host-gw")


def routes(state: HostState) -> dict[str, Route]:
    found = (obj for obj in state.objects.values() if isinstance(obj, Route))
    return {str(route.dst): route for route in found if route.type is RouteType.UNICAST}


def conflist(state: HostState) -> HostFile | None:
    return next((obj for obj in state.objects.values() if isinstance(obj, HostFile)), None)


networks = st.one_of(
    st.builds(
        lambda value, length: IPv4Network((value, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda value: IPv4Network((0x0AF40000 + (value << 8), 24)), st.integers(0, 40)
    ),  # 10.244.x.0/24: these collide now and then
    st.builds(lambda value: IPv6Network((0xFD0002440000 << 80 | value << 64, 64)), st.integers(0, 40)),
)
addresses = st.one_of(
    st.builds(lambda value: IPv4Address(0xC0000200 + value), st.integers(0, 255)),
    st.builds(lambda value: IPv6Address((0xFD000010 << 96) + value), st.integers(0, 255)),
    st.ip_addresses(),
)
peers = st.builds(
    Peer,
    name=st.integers(0, 30).map(lambda n: NodeName(f"p{n}")),
    uid=st.uuids().map(lambda u: NodeUID(str(u))),
    pod_cidrs=st.lists(networks, max_size=3).map(tuple),
    addresses=st.lists(addresses, max_size=2).map(tuple),
    since_s=st.integers(0, 5).map(float),
)


@pytest.mark.parametrize(
    "backend", [pytest.param(backends.load(name), id=name) for name in backends.NAMES if name != "none"]
)
@given(st.lists(peers, max_size=12))
def test_each_peer_pod_cidr_has_exactly_one_route_or_a_finding(
    backend: backends.Backend, others: list[Peer]
) -> None:
    answer = desired(view(*others), backend)
    have = routes(answer.state)
    text = " ".join(finding.message for finding in answer.findings)
    for other in others:
        for cidr in other.pod_cidrs:
            assert (str(cidr) in have) or (str(cidr) in text)


@given(st.lists(peers, max_size=12))
def test_no_route_ever_covers_this_node_or_the_world(others: list[Peer]) -> None:
    for route in routes(desired(view(*others), HOST_GW).state).values():
        assert route.dst.prefixlen > 0
        assert not any(address in route.dst for address in ETH0.addresses)
        assert not any(
            route.dst.version == mine.version and route.dst.overlaps(mine) for mine in N1.pod_cidrs
        )
        assert not route.dst.is_multicast
        assert not route.dst.is_loopback


@given(st.lists(peers, max_size=12), st.randoms())
def test_the_answer_does_not_depend_on_the_order_of_peers(others: list[Peer], random: object) -> None:
    shuffled = list(others)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object
    assert dict(desired(view(*others), HOST_GW).state.objects) == dict(
        desired(view(*shuffled), HOST_GW).state.objects
    )


@given(st.lists(peers, max_size=8), st.lists(peers, max_size=8))
def test_a_memo_changes_nothing_but_the_time_it_takes(before: list[Peer], after: list[Peer]) -> None:
    memo = Memo()
    desired(view(*before), HOST_GW, memo=memo)
    assert desired(view(*after), HOST_GW, memo=memo) == desired(view(*after), HOST_GW)


def test_a_memo_notices_that_our_tunnel_lost_the_address_of_a_block_that_moved_to_a_peer() -> None:
    taken = peer("n2", "10.244.9.0/24", at=("192.0.2.12",))
    memo = Memo()
    for addresses in (("10.244.9.0/32", "10.244.1.0/32"), ("10.244.1.0/32",)):
        seen = view(taken, links=(ETH0, link("nictl.1", *addresses, index=3, ours=True)))
        assert desired(seen, HOST_GW, memo=memo) == desired(seen, HOST_GW)
    assert desired(seen, HOST_GW, memo=memo).routed == 1


@given(st.lists(peers, max_size=8), st.lists(peers, max_size=8))
def test_applying_the_difference_gives_the_desired_state_and_then_there_is_none(
    before: list[Peer], after: list[Peer]
) -> None:
    observed = dict(desired(view(*before), HOST_GW).state.objects)
    wanted = desired(view(*after), HOST_GW).state.objects
    plan = diff(wanted, observed)
    assert applied(plan, observed) == wanted
    assert not diff(wanted, applied(plan, observed))


@given(st.lists(peers, max_size=8), st.lists(peers, max_size=8))
def test_a_plan_adds_in_the_order_of_kinds_and_removes_in_reverse(
    before: list[Peer], after: list[Peer]
) -> None:
    plan = diff(
        desired(view(*after), HOST_GW).state.objects,
        HostState.of(desired(view(*before), HOST_GW).state.objects.values()).objects,
    )
    order = list(Kind)
    kept = [order.index(c.key.kind) for c in plan.changes if c.after is not None]
    gone = [order.index(c.key.kind) for c in plan.changes if c.after is None]
    assert all(a <= b for a, b in pairwise(kept))
    assert all(a >= b for a, b in pairwise(gone))


def test_a_pod_cidr_that_moves_between_nodes_is_replaced_in_place() -> None:
    a, b = (
        peer("a", "10.244.7.0/24", at=("192.0.2.20",), since_s=1.0),
        peer("b", "10.244.7.0/24", at=("192.0.2.21",), since_s=2.0),
    )
    steps = [desired(view(*some), HOST_GW).state.objects for some in ((a,), (a, b), (b,))]
    assert not diff(steps[1], steps[0]), "while both claim it the older claim stands"
    (change,) = diff(steps[2], steps[1]).changes
    assert str(change).startswith("~ route 10.244.7.0/24 via 192.0.2.21 dev eth0")


def test_ipv4_pods_go_over_an_ipv6_next_hop_when_there_is_no_other() -> None:
    v6_only = link("eth0", "fd00:10::11/64")
    own = peer("n1", "10.244.1.0/24", at=("fd00:10::11",))
    answer = desired(
        view(peer("n2", "10.244.2.0/24", at=("fd00:10::12",)), own=own, links=(v6_only,)), HOST_GW
    )
    assert str(routes(answer.state)["10.244.2.0/24"]) == (
        "route 10.244.2.0/24 via inet6 fd00:10::12 dev eth0 proto 112 metric 102"
    )


def test_the_internal_ip_decides_the_device_and_the_mtu() -> None:
    links = (link("eth1", "203.0.113.5/24", mtu_bytes=9000, index=3), ETH0)
    assert desired(view(links=links), HOST_GW).pod_mtu_bytes == 1500


def test_the_sink_is_worse_than_any_other_route() -> None:
    sinks = [
        obj
        for obj in desired(view(), HOST_GW).state.objects.values()
        if isinstance(obj, Route) and obj.type is RouteType.UNREACHABLE
    ]
    assert {(str(sink.dst), sink.metric) for sink in sinks} == {
        ("10.244.1.0/24", SINK_METRIC),
        ("fd00:244:0:1::/64", SINK_METRIC),
    }


def test_refuses_a_peer_at_our_own_address() -> None:
    answer = desired(view(peer("old-name", "10.244.7.0/24", at=("192.0.2.11",))), HOST_GW)
    assert routes(answer.state) == {}
    assert [finding.code for finding in answer.findings] == ["PeerRefused"]


@pytest.mark.parametrize(
    ("cidr", "why"),
    [
        pytest.param("0.0.0.0/0", "is the default route", id="the default route"),
        pytest.param("128.0.0.0/1", "is larger than any node's block (/9)", id="half of the world"),
        pytest.param("2000::/3", "is larger than any node's block (/33)", id="all of IPv6 there is"),
        pytest.param("203.0.113.0/24", "covers the API server's address 203.0.113.6", id="the API server"),
        pytest.param("127.0.0.0/9", "is loopback space", id="loopback"),
        pytest.param("224.1.0.0/16", "is multicast space", id="multicast"),
        pytest.param("169.254.0.0/24", "is link-local space", id="link-local"),
        pytest.param("192.0.2.0/24", "covers this node's own address 192.0.2.11 on eth0", id="our segment"),
        pytest.param(
            "192.0.2.16/28", "covers the node's own address 192.0.2.17", id="the peer's own address"
        ),
        pytest.param(
            "10.244.1.128/25", "overlaps this node's own podCIDR 10.244.1.0/24", id="half of our podCIDR"
        ),
        pytest.param(
            "10.96.4.0/24", "overlaps the service range 10.96.0.0/12", id="a block of the service range"
        ),
    ],
)
def test_refuses_a_pod_cidr_that_would_harm_the_host(cidr: str, why: str) -> None:
    others = peer("n9", cidr, at=("192.0.2.17",)), peer("n2", "10.244.2.0/24", at=("192.0.2.12",))
    seen = view(*others, service_cidrs=(IPv4Network("10.96.0.0/12"),))
    answer = desired(replace(seen, api_server=IPv4Address("203.0.113.6")), HOST_GW)
    assert list(routes(answer.state)) == ["10.244.2.0/24"]
    (finding,) = answer.findings
    assert finding.message == f"podCIDR {cidr} {why}, so no route is made"


@pytest.mark.parametrize(
    ("own", "forwarding", "waiting"),
    [
        pytest.param(None, frozenset(Family), "WaitingForNode", id="the node is not registered"),
        pytest.param(peer("n1", at=("192.0.2.11",)), frozenset(Family), "WaitingForPodCIDR", id="no podCIDR"),
        pytest.param(N1, frozenset(), "WaitingForForwarding", id="the kernel does not forward"),
        pytest.param(
            N1, frozenset({Family.IPV4}), "WaitingForForwarding", id="it forwards one family of two"
        ),
        pytest.param(
            peer("n1", "10.244.1.0/24", at=("192.0.2.99",)),
            frozenset(Family),
            "WaitingForUnderlay",
            id="no device",
        ),
        pytest.param(
            peer("n1", "10.244.1.0/31", at=("192.0.2.11",)), frozenset(Family), "PodCIDRTooSmall", id="a /31"
        ),
    ],
)
def test_writes_no_conflist_before_the_node_can_serve_pods(
    own: Peer | None, forwarding: frozenset[Family], waiting: str
) -> None:
    answer = desired(view(own=own, forwarding=forwarding), HOST_GW)
    assert answer.waiting.startswith(f"{waiting}: ")
    assert conflist(answer.state) is None


def test_all_pod_cidrs_of_a_family_share_one_range_list() -> None:
    own = peer("n1", "10.244.1.0/24", "10.244.130.0/25", at=("192.0.2.11",))
    file = conflist(desired(view(own=own), HOST_GW).state)
    assert file is not None
    ipam = json.loads(file.text)["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": "10.244.1.0/24"}, {"subnet": "10.244.130.0/25"}]]
    assert ipam["routes"] == [{"dst": "0.0.0.0/0"}]


def test_warns_of_another_conflist_that_the_runtime_reads_first() -> None:
    answer = desired(view(foreign_conflists=("05-cilium.conflist", "20-flannel.conflist")), HOST_GW)
    assert [finding.subject for finding in answer.findings] == ["file//etc/cni/net.d/05-cilium.conflist"]


def test_makes_room_for_next_hops_where_the_kernel_keeps_too_few_neighbours() -> None:
    others = [peer(f"m{i}", f"10.244.{i}.0/24", at=("192.0.2.12",)) for i in range(2, 202)]

    def settings(limit: int | None) -> dict[str, str]:
        given = view(*others)
        given = replace(given, facts=replace(given.facts, neighbour_limit=limit))
        found = desired(given, HOST_GW).state.of_kind(Kind.SYSCTL)
        return {s.name: s.value for s in found if isinstance(s, Sysctl) and "gc_thresh" in s.name}

    assert settings(None) == {}, "inside a namespace there is nothing to set"
    assert settings(1024) == {}
    assert settings(128)["net/ipv4/neigh/default/gc_thresh3"] == "512"
    assert settings(128)["net/ipv6/neigh/default/gc_thresh1"] == "128"


def test_a_block_around_another_nodes_address_on_our_segment_is_refused_and_one_elsewhere_is_not() -> None:
    thief = peer("thief", "192.0.2.0/29", at=("192.0.2.12",))
    plane = peer("plane", "10.244.3.0/24", at=("192.0.2.1",))
    answer = desired(view(thief, plane), HOST_GW, memo=Memo())
    assert list(routes(answer.state)) == ["10.244.3.0/24"]
    (finding,) = answer.findings
    assert (finding.code, finding.subject) == ("PeerRefused", "node/thief")
    assert "192.0.2.1 of node plane" in finding.message
    assert list(routes(desired(view(thief), HOST_GW).state)) == ["192.0.2.0/29"]
    liar = peer("liar", "10.244.4.0/24", at=("10.244.3.9", "192.0.2.14"))
    assert set(routes(desired(view(plane, liar), HOST_GW).state)) == {"10.244.3.0/24", "10.244.4.0/24"}


@pytest.mark.parametrize(
    ("block", "why"),
    [
        pytest.param(
            "192.0.2.0/24", "covers this node's own InternalIP 192.0.2.11", id="around our own address"
        ),
        pytest.param("0.0.0.0/0", "covers this node's own InternalIP 192.0.2.11", id="the default route"),
        pytest.param("10.0.0.0/8", "is larger than any node's block (/9)", id="more than a node's block"),
        pytest.param("10.96.0.0/24", "overlaps the service range 10.96.0.0/12", id="inside a Service range"),
        pytest.param("127.1.0.0/16", "is loopback space", id="loopback"),
        pytest.param("fe80::/64", "is link-local space", id="link-local"),
    ],
)
def test_gives_pods_no_address_of_a_block_of_our_own_that_is_somebodys_already(block: str, why: str) -> None:
    own = replace(N1, pod_cidrs=(ip_network(block),))
    answer = desired(
        view(
            peer("n2", "10.244.2.0/24", at=("192.0.2.12",)),
            own=own,
            service_cidrs=(ip_network("10.96.0.0/12"),),
        ),
        backends.load("vxlan"),
    )
    assert answer.waiting == f"PodCIDRRefused: own podCIDR {block} {why}, so no pod may have an address of it"
    assert [f.code for f in answer.findings] == ["PodCIDRRefused"]
    assert not answer.state.of_kind(Kind.FILE)
    assert not answer.state.of_kind(Kind.ADDRESS)
    assert [r.dst for r in answer.state.of_kind(Kind.ROUTE) if isinstance(r, Route)] == [
        ip_network("10.244.2.0/24")
    ]


def test_blocks_of_two_sizes_that_begin_alike_have_one_gateway_and_the_older_keeps_it() -> None:
    older = peer("n2", "10.244.2.0/24", at=("192.0.2.12",), since_s=1.0)
    younger = peer("n3", "10.244.2.0/25", at=("192.0.2.13",), since_s=2.0)
    for others in ((older, younger), (younger, older)):
        answer = desired(view(*others, backend="vxlan"), backends.load("vxlan"))
        assert list(routes(answer.state)) == ["10.244.2.0/24"]
        (finding,) = answer.findings
        assert (finding.code, finding.subject) == ("PodCIDRConflict", "node/n3")


def test_a_block_inside_anothers_is_named_and_both_go_on() -> None:
    around = peer("n2", "10.244.4.0/22", at=("192.0.2.12",), since_s=1.0)
    inside = peer("n3", "10.244.6.0/24", at=("192.0.2.13",), since_s=2.0)
    answer = desired(view(around, inside), HOST_GW)
    assert set(routes(answer.state)) == {"10.244.4.0/22", "10.244.6.0/24"}
    (finding,) = answer.findings
    assert finding.message == (
        "podCIDR 10.244.4.0/22 overlaps 10.244.6.0/24 of node n3, to which packets for these addresses go"
    )


def test_a_refused_block_takes_nothing_from_anybody() -> None:
    world = peer("n2", "0.0.0.0/0", at=("192.0.2.12",), since_s=1.0)
    inside = peer("n3", "10.244.2.0/24", at=("192.0.2.13",), since_s=2.0)
    answer = desired(view(world, inside), HOST_GW)
    assert list(routes(answer.state)) == ["10.244.2.0/24"]
    assert [finding.code for finding in answer.findings] == ["PeerRefused"]
