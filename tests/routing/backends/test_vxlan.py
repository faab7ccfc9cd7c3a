"""A podCIDR that moves between nodes is led to its new node without a moment in which it leads nowhere."""

from __future__ import annotations

from nodeipam_ctl.plan import Op, diff
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.desired import desired
from nodeipam_ctl.routing.state import Kind
from tests.routing.views import peer, view

VXLAN = backends.load("vxlan")


def test_the_way_to_a_mac_is_there_before_a_gateway_has_it_and_goes_after() -> None:
    before, after = (
        desired(view(peer(name, "10.244.2.0/24", at=(address,))), VXLAN).state.objects
        for name, address in (("n2", "192.0.2.12"), ("n3", "192.0.2.13"))
    )
    steps = [(c.op, c.key.kind) for c in diff(after, before).changes if c.key.kind is not Kind.FILE]
    assert steps == [(Op.ADD, Kind.FDB), (Op.REPLACE, Kind.NEIGHBOUR), (Op.REMOVE, Kind.FDB)]
