"""Which policy rules of the kernel are about a source alone, and is the right one removed?"""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from nodeipam_ctl.linux import dumps, policy_rules
from nodeipam_ctl.linux.netlink import Socket
from nodeipam_ctl.routing.state import PolicyRule
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

PLAIN = (
    "-4 rule add from 10.244.1.0/24 lookup 77 priority 32764",
    "-6 rule add from fd00:1::/64 lookup 77 priority 32763",
    "-4 rule add from 10.244.1.0/24 lookup 4321 priority 32000 protocol 4",
)
MORE = (
    "-4 rule add from 10.244.2.0/24 to 10.0.0.0/8 lookup 77",
    "-4 rule add from 10.244.2.0/24 iif lo lookup 77",
    "-4 rule add from 10.244.2.0/24 oif lo lookup 77",
    "-4 rule add from 10.244.2.0/24 fwmark 1 lookup 77",
    "-4 rule add from 10.244.2.0/24 tos 0x10 lookup 77",
    "-4 rule add from 10.244.2.0/24 ipproto tcp dport 80 lookup 77",
    "-4 rule add from 10.244.2.0/24 uidrange 0-9 lookup 77",
    "-4 rule add from 10.244.2.0/24 lookup 77 suppress_prefixlength 0",
    "-4 rule add not from 10.244.2.0/24 lookup 77",
    "-4 rule add from 10.244.2.0/24 prohibit",
    "-4 rule add fwmark 2 lookup 77",
)


def rule(source: str, table: int, priority: int) -> PolicyRule:
    return PolicyRule(source=ip_network(source), table=table, priority=priority)


def test_only_rules_by_source_alone_are_seen() -> None:
    with Namespace() as host:
        host.sh("\n".join(f"ip {line}" for line in (*PLAIN, *MORE)))
        with host.entered(), Socket() as kernel:
            assert dumps.policy_rules(kernel, 77) == (
                rule("10.244.1.0/24", 77, 32764),
                rule("fd00:1::/64", 77, 32763),
            )
            assert dumps.policy_rules(kernel, 4321) == (rule("10.244.1.0/24", 4321, 32000),)


@pytest.mark.parametrize(
    "gone",
    [rule("10.244.1.0/24", 77, 32764), rule("fd00:1::/64", 77, 32763), rule("10.244.1.0/24", 4321, 32000)],
)
def test_the_rule_that_is_named_goes_and_no_other(gone: PolicyRule) -> None:
    with Namespace() as host:
        host.sh("\n".join(f"ip {line}" for line in (*PLAIN, *MORE)))
        with host.entered(), Socket() as kernel:
            before = {*dumps.policy_rules(kernel, 77), *dumps.policy_rules(kernel, 4321)}
            others = len(host.run("ip", "rule").splitlines()) + len(host.run("ip", "-6", "rule").splitlines())
            kernel.request(policy_rules.removal(gone))
            assert {*dumps.policy_rules(kernel, 77), *dumps.policy_rules(kernel, 4321)} == before - {gone}
            left = len(host.run("ip", "rule").splitlines()) + len(host.run("ip", "-6", "rule").splitlines())
            assert left == others - 1
