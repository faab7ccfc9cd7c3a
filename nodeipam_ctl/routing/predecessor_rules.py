"""Which of the rules of iptables that flannel, kube-router or kindnet left may go (--adopt), and how are they told from others?

Those go that ours stand in for: what masquerades, when we do, and what accepts forwarded packets, when we do. Chains of network
policies and of Services (KUBE-NWPLCY-*, KUBE-POD-FW-*, KUBE-ROUTER-INPUT, -FORWARD, -OUTPUT, -SERVICES) are not ours to judge:
without them, what a policy denies would be let through. What is removed when is in `agent/predecessor_rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeipam_ctl.routing.predecessors import LeftRules, Predecessor


def replaced_rules(
    predecessor: Predecessor, *, masquerade: bool, forward_accept: bool
) -> tuple[LeftRules, ...]:
    """The predecessor's rules that ours stand in for."""
    by_us = {"nat": masquerade, "filter": forward_accept}
    return tuple(left for left in predecessor.rules if by_us[left.table])


def removal(saved: Iterable[str], left: LeftRules) -> tuple[str, ...]:
    """What takes such rules out of a table, as lines for `iptables-restore --noflush`; nothing when there are none.

    Args:
        saved: the table, as `iptables -S` prints it.
        left: what may go.
    """
    lines = tuple(saved)
    ends = (f" -j {left.chain}", f" -g {left.chain}") if left.chain else ()
    rules = [
        f"-D{line[2:]}"
        for line in lines
        if line.startswith("-A ")
        and (
            line.endswith(ends)
            or (line.startswith(f"-A {left.hook} ") and any(mark in line for mark in left.marks))
        )
    ]
    if left.chain and f"-N {left.chain}" in lines:
        return (f":{left.chain} - [0:0]", *rules, f"-X {left.chain}")
    return tuple(rules)
