"""What docs/operations.md shows is what the commands print, and every code that an audit can show is explained there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import GOLDEN

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("name", ["explain", "audit", "plan", "plan-file", "import"])
def test_the_guide_shows_real_output(name: str) -> None:
    assert (GOLDEN / f"{name}.txt").read_text() in TEXT


def test_the_guide_explains_every_code() -> None:
    sources = [*(ROOT / "nodeipam_ctl" / "ipam").glob("*.py"), ROOT / "nodeipam_ctl" / "cli" / "snapshot.py"]
    codes = {code for file in sources for code in re.findall(r'code="(\w+)"', file.read_text())}
    told = set(re.findall(r"`(\w+)`", TEXT))
    by_import_itself = {"NameTooLong", "NameTaken", "MaskSize", "NothingLeft", "OtherBlockSize"}
    assert codes - told - by_import_itself == set()
