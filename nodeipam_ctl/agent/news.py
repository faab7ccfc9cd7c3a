"""What must the cluster's users hear of this node? Findings of severity error that last, and a mass removal that is held, as Events on its Node.

The log has everything at once; an Event is for what stays wrong. One Event for each code: its count grows when more is wrong,
and it is told again before the API server forgets it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.kube.events import EventRecorder, Target
from nodeipam_ctl.model import Node, Severity

HELD = "MassRemovalHeld"

_LASTS_S = 3.0
_JITTER_S = 2.0
_AGAIN_S = 50 * 60.0  # the API server keeps Events for an hour


class News:
    """Remembers since when something is wrong and what was told of it.

    Args:
        jitter: spreads the Events of thousands of nodes that see the same fault at the same moment.
    """

    def __init__(
        self,
        recorder: EventRecorder,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._lasts_s = _LASTS_S + _JITTER_S * jitter()
        self._since_s: dict[tuple[str, str], float] = {}
        self._told: dict[str, tuple[frozenset[str], float]] = {}

    def turn(self, node: Node, turn: Turn) -> float | None:
        """Tells what has lasted long enough; seconds until there may be more to tell, None when all is told."""
        now_s = self._clock()
        self._since_s = {wrong: self._since_s.get(wrong, now_s) for wrong in _wrong(turn)}
        lasting: dict[str, list[str]] = {}
        young_s: list[float] = []
        for (code, text), since_s in self._since_s.items():
            if now_s - since_s >= self._lasts_s:
                lasting.setdefault(code, []).append(text)
            else:
                young_s.append(since_s + self._lasts_s - now_s)
        for code, texts in lasting.items():
            told, told_s = self._told.get(code, (frozenset(), 0.0))
            if not told.issuperset(texts) or now_s - told_s >= _AGAIN_S:
                new = [text for text in texts if text not in told] or texts
                self._recorder.warning(Target.node(node), code, _message(new[0], len(texts)))
                told_s = now_s
            self._told[code] = frozenset(texts), told_s
        for code in self._told.keys() - lasting.keys():
            del self._told[code]
        return min(young_s, default=None)


def _wrong(turn: Turn) -> Iterator[tuple[str, str]]:
    for finding in turn.findings:
        if finding.severity is Severity.ERROR:
            yield finding.code, str(finding)
    if turn.held:
        yield (
            HELD,
            f"{len(turn.held)} removals wait until a second complete list from the API server says the same",
        )


def _message(text: str, count: int) -> str:
    return text if count == 1 else f"{text} (and {count - 1} more)"
