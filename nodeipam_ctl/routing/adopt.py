"""What did flannel, kube-router or kindnet leave on this host, and when may it go? Only on the operator's word (--adopt).

A predecessor's routes carry no mark of their own, only a protocol that others use as well; so a route counts as left over when
its protocol fits, it goes through a gateway or the predecessor's own device, and its destination lies in the pod network.
Its route to a podCIDR goes when ours is in the kernel, not before.

Of its rules in iptables, those go that ours stand in for: what masquerades, when we do, and what accepts forwarded packets, when we
do. Chains of network policies and of Services (KUBE-NWPLCY-*, KUBE-POD-FW-*, KUBE-ROUTER-INPUT, -FORWARD, -OUTPUT, -SERVICES) are not
ours to judge: without them, what a policy denies would be let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.prefixes import Network, contains
from nodeipam_ctl.routing.state import Route, RouteType
from nodeipam_ctl.settings import ROUTE_PROTOCOL

_BOOT, _KUBE_ROUTER = (
    3,
    17,
)  # rtnetlink protocols: `ip route add` without a word, and kube-router's own choice


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRules:
    """Rules of iptables that another agent makes in one table.

    Attributes:
        hook: the kernel's own chain in which they stand, or in which the jump to `chain` stands.
        chain: its own chain; empty for none.
        marks: what a rule in `hook` contains, as `iptables -S` prints it, when it is one of them.
    """

    table: str
    hook: str
    chain: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """How another agent's leftovers are recognised.

    Attributes:
        devices: its devices, whatever stands on them included.
        conflists: its files in the CNI directory.
        nft_tables: family and name.
        rules: in iptables, of either kind and family.
    """

    protocol: int
    devices: tuple[str, ...] = ()
    conflists: tuple[str, ...] = ()
    nft_tables: tuple[tuple[str, str], ...] = ()
    rules: tuple[LeftRules, ...] = ()


PREDECESSORS = {
    "flannel": Predecessor(
        protocol=_BOOT,
        devices=("flannel.1", "flannel-v6.1"),
        conflists=("10-flannel.conf", "10-flannel.conflist"),
        nft_tables=(("ip", "flannel-ipv4"), ("ip6", "flannel-ipv6")),
        # Before 0.20 its rules stood in the kernel's chains themselves.
        rules=(
            LeftRules(
                table="nat",
                hook="POSTROUTING",
                chain="FLANNEL-POSTRTG",
                marks=('-m comment --comment "flanneld masq"',),
            ),
            LeftRules(
                table="filter",
                hook="FORWARD",
                chain="FLANNEL-FWD",
                marks=('-m comment --comment "flanneld forward"',),
            ),
        ),
    ),
    "kube-router": Predecessor(
        protocol=_KUBE_ROUTER,
        conflists=("10-kuberouter.conf", "10-kuberouter.conflist"),
        rules=(
            LeftRules(
                table="nat",
                hook="POSTROUTING",
                marks=(
                    "-m set --match-set kube-router-pod-subnets src",
                    "-m set --match-set inet6:kube-router-pod-subnets src",
                ),
            ),
            LeftRules(
                table="filter",
                hook="FORWARD",
                marks=(
                    '-i kube-bridge -m comment --comment "allow outbound traffic from pods"',
                    '-o kube-bridge -m comment --comment "allow inbound traffic to pods"',
                    '--comment "allow outbound node port traffic on node interface with which node ip is associated"',
                ),
            ),
        ),
    ),
    "kindnet": Predecessor(
        protocol=_BOOT,
        conflists=("10-kindnet.conflist",),
        nft_tables=(("inet", "kindnet-ipmasq"),),
        rules=(LeftRules(table="nat", hook="POSTROUTING", chain="KIND-MASQ-AGENT"),),
    ),
}


def leftovers(
    routes: Iterable[Route],
    predecessor: Predecessor,
    *,
    pod_network: Iterable[Network],
    wanted: Iterable[Route],
    present: Iterable[Route],
) -> tuple[Route, ...]:
    """The predecessor's routes that may go now.

    Args:
        routes: foreign routes of the host.
        predecessor: whose they may be.
        pod_network: the ranges of the ClusterCIDRs and the podCIDRs of all nodes.
        wanted: the routes that we want.
        present: the routes of ours that the kernel has.
    """
    ranges = tuple(pod_network)
    needed = {route.dst for route in wanted if route.type is RouteType.UNICAST}
    covered = {
        route.dst for route in present if route.type is RouteType.UNICAST and route.protocol == ROUTE_PROTOCOL
    }
    return tuple(
        route
        for route in routes
        if route.protocol == predecessor.protocol
        and route.type is RouteType.UNICAST
        and (route.via is not None or route.dev in predecessor.devices)
        and any(contains(pool, route.dst) for pool in ranges)
        and (route.dst in covered or route.dst not in needed)
    )


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


def stays(name: str, reason: str) -> Finding:
    """Rules of a predecessor cannot be removed, or not even be seen."""
    return Finding(
        code="PredecessorRulesStay",
        subject=f"adopt/{name}",
        message=f"its rules in iptables cannot be looked through or removed: {reason}",
        remedy="install or correct what is named, or remove them yourself",
    )


def returned(name: str, example: str) -> Finding:
    """A predecessor's rules are there again after we removed them."""
    return Finding(
        severity=Severity.ERROR,
        code="PredecessorRuns",
        subject=f"adopt/{name}",
        message=f"rules of its that we removed are there again ({example}): it still runs on this host",
        remedy="stop it (delete its DaemonSet) and restart this agent, or run the agent without --adopt",
    )
