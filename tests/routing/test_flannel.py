"""flanneld's annotations, read and written."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodeipam_ctl.prefixes import Family
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import desired
from nodeipam_ctl.routing.flannel import PREFIX, published, read
from nodeipam_ctl.routing.state import FdbEntry, Neighbour, Route, RouteType
from tests.routing.views import peer, view

N2 = peer("n2", "10.244.2.0/24", at=("192.0.2.12",))


def flannel(**values: str) -> dict[str, str]:
    return {PREFIX + key.replace("_", "-"): value for key, value in values.items()}


def test_a_peers_mac_and_address_come_from_its_annotations() -> None:
    found = read(
        N2,
        flannel(
            backend_type="vxlan",
            backend_data='{"VNI":1,"VtepMAC":"5E:00:00:00:00:02"}',
            public_ip="203.0.113.12",
        ),
    )
    assert found.vtep_macs == ((Family.IPV4, "5e:00:00:00:00:02"),)
    assert found.tunnel_addresses == (ip_address("203.0.113.12"),)
    state = desired(view(found, backend="vxlan", flannel_compat=True), backends.load("vxlan")).state
    shown = {str(obj) for obj in state.objects.values() if isinstance(obj, Neighbour | FdbEntry)}
    assert shown == {
        "neighbour 10.244.2.0 lladdr 5e:00:00:00:00:02 dev flannel.1 permanent",
        "fdb 5e:00:00:00:00:02 dev flannel.1 dst 203.0.113.12 self permanent",
    }


def test_an_old_peer_without_a_vni_is_understood() -> None:
    found = read(N2, flannel(backend_type="vxlan", backend_data='{"VtepMAC":"5e:00:00:00:00:02"}'))
    assert found.vtep_macs == ((Family.IPV4, "5e:00:00:00:00:02"),)
    assert found.tunnel_addresses == N2.addresses


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("null", id="null"),
        pytest.param("", id="empty"),
        pytest.param("{", id="cut JSON"),
        pytest.param('{"VtepMAC":"zz"}', id="no MAC"),
        pytest.param('{"VNI":"1"}', id="no MAC at all"),
        pytest.param('{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}', id="the zero MAC"),
        pytest.param('{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}', id="a multicast MAC"),
        pytest.param("[1]", id="a list"),
    ],
)
def test_a_malformed_peer_is_skipped_and_reported_and_stops_nobody(data: str) -> None:
    broken = read(N2, flannel(backend_type="vxlan", backend_data=data))
    other = peer("n3", "10.244.3.0/24", at=("192.0.2.13",))
    answer = desired(view(broken, other, backend="vxlan", flannel_compat=True), backends.load("vxlan"))
    routes = [
        str(obj.dst)
        for obj in answer.state.objects.values()
        if isinstance(obj, Route) and obj.type is RouteType.UNICAST
    ]
    assert routes == ["10.244.3.0/24"]
    assert {finding.subject for finding in answer.findings} == {"node/n2"}


def test_a_peer_with_another_backend_is_reached_directly_or_reported() -> None:
    near = read(N2, flannel(backend_type="host-gw", backend_data="null"))
    far = read(
        peer("n3", "10.244.3.0/24", at=("198.51.100.13",)),
        flannel(backend_type="host-gw", backend_data="null"),
    )
    answer = desired(view(near, far, backend="vxlan", flannel_compat=True), backends.load("vxlan"))
    routes = [str(obj) for obj in answer.state.objects.values() if isinstance(obj, Route) and obj.via]
    assert routes == ["route 10.244.2.0/24 via 192.0.2.12 dev eth0 proto 112 metric 102"]
    assert [finding.subject for finding in answer.findings] == ["node/n3"]


def test_ours_are_what_flanneld_reads() -> None:
    tunnels = {Family.IPV4: ("02:00:00:00:00:01", ip_address("192.0.2.11"))}
    assert published(vni=1, tunnels=tunnels, present=flannel(public_ip_overwrite="203.0.113.5")) == flannel(
        kube_subnet_manager="true",
        backend_type="vxlan",
        backend_data='{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}',
        public_ip="203.0.113.5",
    )
