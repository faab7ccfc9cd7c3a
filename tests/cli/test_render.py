"""Answers are aligned, on one line each, and free of anything a terminal might obey."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.cli.render import as_json, as_yaml, count, facts, many, safe, span, table

TEXT = st.text(st.characters(codec=None))


@given(TEXT)
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert safe(text).isprintable()


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_a_table_has_one_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    lines = table(("A", "B"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.dictionaries(TEXT, TEXT, max_size=3))
def test_json_and_yaml_are_plain_ascii_and_say_the_same(document: dict[str, str]) -> None:
    assert json.loads(as_json(document)) == document
    for shown in (as_json(document), as_yaml(document)):
        assert shown.isascii()
        assert all(line.isprintable() for line in shown.split("\n"))


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(("NAME", "N"), [("a", 1), ("longer", 20)]) == "NAME     N\na        1\nlonger   20"


def test_several_values_of_a_fact_stand_below_each_other() -> None:
    assert facts([("A", ["x", "y"]), ("Long", [])]) == "A:     x\n       y\nLong:  -"


def test_a_cell_without_end_is_cut() -> None:
    assert len(table(("A",), [("x" * 100_000,)]).split("\n")[1]) == 600


def test_several_documents_are_separated() -> None:
    assert list(yaml.safe_load_all(as_yaml({"a": 1}, {"b": 2}))) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        ((1 << 24) - 1, "16777215"),
        (1 << 24, "2^24"),
        ((1 << 64) - 1, "~2^64"),
        ((1 << 64) + 5, "~2^64"),
        (3 << 63, "~2^65"),
        (1 << 120, "2^120"),
    ],
)
def test_large_numbers_are_shown_as_powers(number: int, shown: str) -> None:
    assert count(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (7200, "2h"),
        (172800, "2d"),
        (86400 * 730, "2y"),
        (1e30, ">1000y"),
    ],
)
def test_spans_read_as_kubectls_ages(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from nodeipam_ctl.cli.render import say; [say('x' * 1000) for _ in range(1000)]"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "text"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes")])
def test_one_of_a_thing_is_not_many(number: int, text: str) -> None:
    assert many(number, "node") == text
