"""Is every acceptance case run by some test, and every disagreement written down?"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from tests.ipam.cases import DISAGREEMENTS, all_cases

TESTS = Path(__file__).parents[1]


def run() -> Iterator[tuple[str, str]]:
    """The id of a case and the test that runs it, as pytest will: read from the marks of the tests themselves."""
    for path in sorted(TESTS.rglob("test_cases_*.py")):
        where = path.relative_to(TESTS.parent).with_suffix("")
        for name, test in vars(importlib.import_module(".".join(where.parts))).items():
            for mark in getattr(test, "pytestmark", ()) if name.startswith("test_") else ():
                if mark.name == "parametrize" and mark.args[0] == "case":
                    yield from ((case["id"], f"{where}.py::{name}") for case in mark.args[1])


def test_every_case_is_run_and_none_is_invented() -> None:
    ids = [case["id"] for case in all_cases()]
    assert len(ids) == len(set(ids)) == 189
    assert {case for case, _ in run()} == set(ids)


def test_the_cases_are_run_by_the_folders_that_own_what_they_are_about() -> None:
    assert {str(Path(test.partition("::")[0]).parent) for _, test in run()} == {
        "tests/controller",
        "tests/crds",
        "tests/demo/apiserver",
        "tests/ipam",
    }


def test_every_disagreement_is_about_a_case_and_gives_its_reason() -> None:
    assert set(DISAGREEMENTS) < {case["id"] for case in all_cases()}
    assert all(len(reason) > 60 for reason in DISAGREEMENTS.values())
