"""When must a pod's packet carry the node's address? When it leaves the pod network: as the text of one nftables table.

Only our own pods' packets are touched. The host's own packets to pods, and what others send to our pods, keep their source.
Packets that kube-proxy has marked (0x4000) are left to it. `fully-random` ports: without it, two flows that start in the same
instant may get the same port, and one of them is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from nodeipam_ctl.prefixes import Family, Network, family_of
from nodeipam_ctl.routing.state import NftTable
from nodeipam_ctl.routing.view import Peer
from nodeipam_ctl.settings import AgentSettings

TABLE_FAMILY = "inet"
TABLE = "nodeipam"

_NEVER: dict[Family, tuple[Network, ...]] = {
    Family.IPV4: (IPv4Network("169.254.0.0/16"), IPv4Network("224.0.0.0/4")),
    Family.IPV6: (IPv6Network("fe80::/10"), IPv6Network("ff00::/8")),
}
_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}
_NUMBER = {Family.IPV4: "4", Family.IPV6: "6"}


def table(own: Peer, inside: Iterable[Network], settings: AgentSettings) -> NftTable | None:
    """The table that masquerades our pods' packets to anywhere not `inside`; None when this node has no podCIDR."""
    if not own.pod_cidrs:
        return None
    known = (*inside, *own.pod_cidrs, *settings.non_masquerade_cidrs)
    parts: list[str] = []
    rules: list[str] = []
    for family in Family:
        mine = own.pod_cidrs_of(family)
        if mine:
            parts.append(_set(f"own{_NUMBER[family]}", family, mine))
            parts.append(_set(f"inside{_NUMBER[family]}", family, _exempt(known, family)))
            rules.append(
                f"{_WORD[family]} saddr @own{_NUMBER[family]} {_WORD[family]} daddr != @inside{_NUMBER[family]}"
                " masquerade fully-random"
            )
    # Before the chains of others: what we leave alone here is theirs to decide.
    chain = [
        "chain postrouting {",
        "\ttype nat hook postrouting priority srcnat - 10; policy accept;",
        "\tmeta mark & 0x00004000 == 0x00004000 return",
        *(f"\t{rule}" for rule in rules),
        "}",
    ]
    body = "\n".join(f"\t{line}" for part in [*parts, "\n".join(chain)] for line in part.splitlines())
    text = f"table {TABLE_FAMILY} {TABLE} {{\n{body}\n}}\n"
    return NftTable(family=TABLE_FAMILY, name=TABLE, digest=digest(text), text=text)


class Ranges:
    """Is a block inside one of a few ranges? Answers for thousands of blocks."""

    def __init__(self, ranges: Iterable[Network]) -> None:
        self._bounds: dict[int, list[tuple[int, int, int]]] = {4: [], 6: []}
        for net in ranges:
            bounds = int(net.network_address), int(net.broadcast_address), net.prefixlen
            self._bounds[net.version].append(bounds)

    def cover(self, block: Network) -> bool:
        """Whether one range holds the whole block; CIDRs never overlap in part."""
        first, length = int(block.network_address), block.prefixlen
        for low, high, shortest in self._bounds[block.version]:
            if low <= first <= high and length >= shortest:
                return True
        return False


def _exempt(known: Iterable[Network], family: Family) -> tuple[Network, ...]:
    mine = [cidr for cidr in (*known, *_NEVER[family]) if family_of(cidr) is family]
    collapsed: tuple[Network, ...] = tuple(collapse_addresses(mine))  # type: ignore[type-var]  # one family by now
    return collapsed


def digest(text: str) -> str:
    """What tells one table's text from another's."""
    return sha256(text.encode()).hexdigest()[:16]


def _set(name: str, family: Family, networks: Iterable[Network]) -> str:
    kind = "ipv4_addr" if family is Family.IPV4 else "ipv6_addr"
    elements = ", ".join(map(str, networks))
    return f"set {name} {{\n\ttype {kind}\n\tflags interval\n\telements = {{ {elements} }}\n}}"
