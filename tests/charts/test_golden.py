"""Does the chart still render what was reviewed? UPDATE_GOLDEN=1 pytest tests/charts/test_golden.py writes it anew."""

from __future__ import annotations

import os

import pytest

from tests.charts.chart import CHART, PROFILES, rendered, values_of


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_renders_what_is_kept_for_it(profile: str) -> None:
    text = "".join(_section(path, content) for path, content in rendered(values_of(profile)).items())
    kept = CHART / "ci" / "golden" / f"{profile}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        kept.write_text(text)

    assert text == kept.read_text()


def _section(path: str, content: str) -> str:
    body = content.strip().removeprefix("---").strip()
    if not path.endswith(".yaml"):  # NOTES.txt
        body = "\n".join(f"# {line}".rstrip() for line in body.splitlines())
    return f"---\n# {path}\n{body}\n"


def test_there_are_three_profiles() -> None:
    assert PROFILES == ("host-gw", "ipam-only", "vxlan")
