"""When do another agent's rules of iptables and their sets go from this host (--adopt)? Once ours are in place; and if they return, that agent still runs.

That a predecessor was stopped is the operator's word, and this is where it shows when it is not so: what returns is named and left
alone then, since two agents that undo each other's work help nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import structlog

from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.linux import ipsets, iptables
from nodeipam_ctl.model import Finding
from nodeipam_ctl.routing.adopt import returned, stays
from nodeipam_ctl.routing.predecessor_rules import removal, replaced_rules
from nodeipam_ctl.routing.predecessors import PREDECESSORS
from nodeipam_ctl.settings import AgentSettings

log = structlog.get_logger(__name__)

_AGAIN_S = 60.0
"""flanneld looks after its rules every 5 s, kindnetd every 60, kube-router every 300."""

_Left = tuple[str, str, tuple[str, ...]]
"""Tool, table, and the lines that remove what is there."""


class PredecessorRules:
    """What the predecessor named by `--adopt` has in iptables. Blocking: the caller looks in a thread.

    Attributes:
        findings: what is wrong with it since the last look.
    """

    def __init__(self, settings: AgentSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        predecessor = PREDECESSORS.get(settings.adopt)
        self.findings: tuple[Finding, ...] = ()
        self._name = settings.adopt
        self._rules = (
            replaced_rules(
                predecessor, masquerade=settings.masquerade, forward_accept=settings.forward_accept
            )
            if predecessor
            else ()
        )
        self._clock = clock
        self._look_at_s = 0.0
        self._removed = False

    def due(self, turn: Turn) -> bool:
        """Whether a look is due: ours are in place after this turn, and the last look is some time ago."""
        in_place = not (turn.desired.waiting or turn.outcome.failed or turn.held)
        return bool(self._rules) and in_place and self._clock() >= self._look_at_s

    def look(self) -> bool:
        """Removes what is there, the first time, and afterwards only says so; whether there is something new to say."""
        self._look_at_s = self._clock() + _AGAIN_S
        before = self.findings
        try:
            self.findings = self._settle(tuple(self.present()))
        except NodeIPAMError as exc:
            self.findings = (stays(self._name, str(exc)),)
        return self.findings != before

    def present(self) -> Iterator[_Left]:
        """Tool, table and the lines that remove what is there.

        Raises:
            Permanent: a program is missing or fails.
        """
        if not self._rules:
            return
        for tool, table in iptables.tables({left.table for left in self._rules}):
            saved = iptables.saved(tool, table)
            lines = tuple(
                line for left in self._rules if left.table == table for line in removal(saved, left)
            )
            if lines:
                yield tool, table, lines

    def sets(self) -> tuple[str, ...]:
        """The ipsets that are there and that nothing needs once the rules are gone."""
        return tuple(name for left in self._rules for name in left.sets if ipsets.exists(name))

    def _settle(self, present: tuple[_Left, ...]) -> tuple[Finding, ...]:
        if present and self._removed:
            tool, table, lines = present[0]
            return (returned(self._name, f"{tool} -t {table}: {lines[-1]}"),)
        for tool, table, lines in present:
            iptables.restore(tool, lines, table)
            log.info("predecessor_rules_removed", of=self._name, tool=tool, table=table)
        # One that somebody else's rule uses stays, and hurts nobody.
        gone = tuple(filter(ipsets.destroy, self.sets()))
        if gone:
            log.info("predecessor_sets_removed", of=self._name, sets=gone)
        self._removed = True
        return ()
