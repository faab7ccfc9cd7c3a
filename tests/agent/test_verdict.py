"""What the host refused for one other node must not take this one out of service, and what it refused for most must."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nodeipam_ctl.agent.verdict import Failure, essential, out_of_reach, repaired
from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.plan import Change, Op
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.state import (
    SINK_METRIC,
    HostChange,
    HostObject,
    Neighbour,
    Route,
    RouteType,
    Sysctl,
)

ROUTES = tuple(Route(dst=ip_network(f"10.244.{n}.0/24"), dev="eth0", metric=100 + n) for n in range(1, 6))
SINK = Route(dst=ip_network("10.244.9.0/24"), type=RouteType.UNREACHABLE, metric=SINK_METRIC)
GATEWAY = Neighbour(dev="nictl.1", address=ip_address("10.244.1.0"), mac="02:00:00:00:00:01")
FORWARD = Sysctl(name="net/ipv4/ip_forward", value="1")
WANTED = HostState.of((*ROUTES, GATEWAY, SINK, FORWARD))


def refused(*objects: HostObject) -> tuple[Failure, ...]:
    return tuple(
        (Change(op=Op.ADD, key=obj.key, before=None, after=obj, why="missing"), Permanent("Invalid argument"))
        for obj in objects
    )


@pytest.mark.parametrize(
    ("objects", "matters"),
    [
        pytest.param((), (), id="nothing"),
        pytest.param((ROUTES[0], GATEWAY), (), id="what one other node needs"),
        pytest.param((ROUTES[0], SINK), (SINK,), id="and our own sink"),
        pytest.param((ROUTES[0], FORWARD), (FORWARD,), id="and a setting"),
        pytest.param(ROUTES, ROUTES, id="what most of the others need"),
    ],
)
def test_only_what_is_our_own_or_of_most_others_takes_the_node_out_of_service(
    objects: tuple[HostObject, ...], matters: tuple[HostObject, ...]
) -> None:
    assert tuple(change.after for change, _ in essential(refused(*objects), WANTED)) == matters


def test_a_node_out_of_reach_is_a_finding() -> None:
    (finding,) = out_of_reach(refused(ROUTES[0]), WANTED)
    assert finding.code == "PeerNotProgrammed"
    assert "10.244.1.0/24" in finding.message
    assert not out_of_reach((), WANTED)
    assert not out_of_reach(refused(SINK), WANTED), "the condition says it"


def test_repaired_is_what_was_wanted_before() -> None:
    put_back: HostChange = Change(op=Op.ADD, key=ROUTES[0].key, before=None, after=ROUTES[0], why="missing")
    moved = Route(dst=ROUTES[1].dst, dev="eth1", metric=ROUTES[1].metric)
    news: HostChange = Change(op=Op.REPLACE, key=moved.key, before=ROUTES[1], after=moved, why="differs")
    gone: HostChange = Change(op=Op.REMOVE, key=ROUTES[2].key, before=ROUTES[2], after=None, why="stale")
    stray = Route(dst=ip_network("10.244.77.0/24"), dev="eth0", metric=7)
    strange: HostChange = Change(op=Op.REMOVE, key=stray.key, before=stray, after=None, why="stale")
    assert repaired((put_back, news, gone, strange), WANTED) == (put_back, strange)
