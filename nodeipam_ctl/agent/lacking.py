"""Which backends of other nodes can this host not follow? Those whose device its kernel refuses: their nodes are sent to in our own form.

What another node says it runs must not take this one out of service, and need not: every node accepts the form of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nodeipam_ctl.errors import NodeIPAMError, Permanent
from nodeipam_ctl.model import Finding
from nodeipam_ctl.routing import backends, mixing
from nodeipam_ctl.routing.state import HostChange, Link
from nodeipam_ctl.routing.view import NodeView
from nodeipam_ctl.settings import AgentSettings


class Lacking:
    """Remembers what the kernel refused, until no node asks for it any more or the agent starts again."""

    def __init__(self, settings: AgentSettings) -> None:
        self._reasons: dict[str, str] = {}
        self._settings = settings
        self._form_of = {
            device: form
            for form in mixing.other_forms(settings)
            for device in backends.load(form).devices(settings)
        }

    def learn(self, failed: Iterable[tuple[HostChange, NodeIPAMError]]) -> bool:
        """Whether one more turned out to be impossible."""
        before = len(self._reasons)
        for change, error in failed:
            if isinstance(change.after, Link) and isinstance(error, Permanent):
                form = self._form_of.get(change.after.name)
                if form is not None:
                    self._reasons.setdefault(form, str(error))
        return len(self._reasons) > before

    def screened(self, view: NodeView) -> NodeView:
        """The view as if nobody ran what this host cannot follow."""
        if not self._reasons:
            return view
        asked = {peer.runs for peer in view.peers}.union(view.formerly)
        self._reasons = {form: reason for form, reason in self._reasons.items() if form in asked}
        return replace(
            view,
            peers=tuple(replace(p, runs="") if p.runs in self._reasons else p for p in view.peers),
            formerly=tuple(form for form in view.formerly if form not in self._reasons),
        )

    def findings(self) -> tuple[Finding, ...]:
        """One for each backend."""
        return tuple(
            Finding(
                code="PeerBackendUnavailable",
                subject=f"node/{self._settings.node_name}",
                message=f"other nodes run {form}, whose device this host cannot make, so they are sent to by {self._settings.backend}: {reason}",
                remedy="put that right and restart the agent, or run one backend on all nodes",
            )
            for form, reason in self._reasons.items()
        )
