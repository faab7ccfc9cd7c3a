"""Does the fingerprint of legacy iptables change with what matters to us, and with nothing else? Debian's programs, the real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodeipam_ctl.linux import iptables, xtables
from tests.linux.namespaces import Namespace

pytestmark = pytest.mark.kernel

_TOOLS = ["iptables-legacy", "ip6tables-legacy"]
_POOL = {"iptables-legacy": "10.244.0.0/16", "ip6tables-legacy": "fd00:244::/48"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    with Namespace() as made, made.entered():
        # /proc/self is the process, which stands in another namespace than this thread.
        places = {
            tool: (family, path.parents[2] / "thread-self" / "net" / path.name)
            for tool, (family, path) in iptables.LEGACY.items()
        }
        for module in (iptables, xtables):
            monkeypatch.setattr(module, "LEGACY", places)
        yield made


def fingerprint() -> tuple[str, ...]:
    return xtables.fingerprint("NODEIPAM-FORWARD")


def prepare(host: Namespace, tool: str) -> None:
    host.sh(f"""
        {tool} -N OTHER; {tool} -A OTHER -j RETURN
        {tool} -N NODEIPAM-FORWARD; {tool} -A NODEIPAM-FORWARD -s {_POOL[tool]} -j ACCEPT
        {tool} -A FORWARD -m comment --comment theirs -j OTHER
        {tool} -A FORWARD -j NODEIPAM-FORWARD
    """)


def test_where_nothing_is_made_nothing_is_made_by_looking(host: Namespace) -> None:
    assert fingerprint() == ("", "")
    assert not iptables.legacy_table_exists("iptables-legacy", "filter")


@pytest.mark.parametrize("tool", _TOOLS)
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("-P FORWARD DROP", id="the policy"),
        pytest.param("-F FORWARD", id="all rules flushed"),
        pytest.param("-D FORWARD -j NODEIPAM-FORWARD", id="our jump removed"),
        pytest.param("-A FORWARD -j NODEIPAM-FORWARD", id="our jump doubled"),
        pytest.param("-R FORWARD 2 -j OTHER", id="our jump turned to another chain"),
        pytest.param("-I FORWARD -p tcp --dport 22 -j DROP", id="a rule of others"),
        pytest.param("-F NODEIPAM-FORWARD", id="our chain emptied"),
        pytest.param("-R NODEIPAM-FORWARD 1 -j DROP", id="our chain's rule replaced"),
        pytest.param("-I NODEIPAM-FORWARD -j DROP", id="a rule put into our chain"),
    ],
)
def test_changes_with_what_matters(host: Namespace, tool: str, script: str) -> None:
    prepare(host, tool)
    before = fingerprint()
    host.sh(f"{tool} {script}")
    after = fingerprint()
    changed = [was != now for was, now in zip(before, after, strict=True)]
    assert changed == [tool == other for other in _TOOLS]


@pytest.mark.parametrize("tool", _TOOLS)
def test_stays_while_others_change_their_chains_and_packets_are_counted(host: Namespace, tool: str) -> None:
    prepare(host, tool)
    before = fingerprint()
    assert any(before)
    host.sh(f"""
        {tool} -N AAA; {tool} -A AAA -j RETURN; {tool} -A INPUT -j AAA; {tool} -A OUTPUT -j OTHER
        {tool} -F OTHER; {tool} -P INPUT DROP; {tool} -P INPUT ACCEPT
        {tool} -N ZZZ; {tool} -A ZZZ -j DROP
        {tool} -t nat -A POSTROUTING -j ACCEPT
    """)
    assert fingerprint() == before
    saved = host.run(f"{tool}-save", "-t", "filter")
    counted = saved.replace("FORWARD ACCEPT [0:0]", "FORWARD ACCEPT [7:700]")
    host.run(f"{tool}-restore", "--counters", stdin=counted)
    assert "[7:700]" in host.run(f"{tool}-save", "-t", "filter", "-c")
    assert fingerprint() == before
