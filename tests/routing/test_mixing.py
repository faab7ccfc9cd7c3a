"""Nodes of different backends in one cluster: who sends what to whom, and which devices are kept for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodeipam_ctl.routing import backends, mixing
from nodeipam_ctl.routing.desired import desired
from nodeipam_ctl.routing.state import Kind
from tests.routing.views import peer, view


def sent(backend: str, runs: str, **settings: Any) -> tuple[list[str], set[str]]:
    """The route to a node that says it runs something, and the devices that are kept."""
    seen = view(
        peer("n2", "10.244.2.0/24", at=("192.0.2.12",), runs=runs),
        backend=backend,
        masquerade=False,
        **settings,
    )
    state = desired(seen, backends.load(backend)).state
    routes = [str(route) for route in state.of_kind(Kind.ROUTE) if "10.244.2.0" in str(route)]
    return [route.partition(" proto")[0] for route in routes], {
        str(key.name) for key in state.kinds[Kind.LINK]
    }


DIRECT = "route 10.244.2.0/24 via 192.0.2.12 dev eth0"
VXLAN = "route 10.244.2.0/24 via 10.244.2.0 dev nictl.1"
GPE = "route 10.244.2.0/24 encap vxlan id 1 dst 192.0.2.12 dev nictl-gpe"


@pytest.mark.parametrize(
    ("backend", "runs", "route", "devices"),
    [
        pytest.param("host-gw", "", DIRECT, set(), id="it says nothing"),
        pytest.param("host-gw", "vxlan", VXLAN, {"nictl.1", "nictl-v6.1"}, id="it has changed to vxlan"),
        pytest.param("vxlan", "host-gw", DIRECT, {"nictl.1", "nictl-v6.1"}, id="we have changed to vxlan"),
        pytest.param("vxlan", "vxlan", VXLAN, {"nictl.1", "nictl-v6.1"}, id="both run vxlan"),
        pytest.param(
            "vxlan-gpe", "vxlan", VXLAN, {"nictl-gpe", "nictl.1", "nictl-v6.1"}, id="from classic to external"
        ),
    ],
)
def test_a_node_is_sent_to_in_the_form_that_it_says_it_runs(
    backend: str, runs: str, route: str, devices: set[str]
) -> None:
    assert sent(backend, runs) == ([route], devices)


def test_nobody_is_followed_who_must_not_be() -> None:
    assert sent("vxlan", "host-gw", follow_peers=False)[0] == [VXLAN]
    closed, devices = sent("wireguard", "vxlan")
    assert closed == ["route unreachable 10.244.2.0/24"], "nobody turns encryption off by what he says"
    assert devices == {"nictl-wg"}


def test_a_form_that_others_may_still_send_in_is_accepted_and_no_longer() -> None:
    changed = replace(view(peer("n2", runs="host-gw"), backend="host-gw"), formerly=("vxlan",))
    assert mixing.accepted(changed) == ("vxlan",)
    assert mixing.accepted(replace(changed, formerly=("host-gw",))) == ()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        pytest.param("vxlan-gpe", "vxlan-gpe", id="a form of ours"),
        pytest.param("wireguard", "", id="not one that is followed"),
        pytest.param("none", "", id="no form at all"),
        pytest.param("../vxlan", "", id="nonsense"),
    ],
)
def test_only_forms_that_can_be_followed_are_read(said: str, read: str) -> None:
    assert mixing.published({mixing.ANNOTATION: said}) == read
