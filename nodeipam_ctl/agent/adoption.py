"""What of a predecessor's devices, routes and policy rules is removed in this turn (--adopt), and which routes of ours wait for it?

What is idle goes only after it has been so for a while: other nodes need a moment to hear what this one says of itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from nodeipam_ctl.routing.adopt import takeover
from nodeipam_ctl.routing.desired import Desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.predecessors import PREDECESSORS
from nodeipam_ctl.routing.state import HostObject, Key, Kind, Route
from nodeipam_ctl.routing.view import NodeView
from nodeipam_ctl.settings import AgentSettings


class Adoption:
    """The predecessor that `--adopt` names, if any.

    Attributes:
        predecessor: None for nobody.
        leftovers: what may go now.
    """

    def __init__(self, settings: AgentSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.predecessor = PREDECESSORS.get(settings.adopt)
        self.leftovers: dict[Key, HostObject] = {}
        self._linger_s = settings.audit_period_s
        self._clock = clock
        self._idle_since_s: dict[Key, float] = {}

    def look(
        self,
        foreign: Iterable[HostObject],
        answer: Desired,
        *,
        view: NodeView,
        present: Mapping[Kind, Mapping[Key, HostObject]],
        whole: bool,
    ) -> tuple[HostState, tuple[Route, ...]]:
        """What the host should have for now, and the routes that are neither ours nor the predecessor's.

        Args:
            foreign: what others have on this host.
            answer: what it should have in the end.
            view: what that was worked out from.
            present: what of ours it has.
            whole: the view is the whole truth, so something may be called left over.
        """
        if self.predecessor is None:
            return answer.state, tuple(obj for obj in foreign if isinstance(obj, Route))
        found = takeover(foreign, self.predecessor, view=view, wanted=answer.state, present=present)
        now_s = self._clock()
        self._idle_since_s = {link.key: self._idle_since_s.get(link.key, now_s) for link in found.idle}
        self.leftovers = {}
        if whole and Kind.ROUTE not in answer.keep:
            due = (link for link in found.idle if now_s - self._idle_since_s[link.key] >= self._linger_s)
            self.leftovers = {obj.key: obj for obj in (*due, *found.going)}
        return found.screened(answer.state), found.others
