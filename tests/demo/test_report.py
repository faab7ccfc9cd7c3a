"""Is the demo's output for people and for log files?"""

from __future__ import annotations

import io

import pytest

from nodeipam_ctl.demo.report import Report, milliseconds, table_lines


def test_columns_are_as_wide_as_their_widest_cell_and_cells_may_have_lines() -> None:
    assert table_lines(("A", "LONG"), [("1\n22", "x"), ("333", "y\nz")]) == [
        "A    LONG",
        "1    x",
        "22",
        "333  y",
        "     z",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0214, "21 ms"), (0.9994, "999 ms"), (1.25, "1.2 s")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


def test_no_colour_in_a_file() -> None:
    out = io.StringIO()
    report = Report(out=out)
    report.step("node-1", "registered")
    report.failed("no")
    assert "\x1b" not in out.getvalue()
    assert out.getvalue() == "  0.00s  node-1       registered\n\nFAILED  no\n"


def test_colour_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    Report(out=out).passed("yes")
    assert "\x1b[32mPASSED\x1b[0m" in out.getvalue()
