"""Is an ipset removed, unless somebody still uses it?"""

from __future__ import annotations

import socket

import pytest

from nodeipam_ctl.linux import ipsets
from tests.linux.namespaces import Namespace
from tests.linux.sets import make_set

pytestmark = pytest.mark.kernel

NAMES = ("kube-router-pod-subnets", "inet6:kube-router-pod-subnets")


def test_a_set_goes_unless_a_rule_uses_it() -> None:
    with Namespace() as host:
        for name, family in zip(NAMES, (socket.AF_INET, socket.AF_INET6), strict=True):
            make_set(host, name, family)
        host.run("iptables-nft", "-A", "INPUT", "-m", "set", "--match-set", NAMES[0], "src", "-j", "ACCEPT")
        with host.entered():
            assert [ipsets.exists(name) for name in (*NAMES, "another")] == [True, True, False]
            assert [ipsets.destroy(name) for name in NAMES] == [False, True]
            assert [ipsets.exists(name) for name in NAMES] == [True, False]
            host.run("iptables-nft", "-F")
            assert ipsets.destroy(NAMES[0])
            assert not ipsets.exists(NAMES[0])


def test_a_set_that_somebody_else_removed_counts_as_gone() -> None:
    with Namespace() as host, host.entered():
        assert ipsets.destroy(NAMES[0])
