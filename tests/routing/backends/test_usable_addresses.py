"""A node whose address stands for nobody, for everybody or for ourselves is skipped and named by every backend."""

from __future__ import annotations

import pytest

from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import desired
from nodeipam_ctl.routing.state import Kind, Route, RouteType
from tests.routing.views import peer, view

KEY = "q6ur" * 10 + "q6s="


@pytest.mark.parametrize("name", ["host-gw", "vxlan", "vxlan-gpe", "wireguard"])
@pytest.mark.parametrize(
    "address",
    [
        pytest.param("192.0.2.255", id="our subnet's broadcast address"),
        pytest.param("255.255.255.255", id="everybody on the segment"),
        pytest.param("239.1.1.1", id="a group of IPv4"),
        pytest.param("127.0.0.1", id="ourselves in IPv4"),
        pytest.param("0.0.0.0", id="nobody in IPv4"),
        pytest.param("ff02::1", id="a group of IPv6"),
        pytest.param("::1", id="ourselves in IPv6"),
        pytest.param("::", id="nobody in IPv6"),
        pytest.param("fe80::1", id="on a segment that is not named"),
        pytest.param("::ffff:192.0.2.12", id="IPv4 in the dress of IPv6"),
    ],
)
def test_no_packet_is_sent_to_an_address_where_no_host_can_be(name: str, address: str) -> None:
    bad = peer("n3", "10.244.3.0/24", at=(address,), public_key=KEY)
    good = peer("n2", "10.244.2.0/24", at=(address, "192.0.2.12"))
    answer = desired(view(bad, good), backends.load(name))
    routes = [r for r in answer.state.of_kind(Kind.ROUTE) if isinstance(r, Route)]
    assert all(r.type is RouteType.UNREACHABLE for r in routes if r.dst == bad.pod_cidrs[0])
    assert not {address, f"{address}:51820", f"[{address}]:51820"} & set(
        " ".join(map(str, answer.state.objects.values())).split()
    )
    assert ("PeerUnroutable", "node/n3") in {(f.code, f.subject) for f in answer.findings}
    if name != "wireguard":
        assert ("PeerUnroutable", "node/n2") not in {(f.code, f.subject) for f in answer.findings}
