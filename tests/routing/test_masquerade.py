"""The text of the masquerade table."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.routing.masquerade import Ranges, exempt_nodes, table
from nodeipam_ctl.routing.view import NodeView
from nodeipam_ctl.settings import AgentSettings
from tests.routing.views import N1, peer

GOLDEN = """\
table inet nodeipam {
	chain postrouting {
		type nat hook postrouting priority srcnat - 10; policy accept;
		meta mark & 0x00004000 == 0x00004000 return
		ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.0.0/16, 169.254.0.0/16, 198.18.0.0/15, 224.0.0.0/4 } masquerade fully-random
		ip6 saddr { fd00:244:0:1::/64 } ip6 daddr != { fd00:244::/48, fe80::/10, ff00::/8 } masquerade fully-random
	}
}
"""


def test_the_table_is_this() -> None:
    settings = AgentSettings(node_name="n1", non_masquerade_cidrs=(IPv4Network("198.18.0.0/15"),))
    made = table(N1, (ip_network("10.244.0.0/16"), ip_network("fd00:244::/48")), settings)
    assert made is not None
    assert made.text == GOLDEN


GOLDEN_OF_BOTH_SWITCHES = """\
table inet nodeipam {
	chain postrouting {
		type nat hook postrouting priority srcnat - 10; policy accept;
		meta mark & 0x00004000 == 0x00004000 return
		ip saddr { 10.244.1.0/24 } ip daddr != { 10.244.0.0/16, 169.254.0.0/16, 198.18.0.0/15, 224.0.0.0/4 } ip daddr != { 192.0.2.12, 192.0.2.13 } masquerade fully-random
		fib saddr type local ip daddr { 10.244.0.0/16 } ip daddr != { 10.244.1.0/24 } masquerade fully-random
	}
}
"""


def test_nodes_may_be_exempt_and_the_hosts_own_packets_included() -> None:
    settings = AgentSettings(
        node_name="n1",
        non_masquerade_cidrs=(IPv4Network("198.18.0.0/15"),),
        masquerade_nodes=False,
        masquerade_host=True,
    )
    peers = (peer("n3", at=("192.0.2.13",)), peer("n2", at=("192.0.2.12", "fd00:10::12")))
    own = peer("n1", "10.244.1.0/24", at=("192.0.2.11",))
    nodes = exempt_nodes(NodeView(settings=settings, own=own, peers=peers))
    made = table(own, (ip_network("10.244.0.0/16"),), settings, nodes)
    assert made is not None
    assert made.text == GOLDEN_OF_BOTH_SWITCHES
    assert made == table(own, (ip_network("10.244.0.0/16"),), settings, nodes[::-1]), "in whatever order"


def test_a_node_alone_has_no_set_of_other_nodes() -> None:
    settings = AgentSettings(node_name="n1", masquerade_nodes=False)
    made = table(N1, (), settings, exempt_nodes(NodeView(settings=settings, own=N1)))
    assert made == table(N1, (), AgentSettings(node_name="n1"))


def test_nodes_are_exempt_only_when_they_shall_be() -> None:
    view = NodeView(settings=AgentSettings(node_name="n1"), own=N1, peers=(peer("n2", at=("192.0.2.12",)),))
    assert exempt_nodes(view) == ()


def test_the_table_does_not_depend_on_the_order_or_overlap_of_ranges() -> None:
    settings = AgentSettings(node_name="n1")
    ranges = (ip_network("10.244.0.0/16"), ip_network("10.245.0.0/16"), ip_network("10.244.7.0/24"))
    assert table(N1, ranges, settings) == table(N1, ranges[::-1], settings)


def test_there_is_no_table_without_a_pod_cidr() -> None:
    assert table(peer("n1"), (), AgentSettings(node_name="n1")) is None


blocks = st.builds(
    lambda value, length: IPv4Network((value, length), strict=False),
    st.integers(0, 2**16),
    st.integers(16, 32),
)


@given(st.lists(blocks, max_size=5), blocks)
def test_a_block_is_covered_when_one_range_contains_it(ranges: list[IPv4Network], block: IPv4Network) -> None:
    assert Ranges(ranges).cover(block) == any(block.subnet_of(net) for net in ranges)
