"""Does the kernel's refusal of a device say what to do?"""

from __future__ import annotations

import errno
import re
import struct
from ipaddress import ip_address

import pytest

from nodeipam_ctl.linux import links
from nodeipam_ctl.linux.netlink import KernelError, Socket, attribute, nested
from nodeipam_ctl.routing.state import Link
from nodeipam_ctl.routing.tunnels import Vxlan
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

TUNNEL = Link(
    name="nictl.1", kind="vxlan", mtu_bytes=1450, vxlan=Vxlan(vni=1, port=8472, local=ip_address("192.0.2.1"))
)


def refusal(script: str, link: Link) -> KernelError:
    with Namespace() as host:
        host.sh(script)
        with host.entered(), Socket() as kernel, pytest.raises(KernelError) as caught:
            kernel.request(links.create(link))
    return links.explained(link, caught.value)


@pytest.mark.parametrize(
    ("script", "link", "code", "said"),
    [
        pytest.param(
            "true",
            Link(name="x", kind="no-such-kind", mtu_bytes=1400),
            errno.EOPNOTSUPP,
            "no no-such-kind devices",
            id="a kernel without them",
        ),
        pytest.param(
            "ip link add x type vxlan id 1 dstport 8472 local 192.0.2.1; ip link set x up",
            TUNNEL,
            errno.EEXIST,
            "--vxlan-vni",
            id="the same VNI and port",
        ),
        pytest.param(
            "ip link add x type vxlan id 9 dstport 8472 gbp; ip link set x up",
            TUNNEL,
            errno.EADDRINUSE,
            "--vxlan-port",
            id="a port that is taken",
        ),
        pytest.param(
            "ip link add nictl.1 type bridge",
            TUNNEL,
            errno.EEXIST,
            "^File exists$",
            id="a name that is taken",
        ),
    ],
)
def test_what_the_kernel_refuses_is_explained(script: str, link: Link, code: int, said: str) -> None:
    error = refusal(script, link)
    assert error.code == code
    assert re.search(said, str(error))


@pytest.mark.parametrize(
    ("kind", "remote", "expected"),
    [
        pytest.param("ipip", "198.51.100.13", "198.51.100.13", id="IPv4 in IPv4"),
        pytest.param("ip6tnl", "2001:db8::13", "2001:db8::13", id="IPv6 in IPv6"),
        pytest.param("ipip", "0.0.0.0", None, id="to any address"),
        pytest.param("gre", "198.51.100.13", None, id="another kind, whose attributes mean something else"),
    ],
)
def test_reads_where_a_tunnel_leads(kind: str, remote: str, expected: str | None) -> None:
    # struct ifinfomsg, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO with the kind and IFLA_IPTUN_REMOTE (linux/if_tunnel.h).
    body = (
        struct.pack("=BxHiII", 0, 768, 7, 1, 0)
        + attribute(3, b"tun-x\0")
        + attribute(4, struct.pack("=I", 1480))
        + nested(18, attribute(1, kind.encode() + b"\0"), nested(2, attribute(3, ip_address(remote).packed)))
    )
    found = links.decode_link(memoryview(body))
    assert found is not None
    assert found.link.far_end == (ip_address(expected) if expected else None)
