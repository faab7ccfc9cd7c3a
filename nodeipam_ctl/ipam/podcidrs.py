"""Can this be a node's podCIDR at all? What cannot is reported, and never stops the other nodes.

A Node's podCIDRs are free text to whoever creates the Node. `0.0.0.0/0` there would otherwise lie over every ClusterCIDR and
leave every other node without addresses, and no page of the ledger could say whose it is.
"""

from __future__ import annotations

from typing import Final

from nodeipam_ctl.ipam.blocks import covers, key_of, length_of, network_of
from nodeipam_ctl.ipam.pages import TOP_LENGTH, page_key
from nodeipam_ctl.model import Finding, NodeName, Severity
from nodeipam_ctl.prefixes import Family, parse_network

LARGEST: Final = {family: length + 1 for family, length in TOP_LENGTH.items()}
"""Prefix length of the largest block that a page of the ledger holds."""

_NEVER: Final = {
    family: tuple((key_of(parse_network(text)), word) for text, word in spaces)
    for family, spaces in {
        Family.IPV4: (
            ("127.0.0.0/8", "loopback"),
            ("169.254.0.0/16", "link-local"),
            ("224.0.0.0/4", "multicast"),
        ),
        Family.IPV6: (("::1/128", "loopback"), ("fe80::/10", "link-local"), ("ff00::/8", "multicast")),
    }.items()
}


def special(family: Family, key: int) -> str:
    """What no pod can have, in one word, if a network begins with such an address; "" when it is global unicast."""
    if key == 1 << length_of(key):  # it begins with 0.0.0.0 or ::
        return "unspecified"
    return next((word for never, word in _NEVER[family] if covers(never, key)), "")


def is_too_large(family: Family, key: int) -> bool:
    """Whether no page of the ledger holds a block: shorter than /9 for IPv4, than /33 for IPv6. It occupies nothing."""
    return page_key(key, family) is None


def impossible(node: NodeName, family: Family, key: int) -> Finding | None:
    """What is said of a node with a podCIDR that can be none: too large, or not global unicast; None when it can be one.

    What is not global unicast (Go's `IP.IsGlobalUnicast`) is still held by the node, which costs nobody anything: no
    sensible ClusterCIDR has such addresses. Agents refuse it as well (`routing/peers.py`).
    """
    if is_too_large(family, key):
        why = f"is larger than a node's can be (/{LARGEST[family]}), so it is left out of account"
    else:
        word = special(family, key)
        if not word:
            return None
        why = f"is {word} space, which agents do not route"
    return Finding(
        severity=Severity.ERROR,
        code="ImpossiblePodCIDR",
        subject=f"node/{node}",
        message=f"its podCIDR {network_of(key, family)} {why}",
        remedy="delete and re-create the Node, so that it gets a block of its own",
    )
