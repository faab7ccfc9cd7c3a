"""Which devices, routes and policy rules of a predecessor may go, and which are needed a while longer?"""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any

import pytest

from nodeipam_ctl.prefixes import contains, overlaps
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.adopt import Takeover, takeover
from nodeipam_ctl.routing.desired import desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.predecessors import PREDECESSORS, tunnel_names
from nodeipam_ctl.routing.state import HostObject, InterfaceAddress, Kind, Link, PolicyRule, Route, Sysctl
from nodeipam_ctl.routing.tunnels import Vxlan
from nodeipam_ctl.routing.view import NodeView, Peer
from tests.routing.views import ETH0, N1, link, peer, view

OLD = peer("n2", "10.244.2.0/24", at=("192.0.2.12",))
NEW = peer("n2", "10.244.2.0/24", at=("192.0.2.12",), runs="host-gw")
FAR = peer("n3", "10.244.3.0/24", at=("198.51.100.13",), runs="host-gw")
FLANNEL_1 = Link(
    name="flannel.1",
    kind="vxlan",
    mtu_bytes=1450,
    vxlan=Vxlan(vni=1, port=8472, local=ip_address("192.0.2.11")),
)
WINDOWS = Vxlan(vni=4096, port=4789, local=ip_address("192.0.2.11"))
FAR_END = ip_address("198.51.100.13")
TUNNEL = Link(name=tunnel_names(FAR_END)[0], kind="ipip", mtu_bytes=1480, far_end=FAR_END)
RULE = PolicyRule(source=ip_network("10.244.1.0/24"), table=77, priority=32765)


def route(dst: str, via: str = "", dev: str = "eth0", protocol: int = 3, metric: int = 0) -> Route:
    next_hop = ip_address(via) if via else None
    return Route(dst=ip_network(dst), via=next_hop, dev=dev, protocol=protocol, metric=metric)


ON_FLANNEL = route("10.244.2.0/24", "10.244.2.0", "flannel.1")


def taken(
    name: str,
    found: tuple[HostObject, ...],
    *peers: Peer,
    done: bool = True,
    without: tuple[Kind, ...] = (),
    heard: bool = True,
    **settings: Any,
) -> tuple[Takeover, HostState, NodeView]:
    """The takeover on a host that has everything that is wanted, or nothing of it."""
    seen = replace(view(*peers, adopt=name, **settings), formerly=("host-gw",) if heard else ())
    wanted = desired(seen, backends.load(seen.settings.backend)).state
    present = HostState() if not done else wanted
    for kind in without:
        present = present.replaced(kind, {})
    answer = takeover(found, PREDECESSORS[name], view=seen, wanted=wanted, present=present.kinds)
    return answer, wanted, seen


@pytest.mark.parametrize(
    ("found", "peers", "done", "going"),
    [
        pytest.param(ON_FLANNEL, (NEW,), True, True, id="ours is there and the node runs ours"),
        pytest.param(
            ON_FLANNEL, (OLD,), True, False, id="the node may drop what comes another way than it answers"
        ),
        pytest.param(
            route("10.244.2.0/24", "192.0.2.12"), (OLD,), True, True, id="the same way, which any node takes"
        ),
        pytest.param(ON_FLANNEL, (NEW,), False, False, id="ours is not there yet"),
        pytest.param(ON_FLANNEL, (), True, True, id="the node is gone"),
        pytest.param(route("10.244.3.0/24", "192.0.2.1"), (FAR,), True, False, id="a node out of our reach"),
        pytest.param(
            route("10.244.0.0/16", dev="flannel.1"), (NEW,), True, True, id="a wide route, all of it covered"
        ),
        pytest.param(
            route("10.244.0.0/16", dev="flannel.1"), (NEW, FAR), True, False, id="a wide route, half covered"
        ),
        pytest.param(route("203.0.113.0/24", "192.0.2.9"), (NEW,), True, None, id="outside the pod network"),
        pytest.param(
            route("10.99.3.0/24", "10.99.3.0", "flannel.1"), (NEW,), True, True, id="of a pool that is gone"
        ),
        pytest.param(
            route("10.244.2.0/24", "192.0.2.12", protocol=4), (NEW,), True, None, id="another protocol"
        ),
        pytest.param(route("10.244.9.7/32", dev="veth1"), (NEW,), True, None, id="a pod of this host"),
    ],
)
def test_a_route_goes_when_ours_leads_there(
    found: Route, peers: tuple[Peer, ...], done: bool, going: bool | None
) -> None:
    answer, _, _ = taken("flannel", (FLANNEL_1, found), *peers, done=done, backend="host-gw")
    assert (found in answer.going) is bool(going)
    assert (found in answer.others) is (going is None)


@pytest.mark.parametrize(
    ("peers", "settings", "waits"),
    [
        pytest.param((OLD,), {"backend": "vxlan-gpe"}, True, id="a tunnel it knows nothing of"),
        pytest.param((NEW,), {"backend": "vxlan-gpe"}, False, id="it runs ours"),
        pytest.param((OLD,), {"backend": "host-gw"}, True, id="another way than it answers"),
        pytest.param((NEW,), {"backend": "host-gw"}, False, id="another way, and it runs ours"),
        pytest.param(
            (OLD,),
            {"backend": "vxlan", "vxlan_vni": 1, "flannel_compat": True},
            False,
            id="flannel's own form",
        ),
    ],
)
def test_its_route_comes_first_until_the_node_understands_ours(
    peers: tuple[Peer, ...], settings: dict[str, Any], waits: bool
) -> None:
    answer, wanted, _ = taken("flannel", (FLANNEL_1, ON_FLANNEL), *peers, **settings)
    (ours,) = [
        obj for obj in wanted.of_kind(Kind.ROUTE) if isinstance(obj, Route) and obj.dst == ON_FLANNEL.dst
    ]
    assert (ON_FLANNEL in answer.going) is not waits
    assert (ours.key in answer.screened(wanted).kinds[Kind.ROUTE]) is not waits
    assert answer.others == ()


@pytest.mark.parametrize(
    ("name", "device", "found", "peers", "idle"),
    [
        pytest.param("flannel", FLANNEL_1, (), (NEW,), True, id="all nodes run ours"),
        pytest.param("flannel", FLANNEL_1, (), (NEW, OLD), False, id="one node may still send to it"),
        pytest.param("flannel", FLANNEL_1, (ON_FLANNEL,), (NEW,), False, id="a route is left on it"),
        pytest.param("flannel", FLANNEL_1, (), (peer("n4"),), True, id="a node without pods"),
        pytest.param("kube-router", TUNNEL, (), (OLD, FAR), True, id="the node at its far end runs ours"),
        pytest.param(
            "kube-router",
            TUNNEL,
            (),
            (NEW, peer("n3", "10.244.3.0/24", at=("198.51.100.13",))),
            False,
            id="the node at its far end may still send",
        ),
        pytest.param("kube-router", TUNNEL, (), (OLD,), True, id="no node is at its far end"),
    ],
)
def test_a_device_is_idle_when_nobody_sends_by_it_or_to_it(
    name: str, device: Link, found: tuple[Route, ...], peers: tuple[Peer, ...], idle: bool
) -> None:
    answer, _, _ = taken(name, (device, *found), *peers, backend="host-gw")
    assert (device in answer.idle) is idle
    assert device not in answer.going


def test_a_route_of_its_to_all_nodes_comes_first_as_well() -> None:
    wide = route("10.244.0.0/16", dev="flannel.1")
    new = peer("n4", "10.244.4.0/24", at=("192.0.2.14",), runs="host-gw")
    answer, wanted, _ = taken("flannel", (FLANNEL_1, wide), OLD, new, backend="host-gw")
    assert answer.first == {ip_network("10.244.2.0/24")}
    assert answer.going == ()
    kept = [
        obj.dst for obj in answer.screened(wanted).of_kind(Kind.ROUTE) if isinstance(obj, Route) and obj.dev
    ]
    assert kept == [ip_network("10.244.4.0/24")]


def test_a_device_is_needed_until_others_have_heard_of_us() -> None:
    answer, _, _ = taken("flannel", (FLANNEL_1,), NEW, backend="host-gw", heard=False)
    assert answer.idle == ()


def test_where_something_else_routes_nothing_of_it_is_needed() -> None:
    answer, _, _ = taken("flannel", (FLANNEL_1, ON_FLANNEL), OLD, backend="none")
    assert answer.going == (ON_FLANNEL,)
    answer, _, _ = taken("flannel", (FLANNEL_1,), OLD, backend="none", heard=False)
    assert answer.idle == (FLANNEL_1,)


def test_neither_routes_nor_podcidrs_are_compared_one_by_one() -> None:
    def nodes(runs: str, first: int) -> tuple[Peer, ...]:
        return tuple(
            peer(f"n{n}", f"10.{n >> 8}.{n & 255}.0/24", at=(f"192.0.2.{n % 100 + 100}",), runs=runs)
            for n in range(first, first + 300)
        )

    peers = nodes("vxlan-gpe", 256) + nodes("", 556)
    found = tuple(route(str(p.pod_cidrs[0]), str(p.pod_cidrs[0][0]), "flannel.1") for p in peers)
    compared = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal compared
        compared += event == "call" and frame.f_code in (contains.__code__, overlaps.__code__)

    seen = replace(view(*peers, adopt="flannel", backend="vxlan-gpe"), formerly=("vxlan-gpe",))
    wanted = desired(seen, backends.load("vxlan-gpe")).state
    sys.setprofile(count)
    try:
        answer = takeover(
            (FLANNEL_1, *found), PREDECESSORS["flannel"], view=seen, wanted=wanted, present=wanted.kinds
        )
    finally:
        sys.setprofile(None)
    assert (answer.going, len(answer.first)) == (found[:300], 300)
    assert compared < 10 * len(peers)


@pytest.mark.parametrize(
    ("settings", "done", "going"),
    [
        pytest.param({"backend": "vxlan", "vxlan_vni": 1}, False, True, id="the same VNI"),
        pytest.param({"backend": "vxlan", "vxlan_vni": 1}, True, False, id="ours is up somehow"),
        pytest.param({"backend": "vxlan", "vxlan_vni": 2}, False, False, id="another VNI beside it"),
        pytest.param({"backend": "vxlan-gpe"}, False, False, id="another port"),
        pytest.param(
            {"backend": "vxlan-gpe", "vxlan_port": 8472}, False, True, id="another kind on its port"
        ),
        pytest.param({"backend": "host-gw"}, False, False, id="we need no device"),
    ],
)
def test_a_device_in_the_way_of_ours_goes_at_once(settings: dict[str, Any], done: bool, going: bool) -> None:
    answer, _, _ = taken("flannel", (FLANNEL_1, ON_FLANNEL), OLD, done=done, **settings)
    assert (FLANNEL_1 in answer.going) is going


@pytest.mark.parametrize(
    ("rule", "settings", "without", "going"),
    [
        pytest.param(RULE, {}, (), True, id="we masquerade"),
        pytest.param(RULE, {}, (Kind.NFT_TABLE,), False, id="we do not masquerade yet"),
        pytest.param(RULE, {"masquerade": False}, (Kind.NFT_TABLE,), True, id="we never will"),
        pytest.param(
            PolicyRule(source=ip_network("203.0.113.0/24"), table=77, priority=9),
            {},
            (),
            False,
            id="not of pods",
        ),
    ],
)
def test_a_policy_rule_goes_once_masquerade_is_ours(
    rule: PolicyRule, settings: dict[str, Any], without: tuple[Kind, ...], going: bool
) -> None:
    answer, _, _ = taken("kube-router", (rule,), OLD, without=without, backend="host-gw", **settings)
    assert (rule in answer.going) is going


@pytest.mark.parametrize(
    ("name", "link", "owned"),
    [
        pytest.param("flannel", FLANNEL_1, True, id="flannel's VXLAN"),
        pytest.param(
            "flannel", replace(FLANNEL_1, name="flannel-v6.4096", vxlan=WINDOWS), True, id="its IPv6"
        ),
        pytest.param(
            "flannel", replace(FLANNEL_1, name="flannel.2"), False, id="another VNI than its name says"
        ),
        pytest.param(
            "flannel", Link(name="flannel-wg", kind="wireguard", mtu_bytes=1420), True, id="WireGuard"
        ),
        pytest.param("flannel", Link(name="flannel.ipip", kind="ipip", mtu_bytes=1480), True, id="its IPIP"),
        pytest.param("flannel", Link(name="flannel.1", kind="bridge", mtu_bytes=1500), False, id="a bridge"),
        pytest.param(
            "flannel", Link(name="cni0", kind="bridge", mtu_bytes=1450), False, id="the pods' bridge"
        ),
        pytest.param("kube-router", TUNNEL, True, id="kube-router's tunnel"),
        pytest.param(
            "kube-router",
            Link(name="tun-1985110013", kind="ipip", mtu_bytes=1480, far_end=FAR_END),
            True,
            id="an older kube-router's",
        ),
        pytest.param(
            "kube-router",
            Link(name="tun-1985110014", kind="ipip", mtu_bytes=1480, far_end=FAR_END),
            False,
            id="a name that does not follow from its far end",
        ),
        pytest.param(
            "kube-router", Link(name="tun-1", kind="tun", mtu_bytes=1500), False, id="anybody's tun"
        ),
        pytest.param(
            "kube-router",
            Link(name="kube-bridge", kind="bridge", mtu_bytes=1500),
            False,
            id="its pods' bridge",
        ),
        pytest.param("kindnet", FLANNEL_1, False, id="kindnet makes none"),
    ],
)
def test_its_devices_are_known_by_name_and_kind(name: str, link: Link, owned: bool) -> None:
    assert PREDECESSORS[name].owns(link) is owned


def test_tunnels_are_named_as_kube_router_names_them() -> None:
    # The first is kube-router's own test vector.
    assert tunnel_names(ip_address("10.0.0.1")) == ("tun-e443169117a", "tun-10001")
    assert tunnel_names(ip_address("192.168.100.101"))[1] == "tun192168100101"
    assert tunnel_names(ip_address("2001:db8::113"))[0] == "tun-396bc707805"


@pytest.mark.parametrize(
    ("addresses", "own", "expected"),
    [
        pytest.param((), True, ["10.244.1.0"], id="a device without an address"),
        pytest.param(("10.244.1.0/32",), True, ["10.244.1.0"], id="the one that we gave it"),
        pytest.param(("10.244.9.0/32",), True, [], id="a device with an address of its own"),
        pytest.param(("fe80::1/64",), True, ["10.244.1.0"], id="an IPv6 address does not help"),
        pytest.param((), False, [], id="a node without a podCIDR"),
    ],
)
def test_its_devices_accept_what_is_answered_another_way(
    addresses: tuple[str, ...], own: bool, expected: list[str]
) -> None:
    tunnel = link("tun-x", *addresses, index=9, ours=True, left=True)
    seen = view(own=N1 if own else peer("n1", at=("192.0.2.11",)), links=(ETH0, tunnel))
    state = desired(seen, backends.load("host-gw")).state
    given = [obj for obj in state.of_kind(Kind.ADDRESS) if isinstance(obj, InterfaceAddress)]
    assert [(str(obj.address), obj.dev) for obj in given] == [(text, "tun-x") for text in expected]
    loose = Sysctl(name="net/ipv4/conf/tun-x/rp_filter", value="2")
    assert (loose in state.of_kind(Kind.SYSCTL)) is own
