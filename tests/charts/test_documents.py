"""Do the commands and values of the documents still work? Each `helm` line is rendered with the chart."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.charts.chart import CHART, ROOT, manifests

_DOCUMENTS = (ROOT / "docs" / "install.md", ROOT / "README.md", CHART / "README.md")


def _commands() -> Iterator[Any]:
    for document in _DOCUMENTS:
        text = document.read_text().replace("\\\n", " ")
        for number, command in enumerate(
            re.findall(r"^\s*(?:\$ )?(helm (?:install|upgrade) .*)$", text, re.MULTILINE)
        ):
            yield pytest.param(command, id=f"{document.parent.name}/{document.name} {number}")


def _values(command: str) -> dict[str, Any]:
    words = shlex.split(command)
    sets = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
    return helm_python.parse_set_string(",".join(sets)) if sets else {}


@pytest.mark.parametrize("command", list(_commands()))
def test_a_helm_command_of_the_documents_renders(command: str) -> None:
    assert shlex.split(command)[2:4] == ["nodeipam-ctl", "charts/nodeipam-ctl"]
    assert list(manifests(_values(command)))


def test_a_first_install_of_the_documents_brings_a_pool() -> None:
    installs = [parameter.values[0] for parameter in _commands() if "install " in str(parameter.values[0])]

    assert installs
    for command in installs:
        assert [
            m["metadata"]["name"] for m in manifests(_values(str(command))) if m["kind"] == "ClusterCIDR"
        ] == ["default"]


def test_values_shown_in_the_documents_are_accepted() -> None:
    shown = [
        block
        for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "install.md").read_text(), re.DOTALL)
        if "clusterCIDRs:" in block
    ]

    assert shown
    for block in shown:
        assert list(manifests(yaml.safe_load(block)))
