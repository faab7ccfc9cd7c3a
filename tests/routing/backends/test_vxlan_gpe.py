"""How do tunnel routes share the kernel's table?"""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from typing import Any

from nodeipam_ctl.routing.backends import Vantage, vxlan_gpe
from nodeipam_ctl.routing.state import Route
from tests.routing.views import peer, view


def _metric(cidr: str, *, at: str = "198.51.100.9", **settings: Any) -> int:
    seen = view(backend="vxlan-gpe", **settings)
    toward = vxlan_gpe.backend.toward(
        peer("n2", cidr, at=(at, "fd00:99::9")), ip_network(cidr), Vantage.of(seen)
    )
    (route,) = toward.objects
    assert isinstance(route, Route)
    return route.metric


def test_ipv4_routes_are_spread_evenly_over_64_metrics() -> None:
    counts = Counter(_metric(f"10.{high}.{low}.0/24") for high in range(4) for low in range(256))

    assert (min(counts), max(counts), set(counts.values())) == (100, 163, {16})


def test_a_podcidr_keeps_its_metric_whichever_way_it_goes() -> None:
    assert {
        _metric("10.244.2.0/24"),
        _metric("10.244.2.0/24", at="203.0.113.7"),
        _metric("10.244.2.0/24", at="192.0.2.12", direct_routing=True),
    } == {102}


def test_ipv6_routes_have_one_metric() -> None:
    assert {_metric(f"fd00:244:0:{number:x}::/64") for number in range(1, 99)} == {100}
