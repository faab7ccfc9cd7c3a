"""What must a chain accept that drops forwarded packets?"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from nodeipam_ctl.routing.forwarding import accepted, dropping
from nodeipam_ctl.routing.state import ForwardAccept
from tests.routing.views import view

VIRGIN = ForwardAccept(tool="nft", family="ip", table="filter", chain="FORWARD")
OURS = replace(VIRGIN, ours=True, cidrs=(ip_network("10.9.0.0/16"),))


@pytest.mark.parametrize(
    ("family", "cidrs"),
    [
        pytest.param("ip", ["10.244.0.0/16"], id="an IPv4 table"),
        pytest.param("ip6", ["fd00:244::/48"], id="an IPv6 table"),
        pytest.param("inet", ["10.244.0.0/16", "fd00:244::/48"], id="a table of both"),
    ],
)
def test_accepts_the_pod_network_of_the_tables_families(family: str, cidrs: list[str]) -> None:
    (chain,) = accepted([replace(VIRGIN, family=family)], view())

    assert (chain.ours, [str(cidr) for cidr in chain.cidrs]) == (True, cidrs)


def test_accepts_own_pods_outside_of_every_range() -> None:
    (chain,) = accepted([VIRGIN], view(cluster_cidrs=("10.250.0.0/16",)))

    assert [str(cidr) for cidr in chain.cidrs] == ["10.244.1.0/24", "10.250.0.0/16"]


def test_leaves_all_as_it_is_while_the_ranges_are_not_known() -> None:
    assert accepted([VIRGIN, OURS], replace(view(), pools_known=False)) == (VIRGIN, OURS)


def test_takes_ours_back_when_switched_off_and_names_what_drops() -> None:
    wanted = accepted([VIRGIN, replace(OURS, table="other")], view(forward_accept=False))

    assert wanted == (VIRGIN,)
    assert [finding.subject for finding in dropping(wanted, ())] == ["chain/ip filter FORWARD"]


def test_says_when_the_chains_cannot_be_seen() -> None:
    (finding,) = dropping((), (), problem="iptables-legacy is not installed")

    assert (finding.code, "not installed" in finding.message) == ("ForwardUnknown", True)
