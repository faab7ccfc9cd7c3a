"""Which node is reached when several publish one VTEP MAC?"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.model import NodeName, NodeUID
from nodeipam_ctl.plan import Op, diff
from nodeipam_ctl.prefixes import Family
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.backends.vxlan import vtep_mac
from nodeipam_ctl.routing.desired import Desired, Memo, desired
from nodeipam_ctl.routing.state import FdbEntry, Kind, Neighbour, Route, RouteType
from nodeipam_ctl.routing.view import Peer
from tests.routing.views import N1, peer, view

VXLAN = backends.load("vxlan")
MAC = "5e:00:00:00:00:01"


def cloned(name: str, *cidrs: str, at: str, mac: str = MAC, since_s: float = 0.0) -> Peer:
    return peer(name, *cidrs, at=(at,), vtep_macs=((Family.IPV4, mac),), since_s=since_s, backend="vxlan")


def answer(*peers: Peer, own: Peer = N1, memo: Memo | None = None, direct_routing: bool = False) -> Desired:
    seen = view(*peers, own=own, backend="vxlan", flannel_compat=True, direct_routing=direct_routing)
    return desired(seen, VXLAN, memo=memo)


def routed(found: Desired) -> set[str]:
    routes = (obj for obj in found.state.of_kind(Kind.ROUTE) if isinstance(obj, Route))
    return {str(route.dst) for route in routes if route.type is RouteType.UNICAST}


OLDER = cloned("n9", "10.244.9.0/24", "fd00:244:0:9::/64", at="198.51.100.9", since_s=1.0)
YOUNGER = cloned("n2", "10.244.2.0/24", "fd00:244:0:2::/64", at="198.51.100.2", since_s=2.0)
BESIDE = peer("n3", "10.244.3.0/24", at=("198.51.100.3",))


@pytest.mark.parametrize(
    "peers",
    [
        pytest.param((OLDER, YOUNGER, BESIDE), id="the older one first"),
        pytest.param((BESIDE, YOUNGER, OLDER), id="the older one last"),
    ],
)
def test_the_older_of_two_nodes_with_one_mac_is_reached_and_the_other_is_named_once(
    peers: tuple[Peer, ...],
) -> None:
    found = answer(*peers)
    assert routed(found) == {"10.244.9.0/24", "fd00:244:0:9::/64", "10.244.3.0/24"}
    assert found.routed == 3
    (entry,) = (e for e in found.state.of_kind(Kind.FDB) if isinstance(e, FdbEntry) and e.mac == MAC)
    assert entry.dst == IPv4Address("198.51.100.9")
    gateways = {str(n.address) for n in found.state.of_kind(Kind.NEIGHBOUR) if isinstance(n, Neighbour)}
    assert gateways == {"10.244.9.0", "fd00:244:0:9::", "10.244.3.0"}
    (finding,) = found.findings
    assert finding.code == "VtepMACShared"
    assert str(finding) == (
        "node/n2: VTEP MAC 5e:00:00:00:00:01 is that of node n9 as well, which had it first and keeps it, so no "
        "route is made to 10.244.2.0/24, fd00:244:0:2::/64; renew /etc/machine-id of n2 if the machine is a clone, remove the "
        "Node's annotation flannel.alpha.coreos.com/backend-data, delete the device flannel.1 there and restart its network agent"
    )


def test_of_nodes_of_one_age_the_name_decides_and_then_the_uid() -> None:
    same = replace(YOUNGER, since_s=1.0)
    assert "10.244.2.0/24" in routed(answer(OLDER, same))
    twins = tuple(
        replace(same, name=NodeName("n9"), uid=NodeUID(uid), pod_cidrs=(IPv4Network(cidr),), addresses=at)
        for uid, cidr, at in (
            ("b", "10.244.5.0/24", (IPv4Address("198.51.100.5"),)),
            ("a", "10.244.6.0/24", (IPv4Address("198.51.100.6"),)),
        )
    )
    assert routed(answer(*twins)) == {"10.244.6.0/24"}


def test_a_node_with_our_own_mac_is_not_reached_however_old_it_is() -> None:
    own = replace(N1, vtep_macs=((Family.IPV4, MAC),), since_s=9.0)
    found = answer(OLDER, YOUNGER, BESIDE, own=own)
    assert routed(found) == {"10.244.3.0/24"}
    assert [(finding.code, finding.subject) for finding in found.findings] == [
        ("VtepMACShared", "node/n9"),
        ("VtepMACShared", "node/n2"),
    ]
    assert "is this node's own as well, and the kernel drops what comes from its own" in str(
        found.findings[0]
    )


def test_a_mac_that_we_derive_for_a_node_counts_as_its_own() -> None:
    thief = cloned(
        "n4", "10.244.4.0/24", at="198.51.100.4", mac=vtep_mac(BESIDE.uid, Family.IPV4), since_s=1.0
    )
    assert routed(answer(thief, BESIDE)) == {"10.244.3.0/24"}


def test_two_node_objects_of_one_machine_have_one_entry_and_no_dispute() -> None:
    renamed = replace(OLDER, name=NodeName("n8"), uid=NodeUID("8"), pod_cidrs=(IPv4Network("10.244.8.0/24"),))
    found = answer(OLDER, renamed)
    assert "10.244.8.0/24" in routed(found)
    assert found.findings == ()


def test_a_node_whose_block_is_refused_holds_no_mac() -> None:
    refused = replace(OLDER, pod_cidrs=(IPv4Network("127.0.0.0/24"),))
    found = answer(refused, YOUNGER)
    assert routed(found) == {"10.244.2.0/24", "fd00:244:0:2::/64"}
    assert [finding.code for finding in found.findings] == ["PeerRefused"]


def test_nodes_that_are_reached_directly_have_no_entry_and_no_dispute() -> None:
    near = (
        cloned("n2", "10.244.2.0/24", at="192.0.2.12"),
        cloned("n3", "10.244.3.0/24", at="192.0.2.13"),
    )
    found = answer(*near, direct_routing=True)
    assert routed(found) == {"10.244.2.0/24", "10.244.3.0/24"}
    assert found.findings == ()


def test_when_the_older_node_goes_the_entry_is_changed_in_place() -> None:
    before, after = (answer(*some).state.objects for some in ((OLDER, YOUNGER), (YOUNGER,)))
    (change,) = (change for change in diff(after, before).changes if change.key.kind is Kind.FDB)
    assert change.op is Op.REPLACE
    assert "dst 198.51.100.2" in str(change.after)


clones = st.builds(
    lambda number, mac, since_s, cidrs: Peer(
        name=NodeName(f"p{number % 7}"),
        uid=NodeUID(f"u{number}"),
        pod_cidrs=tuple(
            IPv4Network((0x0AF40200 + (n << 8), 24))
            if n < 20
            else IPv6Network((0xFD00024400000000 + n << 64, 64))
            for n in cidrs
        ),
        addresses=(IPv4Address(0xC6336400 + number % 9),),
        since_s=since_s,
        vtep_macs=((Family.IPV4, f"5e:00:00:00:00:{mac:02x}"),) if mac else (),
        backend="vxlan" if mac else "",
    ),
    st.integers(1, 30),
    st.integers(0, 4),
    st.integers(0, 2).map(float),
    st.sets(st.integers(0, 40), max_size=2),
)


@given(st.lists(clones, max_size=10, unique_by=lambda p: p.uid), st.randoms())
def test_every_route_leads_to_its_own_node_in_whatever_order_the_nodes_come(
    peers: list[Peer], random: Random
) -> None:
    own = replace(N1, vtep_macs=((Family.IPV4, "5e:00:00:00:00:04"),))
    found = answer(*peers, own=own)
    fdb = {entry.mac: entry.dst for entry in found.state.of_kind(Kind.FDB) if isinstance(entry, FdbEntry)}
    macs = {n.address: n.mac for n in found.state.of_kind(Kind.NEIGHBOUR) if isinstance(n, Neighbour)}
    named = " ".join(finding.message for finding in found.findings)
    assert "5e:00:00:00:00:04" not in fdb
    for other in peers:
        for cidr in other.pod_cidrs:
            assert str(cidr) in routed(found) or str(cidr) in named
    for route in found.state.of_kind(Kind.ROUTE):
        if isinstance(route, Route) and route.type is RouteType.UNICAST:
            assert route.via is not None
            holder = [p for p in peers if route.dst in p.pod_cidrs and p.addresses[0] == fdb[macs[route.via]]]
            assert holder
    shuffled = list(peers)
    random.shuffle(shuffled)
    assert dict(answer(*shuffled, own=own).state.objects) == dict(found.state.objects)


@given(*[st.lists(clones, max_size=8, unique_by=lambda p: p.uid)] * 2)
def test_a_memo_remembers_no_dispute(before: list[Peer], after: list[Peer]) -> None:
    memo = Memo()
    answer(*before, memo=memo)
    assert answer(*after, memo=memo) == answer(*after)
