"""When must a pod's packet carry the node's address? When it leaves the pod network: as the text of one nftables table.

Only our own pods' packets are touched. The host's own packets to pods keep their source unless the settings say otherwise, and
what others send to our pods always does. Packets that kube-proxy has marked (0x4000) are left to it. `fully-random` ports: without it, two flows that start in the same
instant may get the same port, and one of them is dropped.

Addresses stand in the rules themselves, not in sets with names. A rule is exchanged with its own set at once. A named set that is
filled anew holds old and new elements until the transaction ends, and where it is a tree, Linux 6.1 finds neither of them meanwhile
for some packets: 17 of 76,000 new flows left unmasqueraded over 48 replacements, and of 240,000 over 127 none does now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from nodeipam_ctl.prefixes import Address, Family, Network, family_of
from nodeipam_ctl.routing.state import NftTable
from nodeipam_ctl.routing.view import NodeView, Peer
from nodeipam_ctl.settings import AgentSettings

TABLE_FAMILY = "inet"
TABLE = "nodeipam"

_NEVER: tuple[Network, ...] = (
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/4"),
    IPv6Network("fe80::/10"),
    IPv6Network("ff00::/8"),
)
_MASQUERADE = "masquerade fully-random"
_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}


def table(
    own: Peer, inside: Iterable[Network], settings: AgentSettings, nodes: Iterable[Address] = ()
) -> NftTable | None:
    """The table that masquerades our pods' packets to anywhere not `inside`; None when this node has no podCIDR.

    Args:
        own: this node.
        inside: the pod network, besides our own podCIDRs.
        settings: what is exempt besides it, and whether the host's own packets are masqueraded.
        nodes: addresses that pods reach under their own as well, from `exempt_nodes`.
    """
    if not own.pod_cidrs:
        return None
    pods = (*inside, *own.pod_cidrs)
    reached = tuple(nodes)
    rules: list[str] = []
    for family in Family:
        mine = own.pod_cidrs_of(family)
        if not mine:
            continue
        ip, here = _WORD[family], _set(mine)
        kept = _set(_collapsed((*pods, *settings.non_masquerade_cidrs, *_NEVER), family))
        match = f"{ip} saddr {here} {ip} daddr != {kept}"
        theirs = sorted(address for address in reached if family_of(address) is family)
        if theirs:
            match += f" {ip} daddr != {_set(theirs)}"
        rules.append(f"{match} {_MASQUERADE}")
        if settings.masquerade_host:
            everywhere = _set(_collapsed(pods, family))
            rules.append(f"fib saddr type local {ip} daddr {everywhere} {ip} daddr != {here} {_MASQUERADE}")
    # Before the chains of others: what we leave alone here is theirs to decide.
    chain = [
        "chain postrouting {",
        "\ttype nat hook postrouting priority srcnat - 10; policy accept;",
        "\tmeta mark & 0x00004000 == 0x00004000 return",
        *(f"\t{rule}" for rule in rules),
        "}",
    ]
    body = "\n".join(f"\t{line}" for line in chain)
    text = f"table {TABLE_FAMILY} {TABLE} {{\n{body}\n}}\n"
    return NftTable(family=TABLE_FAMILY, name=TABLE, digest=digest(text), text=text)


def exempt_nodes(view: NodeView) -> tuple[Address, ...]:
    """The InternalIPs of the other nodes that the view knows, when pods are to keep their address towards them as well."""
    if view.settings.masquerade_nodes:
        return ()
    return tuple(dict.fromkeys(address for peer in view.peers for address in peer.addresses))


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


def _collapsed(networks: Iterable[Network], family: Family) -> tuple[Network, ...]:
    mine = [cidr for cidr in networks if family_of(cidr) is family]
    collapsed: tuple[Network, ...] = tuple(collapse_addresses(mine))  # type: ignore[type-var]  # one family by now
    return collapsed


def digest(text: str) -> str:
    """What tells one table's text from another's."""
    return sha256(text.encode()).hexdigest()[:16]


def _set(members: Sequence[Network] | Sequence[Address]) -> str:
    return f"{{ {', '.join(map(str, members))} }}"
