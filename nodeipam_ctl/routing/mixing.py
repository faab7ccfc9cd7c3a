"""In which form does a packet leave for a node, while nodes run different backends? In the one that the node says it runs.

So a cluster changes its backend in one rollout: a node that has changed is sent to in its new form by those that have not, and
sends to them in their old one. WireGuard takes no part: nobody may turn encryption off by what he says of himself.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodeipam_ctl.routing.view import NodeView, Peer
from nodeipam_ctl.settings import API_GROUP, AgentSettings

ANNOTATION = f"{API_GROUP}/backend"

_FORMS = {name: name for name in ("host-gw", "vxlan", "vxlan-gpe")}


def known_form(text: str) -> str:
    """The form of that name, as one object for thousands of nodes; empty for any other text."""
    return _FORMS.get(text, "")


def published(annotations: Mapping[str, str]) -> str:
    """The form that a Node says it runs; empty when it says none that could be followed. This is what the ledger's line says."""
    return known_form(annotations.get(ANNOTATION, ""))


def form_for(peer: Peer, settings: AgentSettings) -> str:
    """The backend whose packets this node sends to a peer."""
    return peer.runs if peer.runs and _follows(settings) else settings.backend


def other_forms(settings: AgentSettings) -> tuple[str, ...]:
    """Forms that only other nodes may ask for."""
    return tuple(form for form in _FORMS if form not in (settings.backend, *settings.also_accept))


def accepted(view: NodeView) -> tuple[str, ...]:
    """Other backends whose devices this node keeps: those it is told to, and those in whose form it sends or may still be sent to."""
    settings = view.settings
    forms: set[str] = {peer.runs for peer in view.peers}.union(view.formerly) if _follows(settings) else set()
    return tuple(sorted(forms.union(settings.also_accept) - {"", settings.backend}))


def _follows(settings: AgentSettings) -> bool:
    # Flannel's nodes say what they run in annotations of flannel's, and only vxlan is compatible.
    return settings.follow_peers and settings.backend in _FORMS and not settings.flannel_compat
