"""Is this program ready, and if not, why not? Named checks, each with its reason."""

from __future__ import annotations

from collections.abc import Callable


class Readiness:
    """Named checks; ready when none has a reason against it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._checks: dict[str, Callable[[], str]] = {}
        self._remarks: dict[str, Callable[[], str]] = {}

    def check(self, name: str, reason: Callable[[], str]) -> None:
        """Adds a check that is asked whenever somebody wants to know: empty means fine, else one line why not."""
        self._checks[name] = reason

    def remark(self, name: str, remark: Callable[[], str]) -> None:
        """Adds what an operator should know of the check called `name` while it passes: it speaks against nothing."""
        self._remarks[name] = remark

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
        lines = []
        for name, reason in sorted(self.reasons().items()):
            remark = self._remarks[name]() if name in self._remarks and not reason else ""
            lines.append(f"[-]{name}: {reason}" if reason else f"[+]{name} ok{': ' * bool(remark)}{remark}")
        return "".join(f"{_one_line(line)}\n" for line in lines)


def _one_line(text: str) -> str:
    """Names and messages come from API objects: none may make a line of its own, or command a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
