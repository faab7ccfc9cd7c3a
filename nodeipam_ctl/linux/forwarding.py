"""Which chains drop forwarded packets, and how does ours get its jump into them? Through nft, or through legacy iptables.

What iptables-nft made is written with nft as well: rules of an address, a counter and a verdict are shown by `iptables -S` like its
own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import iptables, nftables
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.routing.forwarding import FAMILIES
from nodeipam_ctl.routing.state import ForwardAccept

OUR_CHAIN = "NODEIPAM-FORWARD"
_COMMENT = "nodeipam-ctl"
_MARK = f"-m comment --comment {_COMMENT}"
_ACCEPT = re.compile(rf"-A {OUR_CHAIN} -([sd]) (\S+) {_MARK} -j ACCEPT")


def chains() -> tuple[ForwardAccept, ...]:
    """Every base chain that drops forwarded packets, and every other in whose table a chain of ours is left.

    Raises:
        Permanent: a program failed.
    """
    return (*_of_nft(), *(found for tool in iptables.LEGACY if (found := _of_legacy(tool)) is not None))


def accept(wanted: ForwardAccept) -> None:
    """Makes or mends our chain and the jump to it, in one transaction; nothing else of the table is touched.

    Raises:
        Permanent: the table does not take it.
    """
    if wanted.tool != "nft":
        lines = [f":{OUR_CHAIN} - [0:0]"]
        for cidr in wanted.cidrs:
            lines += [f"-A {OUR_CHAIN} -{way} {cidr} {_MARK} -j ACCEPT" for way in "sd"]
        present = _legacy_jumps(iptables.saved(wanted.tool))
        lines += [f"-D{jump[2:]}" for jump in present[1:]]
        iptables.restore(wanted.tool, [*lines, *([] if present else [f"-A FORWARD {_MARK} -j {OUR_CHAIN}"])])
        return
    place = f"{wanted.family} {wanted.table}"
    script = [f"add chain {place} {OUR_CHAIN}", f"flush chain {place} {OUR_CHAIN}"]
    for cidr in wanted.cidrs:
        word = "ip" if cidr.version == 4 else "ip6"
        script += [
            f'add rule {place} {OUR_CHAIN} {word} {field} {cidr} counter accept comment "{_COMMENT}"'
            for field in ("saddr", "daddr")
        ]
    jumps = _jumps(_rules(wanted.family, wanted.table, wanted.chain))
    script += [f"delete rule {place} {wanted.chain} handle {handle}" for handle in jumps[1:]]
    if not jumps:
        script.append(f'add rule {place} {wanted.chain} counter jump {OUR_CHAIN} comment "{_COMMENT}"')
    nftables.run_script("\n".join(script) + "\n")


def withdraw(present: ForwardAccept) -> None:
    """Removes the jump and our chain.

    Raises:
        Permanent: the table does not allow it.
    """
    if present.tool != "nft":
        lines = [f"-D{jump[2:]}" for jump in _legacy_jumps(iptables.saved(present.tool))]
        iptables.restore(present.tool, [f":{OUR_CHAIN} - [0:0]", *lines, f"-X {OUR_CHAIN}"])
        return
    place = f"{present.family} {present.table}"
    jumps = _jumps(_rules(present.family, present.table, present.chain))
    script = [f"delete rule {place} {present.chain} handle {handle}" for handle in jumps]
    nftables.run_script("\n".join(script) + "\n")
    with contextlib.suppress(Permanent):  # another chain of the table jumps to it: it goes with the last
        # Added first, so that deleting succeeds whatever is there.
        nftables.run_script(
            "".join(f"{verb} chain {place} {OUR_CHAIN}\n" for verb in ("add", "flush", "delete"))
        )


def _of_nft() -> Iterator[ForwardAccept]:
    listed = [entry["chain"] for entry in nftables.query("list", "chains") if "chain" in entry]
    with_ours = {(chain["family"], chain["table"]) for chain in listed if chain["name"] == OUR_CHAIN}
    for chain in listed:
        family, table, name = chain["family"], chain["table"], chain["name"]
        if chain.get("hook") != "forward" or chain.get("type") != "filter" or family not in FAMILIES:
            continue
        if (family, table) in with_ours:
            jumps = _jumps(_rules(family, table, name))
            cidrs = _nft_cidrs(_rules(family, table, OUR_CHAIN)) if len(jumps) == 1 else ()
            yield ForwardAccept(tool="nft", family=family, table=table, chain=name, cidrs=cidrs, ours=True)
        elif chain.get("policy") == "drop":
            yield ForwardAccept(tool="nft", family=family, table=table, chain=name)


def _of_legacy(tool: str) -> ForwardAccept | None:
    if not iptables.legacy_table_exists(tool, "filter"):
        return None
    family, _ = iptables.LEGACY[tool]
    lines = iptables.saved(tool)
    jumps = _legacy_jumps(lines)
    ours = bool(jumps) or f"-N {OUR_CHAIN}" in lines
    if not ours and "-P FORWARD DROP" not in lines:
        return None
    accepts = [line for line in lines if line.startswith(f"-A {OUR_CHAIN} ")]
    cidrs = _legacy_cidrs(accepts) if len(jumps) == 1 else ()
    return ForwardAccept(tool=tool, family=family, table="filter", chain="FORWARD", cidrs=cidrs, ours=ours)


def _rules(family: str, table: str, chain: str) -> list[dict[str, Any]]:
    entries = nftables.query("list", "chain", family, table, chain)
    return [entry["rule"] for entry in entries if "rule" in entry]


def _jumps(rules: Iterable[dict[str, Any]]) -> list[int]:
    """Handles of the rules that jump to our chain: its name is the mark, since a saved and restored comment looks different."""
    return [
        rule["handle"]
        for rule in rules
        if any(part.get("jump", {}).get("target") == OUR_CHAIN for part in rule["expr"] if "jump" in part)
    ]


def _nft_cidrs(rules: list[dict[str, Any]]) -> tuple[Network, ...]:
    return _paired(_nft_way(rule) for rule in rules)


def _nft_way(rule: dict[str, Any]) -> tuple[str, str]:
    """Which way (`s` or `d`) and which network a rule of ours accepts; empty texts when it is not as we write them."""
    match rule["expr"]:
        case [
            {
                "match": {
                    "op": "==",
                    "left": {"payload": {"field": "saddr" | "daddr" as field}},
                    "right": right,
                }
            },
            {"counter": _},
            {"accept": None},
        ]:
            if isinstance(right, dict):
                right = f"{right['prefix']['addr']}/{right['prefix']['len']}"
            return str(field)[0], str(right)
        case _:
            return "", ""


def _legacy_cidrs(lines: Iterable[str]) -> tuple[Network, ...]:
    found = (_ACCEPT.fullmatch(line) for line in lines)
    return _paired((match[1], match[2]) if match else ("", "") for match in found)


def _paired(ways: Iterable[tuple[str, str]]) -> tuple[Network, ...]:
    """The networks that are accepted both ways, when that is all there is; none otherwise: the chain is then written anew."""
    listed = list(ways)
    cidrs = [text for way, text in listed if way == "s"]
    if not cidrs or listed != [(way, text) for text in cidrs for way in "sd"]:
        return ()
    return tuple(ip_network(text) for text in cidrs)


def _legacy_jumps(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith("-A FORWARD ") and line.endswith(f" -j {OUR_CHAIN}")]
