"""Which acceptance scenarios are there, and which test runs one? The data as it was given, and the mark that ties a test to an id."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

Test = TypeVar("Test", bound=Callable[..., Any])

_DATA = Path(__file__).with_name("data") / "dataplane.yaml"


@cache
def document() -> dict[str, Any]:
    """The whole file: topologies, defaults, scenarios."""
    loaded: dict[str, Any] = yaml.safe_load(_DATA.read_text())
    return loaded


def ids() -> list[str]:
    """Every scenario's id, in the file's order."""
    return [scenario["id"] for scenario in document()["scenarios"]]


def case(scenario: str) -> dict[str, Any]:
    """One scenario."""
    found: dict[str, Any] = next(s for s in document()["scenarios"] if s["id"] == scenario)
    return found


def scenario(*named: str) -> Callable[[Test], Test]:
    """The decorated test runs these scenarios, in the real kernel."""
    unknown = set(named) - set(ids())
    assert not unknown, f"no such scenario: {unknown}"

    def mark(test: Test) -> Test:
        marked: Test = pytest.mark.kernel(test)
        marked.scenarios = named  # type: ignore[attr-defined]  # read by test_cases
        return marked

    return mark
