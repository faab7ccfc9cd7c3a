"""Our server answers the 139 recorded interactions as kube-apiserver 1.36 did."""

from __future__ import annotations

import asyncio

import pytest

from tests.demo.apiserver.replay import entries, replay

IDS = [entry["id"] for entry in entries()]
# Answers that differ on purpose, each with its reason.
EXCEPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module")
def differences() -> dict[str, list[str]]:
    return asyncio.run(replay())


@pytest.mark.parametrize("interaction", [id_ for id_ in IDS if id_ not in EXCEPTIONS])
def test_answers_as_recorded(interaction: str, differences: dict[str, list[str]]) -> None:
    assert differences[interaction] == []


def test_the_list_of_exceptions_is_short_and_still_needed(differences: dict[str, list[str]]) -> None:
    assert len(IDS) == 139
    assert len(EXCEPTIONS) <= 4
    for interaction in EXCEPTIONS:
        assert differences[interaction], f"{interaction} agrees now: take it off the list"
