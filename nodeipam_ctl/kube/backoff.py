"""How long do we wait before the next attempt? Exponential, jittered, capped; no clock in it."""

from __future__ import annotations

import random
from collections.abc import Callable

LONGEST_ASKED_S = 60.0
"""A Retry-After that asks for more is not obeyed any further, in seconds: it is a proxy's maintenance page or a slip, and the
API server itself asks for a second."""


class Backoff:
    """Waiting times that double from `first_s` to `cap_s`, each spread over its upper half.

    The spread keeps thousands of agents that lost the server together from coming back together. The lower half is kept
    because a wait near zero is no wait.
    """

    def __init__(
        self,
        *,
        first_s: float = 0.2,
        cap_s: float = 30.0,
        factor: float = 2.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._factor = factor
        self._uniform = uniform
        self._ceiling_s = first_s
        self.attempts = 0

    def next_s(self, *, at_least_s: float | None = None) -> float:
        """Seconds to wait now.

        Args:
            at_least_s: what the other side asked for (Retry-After), in seconds: never less, up to `LONGEST_ASKED_S`.
        """
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(self._cap_s, ceiling_s * self._factor)
        self.attempts += 1
        wait_s = self._uniform(ceiling_s / 2, ceiling_s)
        if at_least_s is None or at_least_s <= wait_s:
            return wait_s
        at_least_s = max(wait_s, min(at_least_s, LONGEST_ASKED_S))
        # Everybody was told the same number: spread those who obey it as well.
        return at_least_s + self._uniform(0, min(at_least_s, self._first_s))

    def reset(self) -> None:
        """Starts again from `first_s`: the last attempt went well."""
        self._ceiling_s = self._first_s
        self.attempts = 0
