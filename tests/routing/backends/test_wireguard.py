"""Rules of the wireguard backend, without a kernel."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from nodeipam_ctl.plan import Op, diff
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import Desired, Memo, desired
from nodeipam_ctl.routing.state import AllowedIP, KeyFile, Kind, Link, Route, RouteType, WireguardPeer
from nodeipam_ctl.routing.view import NodeView, Peer
from tests.routing.views import N1, link, peer, view

WIREGUARD = backends.load("wireguard")


def key(number: int) -> str:
    return b64encode(bytes([number]) * 32).decode()


OURS, K2, K3 = key(1), key(2), key(3)
N2 = peer("n2", "10.244.2.0/24", "fd00:244:0:2::/64", at=("192.0.2.12", "fd00:10::12"), public_key=K2)


def seen(*peers: Peer, own_key: str = OURS, **fields: Any) -> NodeView:
    made = view(*peers, **({"backend": "wireguard"} | fields))
    return replace(made, facts=replace(made.facts, wireguard_key=own_key))


def of(answer: Desired, kind: Kind) -> list[str]:
    return [str(obj) for obj in answer.state.of_kind(kind)]


def messages(answer: Desired) -> str:
    return "\n".join(str(finding) for finding in answer.findings)


def test_one_device_one_peer_and_a_route_for_each_pod_cidr() -> None:
    answer = desired(seen(N2), WIREGUARD)
    assert of(answer, Kind.KEY_FILE) == ["key file /var/lib/nodeipam/wireguard.key (mode 600)"]
    assert of(answer, Kind.LINK) == [f"link nictl-wg wireguard port 51820 public key {OURS} mtu 1420 up"]
    assert of(answer, Kind.PEER) == [f"peer {K2} dev nictl-wg endpoint 192.0.2.12:51820"]
    assert of(answer, Kind.ALLOWED_IP) == [
        f"allowed ip 10.244.2.0/24 dev nictl-wg peer {K2}",
        f"allowed ip fd00:244:0:2::/64 dev nictl-wg peer {K2}",
    ]
    assert [route for route in of(answer, Kind.ROUTE) if "unreachable" not in route] == [
        "route 10.244.2.0/24 dev nictl-wg proto 112 metric 102",
        "route fd00:244:0:2::/64 dev nictl-wg proto 112 metric 100",
    ]
    assert answer.routed == 2


def test_the_host_speaks_through_the_tunnel_with_an_address_that_peers_allow() -> None:
    assert of(desired(seen(N2), WIREGUARD), Kind.ADDRESS) == [
        "address 10.244.1.0/32 dev nictl-wg",
        "address fd00:244:0:1::/128 dev nictl-wg",
    ]


def test_peers_come_before_their_networks_and_those_before_routes_and_go_after_them() -> None:
    with_peer = desired(seen(N2), WIREGUARD).state.objects
    without = desired(seen(), WIREGUARD).state.objects
    wanted = [Kind.PEER, Kind.ALLOWED_IP, Kind.ALLOWED_IP, Kind.ROUTE, Kind.ROUTE]

    def kinds(plan: Any) -> list[Kind]:
        return [change.key.kind for change in plan.changes if change.key.kind in wanted]

    assert kinds(diff(with_peer, without)) == wanted
    assert kinds(diff(without, with_peer)) == wanted[::-1]


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param(("192.0.2.11/24",), 1440, id="an IPv4 underlay takes 60 bytes"),
        pytest.param(("fd00:10::11/64",), 1420, id="an IPv6 underlay takes 80 bytes"),
        pytest.param(("192.0.2.11/24", "fd00:10::11/64"), 1420, id="of both, the dearer counts"),
    ],
)
def test_the_mtu_follows_the_underlay(addresses: tuple[str, ...], expected: int) -> None:
    own = replace(N1, addresses=tuple(ip_address(text.split("/")[0]) for text in addresses))
    answer = desired(seen(own=own, links=(link("eth0", *addresses),)), WIREGUARD)
    assert answer.pod_mtu_bytes == expected


@pytest.mark.parametrize(
    ("at", "endpoint"),
    [
        pytest.param(
            ("fd00:10::12", "192.0.2.12"), "192.0.2.12:51820", id="IPv4 where both have it, in any order"
        ),
        pytest.param(("fd00:10::12",), "[fd00:10::12]:51820", id="IPv6 where that is all"),
    ],
)
def test_a_peer_has_one_endpoint_for_both_families_of_pods(at: tuple[str, ...], endpoint: str) -> None:
    other = replace(N2, addresses=tuple(ip_address(text) for text in at))
    answer = desired(seen(other), WIREGUARD)
    assert of(answer, Kind.PEER) == [f"peer {K2} dev nictl-wg endpoint {endpoint}"]


def test_port_and_keepalive_are_the_settings() -> None:
    answer = desired(seen(N2, wireguard_port=7777, wireguard_keepalive_s=25), WIREGUARD)
    assert of(answer, Kind.PEER) == [f"peer {K2} dev nictl-wg endpoint 192.0.2.12:7777 keepalive 25"]
    assert "port 7777" in of(answer, Kind.LINK)[0]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(replace(N2, public_key=""), "no WireGuard key", id="no key"),
        pytest.param(replace(N2, addresses=()), "no underlay family in common", id="no address"),
    ],
)
def test_a_peer_that_cannot_be_encrypted_to_is_closed_off_and_reported(bad: Peer, reason: str) -> None:
    fine = peer("n3", "10.244.3.0/24", at=("192.0.2.13",), public_key=K3)
    answer = desired(seen(bad, fine), WIREGUARD)
    assert reason in messages(answer)
    types = {str(r.dst): r.type for r in answer.state.of_kind(Kind.ROUTE) if isinstance(r, Route)}
    assert types["10.244.2.0/24"] is types["fd00:244:0:2::/64"] is RouteType.UNREACHABLE
    assert types["10.244.3.0/24"] is RouteType.UNICAST
    assert answer.routed == 1


def test_a_pod_cidr_that_moves_is_replaced_in_place() -> None:
    heir = peer("n3", "10.244.2.0/24", at=("192.0.2.13",), public_key=K3)
    before, after = desired(seen(N2), WIREGUARD).state, desired(seen(heir), WIREGUARD).state
    plan = diff(after.objects, before.objects)
    moved = ip_network("10.244.2.0/24")
    (change,) = [c for c in plan.changes if isinstance(c.after, AllowedIP)]
    assert (change.op, str(change.after)) == (Op.REPLACE, f"allowed ip {moved} dev nictl-wg peer {K3}")
    assert not [c for c in plan.changes if isinstance(c.before or c.after, Route) and str(moved) in str(c)]


def test_a_network_in_dispute_belongs_to_the_peer_that_has_the_route() -> None:
    late = peer("n3", "10.244.2.0/24", "10.244.3.0/24", at=("192.0.2.13",), public_key=K3, since_s=9.0)
    answer = desired(seen(N2, late), WIREGUARD)
    owners = {
        str(ip.cidr): ip.public_key
        for ip in answer.state.of_kind(Kind.ALLOWED_IP)
        if isinstance(ip, AllowedIP)
    }
    assert owners["10.244.2.0/24"] == K2
    assert owners["10.244.3.0/24"] == K3


def test_a_key_that_is_gone_leaves_everything_else_in_place() -> None:
    before = desired(seen(N2), WIREGUARD).state.objects
    after = desired(seen(N2, own_key=""), WIREGUARD).state.objects
    plan = diff(after, before)
    assert [(c.op, c.key.kind) for c in plan.changes] == [(Op.REPLACE, Kind.LINK)]
    assert "of a key to be made" in str(plan.changes[0])


def test_another_backend_that_still_accepts_keeps_peers_but_sends_its_own_way() -> None:
    keyless = peer("n3", "10.244.3.0/24", at=("192.0.2.13",))
    answer = desired(
        seen(N2, keyless, backend="host-gw", also_accept=("wireguard",)), backends.load("host-gw")
    )
    assert of(answer, Kind.PEER) == [f"peer {K2} dev nictl-wg endpoint 192.0.2.12:51820"]
    assert len(of(answer, Kind.ALLOWED_IP)) == 2
    assert not any("nictl-wg" in route for route in of(answer, Kind.ROUTE))


def test_a_memo_notices_that_a_key_became_somebody_elses() -> None:
    younger = replace(N2, since_s=5.0)
    older = peer("n3", "10.244.3.0/24", at=("192.0.2.13",), public_key=K2, since_s=1.0)
    memo = Memo()
    assert K2 in " ".join(of(desired(seen(younger), WIREGUARD, memo=memo), Kind.PEER))
    answer = desired(seen(younger, older), WIREGUARD, memo=memo)
    assert of(answer, Kind.PEER) == [f"peer {K2} dev nictl-wg endpoint 192.0.2.13:51820"]
    assert answer == desired(seen(younger, older), WIREGUARD)


def test_the_plan_shows_where_the_key_is_and_not_what_it_is() -> None:
    answer = desired(seen(N2), WIREGUARD)
    files = [obj for obj in answer.state.objects.values() if isinstance(obj, KeyFile)]
    assert [(file.path, file.mode) for file in files] == [("/var/lib/nodeipam/wireguard.key", 0o600)]
    assert set(KeyFile.__slots__) == {"path", "mode"}


def test_nothing_is_wanted_while_the_underlay_is_unknown() -> None:
    answer = desired(seen(N2, links=()), WIREGUARD)
    assert not [o for o in answer.state.objects.values() if isinstance(o, Link | WireguardPeer)]
    assert answer.waiting.startswith("WaitingForUnderlay")
    assert answer.keep == frozenset(Kind)
