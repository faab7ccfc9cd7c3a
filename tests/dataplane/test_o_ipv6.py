"""O: a host that forwards IPv6 keeps hearing its router."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from tests.agent.cluster import until
from tests.dataplane.cases import case, scenario
from tests.dataplane.lab import Lab

MakeLab = Callable[..., Lab]
_ALL_NODES = "ff02::1"


def advertise(lab: Lab, lifetime_s: int = 1800) -> None:
    """A router advertisement from the segment's switch (RFC 4861, section 4.2); the kernel adds the checksum."""
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime_s, 0, 0)
    with (
        lab.segment.switch.entered(),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router,
    ):
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        router.sendto(message, (_ALL_NODES, 0, 0, socket.if_nametoindex("br0")))


@scenario("O2-accept-ra-kept")
def test_the_default_route_learned_from_a_router_is_learned_again_while_forwarding(make_lab: MakeLab) -> None:
    lab = make_lab("n1", dual=True)
    host = lab.hosts["n1"]
    host.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1")

    def default() -> str:
        return host.run("ip", "-6", "route", "show", "default", "proto", "ra")

    def learned() -> bool:
        advertise(lab)
        return bool(default())

    until(learned, "the router is heard")
    lab.settle()
    wanted: dict[str, int] = case("O2-accept-ra-kept")["expect"]["n1"]["sysctl"]
    for name, value in wanted.items():
        assert host.run("sysctl", "-n", name).strip() == str(value)
    assert default(), "forwarding did not cost the route"
    host.run("ip", "-6", "route", "del", "default")
    until(learned, "the next advertisement brings it back")
