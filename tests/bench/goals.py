"""What was measured with and without the ledger, and which goals of the controller are met? One table, and one line that says it."""

from __future__ import annotations

from dataclasses import dataclass

WITHOUT, WITH = "no ledger", "ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One row.

    Attributes:
        what: with its unit.
        digits: after the point.
        least: the figure with the ledger should be this much or more.
        most: or this much or less.
        size: which size the goal is for, and how large it has to be.
    """

    what: str
    digits: int = 0
    least: float | None = None
    most: float | None = None
    size: tuple[str, int] = ("", 0)

    def goal(self) -> str:
        """The goal as text; empty when there is none."""
        if self.least is not None:
            return f">= {self.least:,.{self.digits}f}"
        if self.most is not None:
            return f"<= {self.most:,.{self.digits}f}"
        return ""

    def met(self, figure: float) -> bool:
        """Whether a figure reaches the goal."""
        return figure >= self.least if self.least is not None else figure <= (self.most or 0.0)


MEASURES = {
    "rate": Measure(what="registration, nodes/s", least=1200),
    "rate_p99": Measure(what="  the slowest 1 % of that burst, ms"),
    "cpu": Measure(what="controller CPU, ms a node", digits=3, most=0.35),
    "waiting_rate": Measure(what="all nodes waiting when the pool comes, nodes/s"),
    "waiting_cpu": Measure(what="  controller CPU, ms a node", digits=3),
    "quiet_p50": Measure(what="one quiet node, POST to podCIDR, p50, ms", digits=1),
    "quiet_p99": Measure(what="one quiet node, p99, ms", digits=1, most=30),
    "quiet_worst": Measure(what="  worst, ms", digits=1),
    "quiet_first": Measure(what="  the first of a fresh pool, ms", digits=1),
    "server_p50": Measure(what="  of it the API server's: the same requests alone, p50, ms", digits=1),
    "server_p99": Measure(what="  the same, p99, ms", digits=1),
    "busy_p99": Measure(what="one node among 500 heartbeats/s, p99, ms", digits=1),
    "heartbeats": Measure(what="500 heartbeats/s, % of a core", digits=1, most=5),
    "rss": Measure(
        what="resident with {nodes:,} nodes of 6 kB, MB", digits=1, most=120, size=("nodes", 5_000)
    ),
    "restart": Measure(
        what="restart with {restart:,} nodes until ready, s", digits=2, most=3, size=("restart", 10_000)
    ),
    "first_start": Measure(what="  first start, all podCIDRs foreign, s", digits=2),
    "huge_rss": Measure(
        what="resident with {huge:,} nodes of 1 kB, MB", digits=1, most=400, size=("huge", 100_000)
    ),
    "huge_ready": Measure(what="  until ready, s", digits=1),
}


class Results:
    """Figures by measure and column.

    Args:
        sizes: what the `{}` in the rows' names stand for.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self._figures: dict[tuple[str, str], float] = {}

    def add(self, column: str, **figures: float) -> None:
        """Takes figures in and prints them at once: a whole run takes minutes."""
        for key, figure in figures.items():
            self._figures[key, column] = figure
            measure = MEASURES[key]
            print(f"  {column}: {self._name(key).strip()}: {figure:,.{measure.digits}f}", flush=True)

    def report(self) -> str:
        """The table, and which goals are met."""
        lines = [f"{'':60}{WITHOUT:>12}{WITH:>12}{'goal':>12}"]
        met: list[str] = []
        missed: list[str] = []
        for key, measure in MEASURES.items():
            without, with_ledger = (self._figures.get((key, column)) for column in (WITHOUT, WITH))
            if without is None and with_ledger is None:
                continue
            verdict = ""
            if self._sizes.get(measure.size[0], 0) < measure.size[1]:
                verdict = f"not judged: the goal is for {measure.size[1]:,}"
            elif measure.goal() and with_ledger is not None:
                verdict = "met" if measure.met(with_ledger) else "MISSED"
                (met if verdict == "met" else missed).append(self._name(key).strip())
            shown = (
                f"{figure:,.{measure.digits}f}" if figure is not None else ""
                for figure in (without, with_ledger)
            )
            columns = "".join(f"{text:>12}" for text in (*shown, measure.goal()))
            lines.append(f"{self._name(key):60}{columns}  {verdict}".rstrip())
        total = len(met) + len(missed)
        lines.append("")
        lines.append(
            f"goals, with the ledger: {len(met)} of {total} met"
            + (f"; missed: {'; '.join(missed)}" if missed else "")
        )
        return "\n".join(lines)

    def _name(self, key: str) -> str:
        return MEASURES[key].what.format(**self._sizes)
