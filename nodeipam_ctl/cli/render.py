"""How does an answer look? Plain aligned columns like kubectl's, or JSON or YAML of the same facts; never a control character."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nodeipam_ctl.ipam.window import about
from nodeipam_ctl.model import Finding

Document = Mapping[str, Any]
"""What `-o json` and `-o yaml` show. Fields may be added; none is renamed, removed or given another meaning."""

_LONGEST_CELL = 600
_GAP = "   "


def safe(text: object) -> str:
    """A text on one line, with everything that a terminal might obey or hide written as an escape."""
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they must be; no rows are only the header."""
    lines = [tuple(header), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def facts(pairs: Iterable[tuple[str, Sequence[object]]]) -> str:
    """Names with their values below each other, like `kubectl describe`."""
    given = [(f"{name}:", [_cell(value) for value in values] or ["-"]) for name, values in pairs]
    width = max(len(name) for name, _ in given) + 2
    return "\n".join(
        f"{(name if i == 0 else ''):{width}}{value}"
        for name, values in given
        for i, value in enumerate(values)
    )


def findings_table(findings: Iterable[Finding]) -> str:
    """One line for each finding."""
    return table(
        ("SEVERITY", "SUBJECT", "CODE", "MESSAGE", "REMEDY"),
        ((f.severity, f.subject, f.code, f.message, f.remedy) for f in findings),
    )


def finding_document(finding: Finding) -> Document:
    """A finding as data."""
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def many(number: int, noun: str) -> str:
    """One node, two nodes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def count(number: int) -> str:
    """A number a person can read: large ones as the power of two that they are, or are close to."""
    return about(number)


def span(seconds: float) -> str:
    """A length of time as kubectl writes ages: 45s, 12m, 7h, 3d, 4y."""
    for size, unit, most in ((1, "s", 120), (60, "m", 120), (3600, "h", 48), (86400, "d", 730)):
        if seconds < size * most:
            return f"{int(seconds // size)}{unit}"
    years = seconds / 86400 / 365
    return f"{int(years)}y" if years < 1000 else ">1000y"


def as_json(document: Any) -> str:
    """JSON in ASCII, indented."""
    return json.dumps(document, indent=2)


def as_yaml(*documents: Any) -> str:
    """One YAML document or several."""
    import yaml  # only for who asks for it

    plain = [json.loads(json.dumps(document)) for document in documents]  # StrEnums become texts
    return "---\n".join(
        yaml.safe_dump(one, sort_keys=False, default_flow_style=False, width=10_000) for one in plain
    ).rstrip("\n")


def show(output: str, document: Document, text: Callable[[], str]) -> None:
    """Prints an answer in the form that was asked for."""
    match output:
        case "json":
            say(as_json(document))
        case "yaml":
            say(as_yaml(document))
        case _:
            say(text())


def say(text: str) -> None:
    """Prints to standard output; a reader that went away, as `| head` does, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python flushes standard output once more at its end: that must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _cell(value: object) -> str:
    text = safe(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
