"""Which rules of iptables are a predecessor's, and which are others' or a network policy's?"""

from __future__ import annotations

import pytest

from nodeipam_ctl.routing.predecessor_rules import removal, replaced_rules
from nodeipam_ctl.routing.predecessors import PREDECESSORS

_KUBE_ROUTER_NAT = (
    "-A POSTROUTING -m set --match-set {0}kube-router-pod-subnets src -m set ! --match-set {0}kube-router-pod-subnets dst"
    " -m set ! --match-set {0}kube-router-node-ips dst -j MASQUERADE --random-fully"
)
_KUBE_ROUTER_FORWARD = (
    '-A FORWARD -i kube-bridge -m comment --comment "allow outbound traffic from pods" -j ACCEPT',
    '-A FORWARD -o kube-bridge -m comment --comment "allow inbound traffic to pods" -j ACCEPT',
    (
        '-A FORWARD -o eth0 -m comment --comment "allow outbound node port traffic on node interface with which node ip is'
        ' associated" -j ACCEPT'
    ),
)
_POLICIES = (
    "-P FORWARD DROP",
    "-N KUBE-NWPLCY-DEFAULT",
    "-N KUBE-ROUTER-FORWARD",
    '-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD',
    "-A KUBE-ROUTER-FORWARD -d 10.244.1.7/32 -j KUBE-NWPLCY-DEFAULT",
)
_OLD_FLANNEL = (
    '-A POSTROUTING -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN'
)
_FLANNEL = (
    "-N FLANNEL-POSTRTG",
    '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    '-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE',
)
_KUBE_PROXY = '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'


@pytest.mark.parametrize(
    ("name", "table", "saved", "expected"),
    [
        pytest.param(
            "flannel",
            "nat",
            (_KUBE_PROXY, *_FLANNEL),
            (":FLANNEL-POSTRTG - [0:0]", f"-D{_FLANNEL[1][2:]}", "-X FLANNEL-POSTRTG"),
            id="flannel's chain and the jump to it",
        ),
        pytest.param(
            "flannel",
            "nat",
            (_KUBE_PROXY, _OLD_FLANNEL),
            (f"-D{_OLD_FLANNEL[2:]}",),
            id="rules of an old flannel without a chain",
        ),
        pytest.param(
            "flannel",
            "nat",
            (*_FLANNEL, "-A OUTPUT -p udp -g FLANNEL-POSTRTG"),
            (
                ":FLANNEL-POSTRTG - [0:0]",
                f"-D{_FLANNEL[1][2:]}",
                "-D OUTPUT -p udp -g FLANNEL-POSTRTG",
                "-X FLANNEL-POSTRTG",
            ),
            id="somebody else's jump to a chain that goes",
        ),
        pytest.param("flannel", "nat", (_KUBE_PROXY,), (), id="nothing of flannel's"),
        pytest.param(
            "kube-router",
            "nat",
            (_KUBE_PROXY, _KUBE_ROUTER_NAT.format("")),
            (f"-D{_KUBE_ROUTER_NAT.format('')[2:]}",),
            id="kube-router's masquerade",
        ),
        pytest.param(
            "kube-router",
            "nat",
            (_KUBE_ROUTER_NAT.format("inet6:"),),
            (f"-D{_KUBE_ROUTER_NAT.format('inet6:')[2:]}",),
            id="kube-router's masquerade of IPv6",
        ),
        pytest.param(
            "kube-router",
            "filter",
            (*_KUBE_ROUTER_FORWARD, *_POLICIES),
            tuple(f"-D{line[2:]}" for line in _KUBE_ROUTER_FORWARD),
            id="what kube-router accepts, and none of its policies",
        ),
        pytest.param(
            "kindnet",
            "nat",
            ("-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE", *_FLANNEL),
            (),
            id="rules of two others",
        ),
    ],
)
def test_only_rules_of_the_named_predecessor_go(
    name: str, table: str, saved: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    (left,) = (left for left in PREDECESSORS[name].rules if left.table == table)
    assert removal(saved, left) == expected


@pytest.mark.parametrize(
    ("masquerade", "forward_accept", "tables"),
    [(True, True, ["nat", "filter"]), (True, False, ["nat"]), (False, True, ["filter"]), (False, False, [])],
)
def test_what_ours_do_not_stand_in_for_stays(
    *, masquerade: bool, forward_accept: bool, tables: list[str]
) -> None:
    found = replaced_rules(PREDECESSORS["flannel"], masquerade=masquerade, forward_accept=forward_accept)
    assert [left.table for left in found] == tables
