"""What of a predecessor's devices, routes and policy rules is removed in this turn (--adopt), and which routes of ours wait for it?

What is idle goes only after it has been so for a while: other nodes need a moment to hear what this one says of itself. And what
returns after it was removed is named and left alone: the predecessor still runs, and two agents that undo each other's work help
nobody. Its rules of iptables are `predecessor_rules.py`'s affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from nodeipam_ctl.linux.host import Outcome
from nodeipam_ctl.model import Finding
from nodeipam_ctl.plan import Change, Op
from nodeipam_ctl.routing.adopt import returned, stays, takeover
from nodeipam_ctl.routing.desired import Desired
from nodeipam_ctl.routing.host_state import HostState
from nodeipam_ctl.routing.predecessors import PREDECESSORS
from nodeipam_ctl.routing.state import HostChange, HostObject, Key, Kind, Link, Route
from nodeipam_ctl.routing.view import NodeView
from nodeipam_ctl.settings import AgentSettings


class Adoption:
    """The predecessor that `--adopt` names, if any.

    Attributes:
        predecessor: None for nobody.
        leftovers: what may go now.
        findings: what is wrong with it.
        unfinished: something of it is there, so whatever we do may let more of it go.
    """

    def __init__(self, settings: AgentSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.predecessor = PREDECESSORS.get(settings.adopt)
        self.leftovers: dict[Key, HostObject] = {}
        self.findings: tuple[Finding, ...] = ()
        self.unfinished = False
        self._name = settings.adopt
        self._gone: set[HostObject | Key] = set()
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
        objects = tuple(foreign)
        found = takeover(objects, self.predecessor, view=view, wanted=answer.state, present=present)
        self.unfinished = len(objects) > len(found.others)
        now_s = self._clock()
        self._idle_since_s = {link.key: self._idle_since_s.get(link.key, now_s) for link in found.idle}
        due = (link for link in found.idle if now_s - self._idle_since_s[link.key] >= self._linger_s)
        may_go = (*due, *found.going) if whole and Kind.ROUTE not in answer.keep else ()
        self.leftovers = {obj.key: obj for obj in may_go if _the_same(obj) not in self._gone}
        back = next((obj for obj in may_go if _the_same(obj) in self._gone), None)
        self.findings = (returned(self._name, str(back)),) if back is not None else ()
        return found.screened(answer.state), found.others

    def absorb(self, step: Outcome) -> None:
        """Remembers what has been removed, and takes out of the failures those that are about leftovers: we do without."""
        for change in step.done:
            if change.op is Op.REMOVE and change.before is not None and change.key in self.leftovers:
                self._gone.add(_the_same(change.before))
        failed, step.failed = step.failed, []
        stuck: list[str] = []
        for change, error in failed:
            if change.op is Op.REMOVE and change.key in self.leftovers:
                stuck.append(f"{change.before}: {error}")
            else:
                step.failed.append((change, error))
        self.findings += tuple(stays(self._name, reason) for reason in stuck[:1])

    def afterwards(
        self, foreign: Iterable[HostObject], answer: Desired, *, view: NodeView
    ) -> Iterator[HostChange]:
        """What will go once everything that the host should have is there, as far as other nodes do not change."""
        if self.predecessor is None:
            return
        present = answer.state.kinds
        objects = tuple(foreign)
        found = takeover(objects, self.predecessor, view=view, wanted=answer.state, present=present)
        going = {obj.key for obj in found.going}
        rest = (obj for obj in objects if obj.key not in going)
        idle = takeover(rest, self.predecessor, view=view, wanted=answer.state, present=present).idle
        for objs, why in ((found.going, "once ours is there"), (idle, "once idle for an audit period")):
            for obj in objs:
                yield Change(op=Op.REMOVE, key=obj.key, before=obj, after=None, why=why)


def _the_same(obj: HostObject) -> HostObject | Key:
    """What says that it is there again: a device has another MAC then, but several routes may have one key (`append`)."""
    return obj.key if isinstance(obj, Link) else obj
