"""When is a node asked for again after its podCIDRs could not be set? Soon at first, then ever more rarely; all at once when it works again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from nodeipam_ctl.kube.backoff import Backoff
from nodeipam_ctl.model import NodeUID

FIRST_S = 1.0
"""The first wait after a refusal, at most, in seconds: most refusals are an admission webhook that restarts."""

CAP_S = 90.0
"""The longest wait after a refusal, in seconds: whoever mends the cause without our noticing waits no longer than that."""


class Retries:
    """Nodes that are asked for again later.

    Args:
        again: called, in our loop, when a node's time has come.
        uniform: spreads the waits.
    """

    def __init__(
        self, again: Callable[[NodeUID], None], *, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._again = again
        self._uniform = uniform
        self._timers: dict[NodeUID, asyncio.TimerHandle] = {}
        self._refused: dict[NodeUID, Backoff] = {}
        self._patient: set[NodeUID] = set()

    def __len__(self) -> int:
        return len(self._timers)

    def after(self, uid: NodeUID, wait_s: float) -> None:
        """Asks for a node in so many seconds, and not at the time that was set before."""
        self._stop_timer(uid)
        self._timers[uid] = asyncio.get_running_loop().call_later(wait_s, self._due, uid)

    def refused(self, uid: NodeUID) -> float:
        """The API server refused what a node was to get; in how many seconds it is asked for again."""
        backoff = self._refused.get(uid)
        if backoff is None:
            backoff = Backoff(first_s=FIRST_S, cap_s=CAP_S, uniform=self._uniform)
            self._refused[uid] = backoff
        wait_s = backoff.next_s()
        if backoff.attempts > 1:
            self._patient.add(uid)
        self.after(uid, wait_s)
        return wait_s

    def done(self, uid: NodeUID) -> None:
        """A node has its podCIDRs. If it was refused before, what refused it is mended: the others need not wait longer."""
        if self.forget(uid):
            waiting, self._patient = self._patient, set()
            for other in waiting & self._timers.keys():
                self._refused[other].reset()
                self.after(other, self._uniform(0.0, FIRST_S))

    def forget(self, uid: NodeUID) -> bool:
        """A node is asked for no more; whether it had been refused."""
        self._stop_timer(uid)
        self._patient.discard(uid)
        return self._refused.pop(uid, None) is not None

    def stop(self) -> None:
        """Asks for nobody any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, uid: NodeUID) -> None:
        del self._timers[uid]
        self._again(uid)

    def _stop_timer(self, uid: NodeUID) -> None:
        if (timer := self._timers.pop(uid, None)) is not None:
            timer.cancel()
