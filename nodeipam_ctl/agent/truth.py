"""Can this node serve pods, as its Node says it? The condition and, by option, the taint: after each turn, and when no turn succeeds any more.

A host that cannot be read most likely still forwards: we changed nothing, and what stands keeps standing. So a moment of it says
nothing. But what changes in the cluster from then on does not reach this host: it has no routes to new nodes, and heals nothing. Hence
after a grace the condition becomes true, which keeps new pods away (a NoSchedule taint) and leaves those alone that run here.
`Unknown` would be no answer: the node lifecycle controller taints for `True` only (nodeConditionToTaintKeyStatusMap).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from nodeipam_ctl.agent.condition import NOTHING, ConditionWriter
from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.agent.taint import TaintWriter
from nodeipam_ctl.agent.verdict import essential, reasons
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.model import Node
from nodeipam_ctl.settings import AgentSettings

_GRACE_S = 10.0
"""Ten retries: a busy kernel and a package manager that replaces nft are done by then."""


class Truth:
    """Keeps what one Node says of its network, and remembers since when nothing is known.

    Attributes:
        problem: why no turn succeeds, one line; empty when the last one did.
        carried: annotations that were written together with the condition after the last turn.
    """

    def __init__(
        self, client: Client, settings: AgentSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.problem = ""
        self.carried: Mapping[str, str] = NOTHING
        self._blind_since_s: float | None = None
        self._clock = clock
        self._condition = (
            ConditionWriter(client, settings.node_name, clock=clock) if settings.network_unavailable else None
        )
        self._taint = TaintWriter(client, settings.node_name, clock=clock) if settings.taint else None

    async def turn(self, node: Node | None, turn: Turn, said: Mapping[str, str] = NOTHING) -> bool:
        """A turn is over: says what came of it; whether it could be said. One that could not read all of the host counts as none."""
        self.carried = NOTHING
        if turn.unread:
            return await self.no_turn(node, turn.unread)
        self.problem, self._blind_since_s = "", None
        return await self._tell(node, turn.desired.waiting or not_programmed(turn), said)

    async def no_turn(self, node: Node | None, problem: str) -> bool:
        """A turn was given up because of `problem`: says so once that has lasted; whether it could be said."""
        now_s = self._clock()
        self.problem = problem
        self._blind_since_s = now_s if self._blind_since_s is None else self._blind_since_s
        if now_s - self._blind_since_s < _GRACE_S:
            return True
        return await self._tell(
            node, f"HostUnreadable: {problem}; what runs here goes on, but follows nothing new"
        )

    async def _tell(self, node: Node | None, waiting: str, said: Mapping[str, str] = NOTHING) -> bool:
        if node is None:
            return True
        told = self._condition is None or await self._condition.tell(node, waiting, said)
        self.carried = self._condition.carried if self._condition is not None else NOTHING
        if self._taint is not None:
            told &= await self._taint.tell(node, unavailable=bool(waiting))
        return told


def not_programmed(turn: Turn) -> str:
    """What of the plan the host refused, as a reason of the condition; empty when nothing."""
    text = reasons(essential(turn.outcome.failed, turn.desired.state))
    return f"HostNotProgrammed: {text}" if text else ""
