"""Which VXLAN device that is there will do for the one that is wanted?"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodeipam_ctl.linux import links
from nodeipam_ctl.routing.host_state import settled
from nodeipam_ctl.routing.state import Link
from nodeipam_ctl.routing.tunnels import Vxlan

_NIC = 2
PLAIN = Vxlan(vni=1, port=8472, local=ip_address("192.0.2.11"))
FLANNELS = replace(PLAIN, may_stand_on=_NIC)


@pytest.mark.parametrize(
    ("wanted", "found", "will_do"),
    [
        pytest.param(PLAIN, PLAIN, True, id="the same"),
        pytest.param(
            FLANNELS, replace(PLAIN, lower_device=_NIC), True, id="flannel's, which stands on the NIC"
        ),
        pytest.param(FLANNELS, PLAIN, True, id="one that stands on nothing"),
        pytest.param(FLANNELS, replace(PLAIN, lower_device=3), False, id="on another NIC"),
        pytest.param(PLAIN, replace(PLAIN, lower_device=_NIC), False, id="ours stand on nothing"),
        pytest.param(FLANNELS, replace(PLAIN, lower_device=_NIC, vni=2), False, id="another VNI"),
        pytest.param(FLANNELS, replace(PLAIN, lower_device=_NIC, learning=True), False, id="it learns"),
    ],
)
def test_a_device_is_made_anew_only_when_it_must_be(wanted: Vxlan, found: Vxlan, will_do: bool) -> None:
    want = Link(name="flannel.1", kind="vxlan", mtu_bytes=1450, vxlan=wanted)
    have = Link(name="flannel.1", kind="vxlan", mtu_bytes=1450, vxlan=found)
    assert links.must_recreate(have, want) is not will_do
    assert (settled(want, have) is want) is will_do
    smaller = replace(have, mtu_bytes=1400)
    assert settled(want, smaller) is smaller, "what can be set is set"
