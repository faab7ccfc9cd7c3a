"""How are flannel, kube-router and kindnet recognised on a host? Their protocols, devices, files, tables, rules and sets.

A predecessor's routes carry no mark of their own, only a protocol that others use as well. What may go of all this, and when, is
in `adopt.py` (devices, routes, policy rules) and `predecessor_rules.py` (iptables and its sets).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from nodeipam_ctl.prefixes import Address
from nodeipam_ctl.routing.state import Link

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
        sets: ipsets that only these rules need.
    """

    table: str
    hook: str
    chain: str = ""
    marks: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """How another agent's leftovers are recognised.

    Attributes:
        protocol: rtnetlink protocol of its routes.
        owns: whether a device is one of its own; what stands on it goes with it.
        policy_table: the table to which its policy rules lead; None when it makes none.
        conflists: its files in the CNI directory.
        nft_tables: family and name.
        rules: in iptables, of either kind and family.
    """

    protocol: int
    owns: Callable[[Link], bool] = lambda _: False
    policy_table: int | None = None
    conflists: tuple[str, ...] = ()
    nft_tables: tuple[tuple[str, str], ...] = ()
    rules: tuple[LeftRules, ...] = ()


def _of_flannel(link: Link) -> bool:
    """Each of its backends names its device itself; the number is the VNI."""
    match link.kind:
        case "vxlan":
            named = re.fullmatch(r"flannel(?:-v6)?\.(\d+)", link.name)
            return named is not None and link.vxlan is not None and link.vxlan.vni == int(named[1])
        case "wireguard":
            return link.name in ("flannel-wg", "flannel-wg-v6")
        case "ipip":
            return link.name == "flannel.ipip"
    return False


def _of_kube_router(link: Link) -> bool:
    """One tunnel for each node of another subnet. Anybody may call a device `tun-1`, so the name must follow from the far end."""
    return link.far_end is not None and link.name in tunnel_names(link.far_end)


def tunnel_names(node: Address) -> tuple[str, ...]:
    """What kube-router calls its tunnel to a node: after a hash of the address's digits, older releases after the digits."""
    digits = str(node).replace(".", "").replace(":", "")
    older = f"tun-{digits}" if len(digits) < 12 else f"tun{digits}"  # names have at most 15 characters
    return f"tun-{sha256(digits.encode()).hexdigest()[:11]}", older


PREDECESSORS = {
    "flannel": Predecessor(
        protocol=_BOOT,
        owns=_of_flannel,
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
        owns=_of_kube_router,
        policy_table=77,
        conflists=("10-kuberouter.conf", "10-kuberouter.conflist"),
        rules=(
            LeftRules(
                table="nat",
                hook="POSTROUTING",
                marks=(
                    "-m set --match-set kube-router-pod-subnets src",
                    "-m set --match-set inet6:kube-router-pod-subnets src",
                ),
                sets=tuple(
                    f"{family}kube-router-{name}"
                    for family in ("", "inet6:")
                    for name in ("pod-subnets", "node-ips")
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
