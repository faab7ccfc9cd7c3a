"""Which WireGuard keys of other nodes may be used, and why not the rest? A key is a node's own word about itself: it is not trusted.

Whoever may write a Node's annotations could name another node's key there. The tunnel knows peers by their keys, so two nodes with one
key would be one peer, and the second would draw the first one's packets.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace

from nodeipam_ctl.routing.view import NodeView, Peer
from nodeipam_ctl.settings import API_GROUP, AgentSettings

ANNOTATION = f"{API_GROUP}/wireguard-public-key"

# 32 bytes in base64: the last of the 43 characters carries four bits, the other two are zero.
_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_MOST_SHOWN = 60


def in_use(settings: AgentSettings) -> bool:
    """Whether this node has a WireGuard device, to send or only to receive."""
    return "wireguard" in (settings.backend, *settings.also_accept)


def is_key(text: str) -> bool:
    """Whether this can be a public key: 32 bytes in base64, not all zero, which is nobody's key."""
    return _KEY.fullmatch(text) is not None and any(b64decode(text))


def published(annotations: Mapping[str, str]) -> str:
    """The key that a Node publishes, empty when it has none or none that could be one: what the ledger's line says."""
    text = annotations.get(ANNOTATION, "")
    return text if is_key(text) else ""


def screened(view: NodeView) -> tuple[Peer, ...]:
    """The peers, those with an unusable key without it and with a problem that says why; the others are the same objects."""
    if not in_use(view.settings):
        return view.peers
    owners: dict[str, Peer] = {}
    for peer in view.peers:
        if peer.public_key:
            owner = owners.setdefault(peer.public_key, peer)
            # As with podCIDRs: who was there first keeps it, so a newcomer can take nothing from anybody.
            owners[peer.public_key] = min(owner, peer, key=lambda p: (p.since_s, p.name, p.uid))
    return tuple(_screened(peer, owners, view.facts.wireguard_key) for peer in view.peers)


def _screened(peer: Peer, owners: Mapping[str, Peer], own_key: str) -> Peer:
    key = peer.public_key
    if not key:
        return peer
    owner = owners[key]
    if not is_key(key):
        shown = key if len(key) <= _MOST_SHOWN else f"{key[:_MOST_SHOWN]}…"
        problem = f"{shown!r} is no WireGuard key, which is 32 bytes in base64"
    elif key == own_key:
        problem = "it is this node's own key"
    elif owner is not peer:
        problem = f"it is the key of node {owner.name}, which is older and keeps it"
    else:
        return peer
    return replace(peer, public_key="", problems=(*peer.problems, f"annotation {ANNOTATION}: {problem}"))
