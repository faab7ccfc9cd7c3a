"""Is this program ready, and if not, why not? Named checks, each with its reason."""

from __future__ import annotations

from collections.abc import Callable


class Readiness:
    """Named checks; ready when none has a reason against it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._checks: dict[str, Callable[[], str]] = {}

    def check(self, name: str, reason: Callable[[], str]) -> None:
        """Adds a check that is asked whenever somebody wants to know: empty means fine, else one line why not."""
        self._checks[name] = reason

    def waiting(self, name: str, reason: str) -> None:
        """Not ready, because of `reason`, until `passed(name)`."""
        self._reasons[name] = reason

    def passed(self, name: str) -> None:
        """The check called `name` is fine."""
        self._reasons[name] = ""

    def reasons(self) -> dict[str, str]:
        """Every check by name, with what speaks against readiness; empty text for what is fine."""
        found = dict(self._reasons)
        for name, reason in self._checks.items():
            found[name] = reason()
        return found

    @property
    def ready(self) -> bool:
        """Whether nothing speaks against it."""
        return not any(self.reasons().values())

    def report(self) -> str:
        """One line per check, as kube-apiserver's /readyz?verbose prints them."""
        return "".join(
            f"[-]{name}: {reason}\n" if reason else f"[+]{name} ok\n"
            for name, reason in sorted(self.reasons().items())
        )
