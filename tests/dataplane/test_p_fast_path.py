"""P: does a packet between pods meet anything on our nodes that it would not meet on nodes set up by hand?

Throughput itself is `make bench ARGS=throughput`; this is why it must be equal, without a clock.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.bench import fast_path
from tests.bench.twins import HOSTS, Pair, by_agent, by_hand
from tests.linux.namespaces import Segment

pytestmark = pytest.mark.kernel

_TUNNEL: Final = (
    # No router is there, and none shall be believed.
    "+ net.ipv6.conf.TUNNEL.accept_ra = 0",
    "- net.ipv6.conf.TUNNEL.accept_ra = 1",
    # Loose instead of none: one more look into the routes for each received packet, up to 64 kB of them after GRO.
    "+ net.ipv4.conf.TUNNEL.rp_filter = 2",
    "- net.ipv4.conf.TUNNEL.rp_filter = 0",
)
_NO_LOWER_DEVICE: Final = (
    # Ours outlives its NIC. What is inherited from it is a bound for packets over 64 kB, which nobody has switched on.
    "- link TUNNEL linkinfo.info_data.link eth0",
    "+ link TUNNEL tso_max_size 65536",
    "- link TUNNEL tso_max_size 524280",
)


@pytest.mark.parametrize(
    ("backend", "known"),
    [
        pytest.param("host-gw", (), id="host-gw: nothing at all"),
        pytest.param("vxlan", (*_TUNNEL, *_NO_LOWER_DEVICE), id="vxlan: a tunnel without lower device"),
        pytest.param("vxlan-gpe", _TUNNEL, id="vxlan-gpe: a tunnel's own settings"),
    ],
)
def test_the_way_of_a_packet_differs_from_one_made_by_hand_only_in_what_is_listed(
    tmp_path: Path, backend: str, known: tuple[str, ...]
) -> None:
    with ExitStack() as stack:
        ours, manual = (Pair(stack, stack.enter_context(Segment()), backend) for _ in range(2))
        by_agent(ours, tmp_path, stack)
        by_hand(manual)
        assert len(fast_path.lines(ours, 1)) > 500, "it has looked"
        found = fast_path.differences(ours, manual)
    assert sorted(found) == sorted(f"{line[:2]}n{n} {line[2:]}" for line in known for n in HOSTS)
