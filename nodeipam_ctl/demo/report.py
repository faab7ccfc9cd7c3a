"""How does the demo speak? One line for each step with the seconds since the start, then a table; colour on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

_BOLD, _RED, _GREEN, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


@dataclass(slots=True, kw_only=True)
class Report:
    """Says what happens to whoever watches."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    started_s: float = field(default_factory=time.monotonic)

    def step(self, subject: str, text: str) -> None:
        """One thing that was done: who, and what."""
        seconds = f"{time.monotonic() - self.started_s:6.2f}s"
        self._print(f"{self._in(_DIM, seconds)}  {self._in(_BOLD, f'{subject:<11}')}  {text}")

    def failed(self, text: str) -> None:
        """What went wrong."""
        self._print(f"\n{self._in(_RED, 'FAILED')}  {text}")

    def passed(self, text: str) -> None:
        """That all went well."""
        self._print(f"\n{self._in(_GREEN, 'PASSED')}  {text}")

    def plain(self, text: str = "") -> None:
        """A line as it is."""
        self._print(text)

    def table(self, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their widest cell; a cell may have several lines."""
        self._print("")
        for index, line in enumerate(table_lines(heading, rows)):
            self._print(self._in(_BOLD, line) if index == 0 else line)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.out.isatty() else text

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def table_lines(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, without spaces at their ends."""
    cells = [[cell.split("\n") for cell in row] for row in (heading, *rows)]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(heading))]
    lines = []
    for row in cells:
        for index in range(max(len(cell) for cell in row)):
            parts = [cell[index] if index < len(cell) else "" for cell in row]
            lines.append(
                "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
            )
    return lines


def milliseconds(seconds: float | None) -> str:
    """A duration for a table: `34 ms`, `1.2 s`; `-` when there is none."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
