"""What on a host counts as what is wanted."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodeipam_ctl.routing.host_state import settled
from nodeipam_ctl.routing.state import HostObject, Sysctl, WireguardPeer

WANTED = WireguardPeer(dev="nictl-wg", public_key="k", address=ip_address("192.0.2.12"), port=51820)
MOVED = replace(WANTED, address=ip_address("198.51.100.12"))


@pytest.mark.parametrize(
    ("found", "same"),
    [
        pytest.param(replace(WANTED), True, id="equal"),
        pytest.param(replace(WANTED, alive=True), True, id="equal, and alive"),
        pytest.param(replace(MOVED, alive=True), True, id="it proves its key from another address"),
        pytest.param(MOVED, False, id="another address that nobody has answered from lately"),
        pytest.param(replace(MOVED, alive=True, keepalive_s=25), False, id="alive with another keepalive"),
        pytest.param(Sysctl(name="a", value="1"), False, id="something else"),
    ],
)
def test_a_living_peer_may_have_moved(found: HostObject, *, same: bool) -> None:
    assert (settled(WANTED, found) is WANTED) is same
    if not same:
        assert settled(WANTED, found) is found
