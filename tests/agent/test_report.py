"""Is one cause told once, and is nothing hidden behind it?"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nodeipam_ctl.agent.report import causes
from nodeipam_ctl.errors import NodeIPAMError, NotFound, Permanent
from nodeipam_ctl.plan import Change, Op
from nodeipam_ctl.routing.state import HostChange, HostFile, HostObject, InterfaceAddress, Link, Route, Sysctl

TUNNEL = Link(name="nictl.1", kind="vxlan", mtu_bytes=1450)
GONE = NotFound("device nictl.1 does not exist now")
DST = ip_network("10.244.2.0/24")


def failure(wanted: HostObject, error: NodeIPAMError) -> tuple[HostChange, NodeIPAMError]:
    return Change(op=Op.ADD, key=wanted.key, before=None, after=wanted, why="missing"), error


def told(*failures: tuple[HostObject, NodeIPAMError]) -> list[HostObject]:
    return [change.after for change, _ in causes(failure(*one) for one in failures) if change.after]


def test_what_stands_on_a_device_that_could_not_be_made_is_no_cause() -> None:
    waiting = HostFile(path="/x", text="")
    assert told(
        (TUNNEL, Permanent("Address already in use")),
        (Sysctl(name="net/ipv4/conf/nictl.1/rp_filter", value="2"), Permanent("No such file")),
        (InterfaceAddress(dev="nictl.1", address=ip_address("10.244.1.0"), prefix_length=32), GONE),
        (Route(dst=DST, dev="nictl.1", metric=100), GONE),
        (waiting, Permanent("file /x: not written, because link failed: Address already in use")),
    ) == [TUNNEL]


def test_other_failures_are_told_beside_it() -> None:
    route = Route(dst=DST, via=ip_address("192.0.2.12"), dev="eth0", metric=100)
    setting = Sysctl(name="net/ipv4/ip_forward", value="1")
    unwritable = HostFile(path="/x", text="")
    assert told(
        (TUNNEL, Permanent("Address already in use")),
        (setting, Permanent("Read-only file system")),
        (route, Permanent("Network is unreachable")),
        (unwritable, Permanent("file /x: cannot be written: Read-only file system")),
    ) == [TUNNEL, setting, route, unwritable]


def test_a_device_that_vanishes_by_itself_hides_nothing() -> None:
    route = Route(dst=DST, dev="nictl.1", metric=100)
    assert told((route, GONE)) == [route]
