"""Does docs/agent.md name every flag, metric, finding and reason that there is?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nodeipam_ctl.agent.metrics import AgentMetrics, ProbeMetrics
from nodeipam_ctl.cli import agent as cli_agent
from nodeipam_ctl.routing.backends import NAMES

ROOT = Path(__file__).parents[2]
_TEXT = (ROOT / "docs" / "agent.md").read_text()
_SOURCES = "\n".join(
    file.read_text()
    for folder in ("routing", "agent", "kube/wire")
    for file in sorted((ROOT / "nodeipam_ctl" / folder).rglob("*.py"))
)


def _metrics() -> list[str]:
    agent = AgentMetrics()
    ProbeMetrics(agent.metrics)
    names = re.findall(r"^# HELP (nodeipam_\w+)", agent.metrics.exposition().decode(), re.MULTILINE)
    return [name for name in names if not name.endswith("_created")]


@pytest.mark.parametrize(
    "flag",
    [option.opts[0] for option in cli_agent.command.params if option.name not in ("help", "version")],
)
def test_every_flag_is_documented(flag: str) -> None:
    assert f"`{flag}`" in _TEXT


@pytest.mark.parametrize("name", _metrics())
def test_every_metric_is_documented(name: str) -> None:
    assert re.search(rf"`{name}[`{{]", _TEXT)


@pytest.mark.parametrize(
    "code",
    # The feed's own kind is the one whose unreadable objects an agent reports.
    sorted({*re.findall(r'(?:code=|_finding\(\s*|HELD = )"([A-Z]\w+)"', _SOURCES), "UnreadablePodCIDRSlice"}),
)
def test_every_finding_has_a_remedy(code: str) -> None:
    row = re.search(rf"^\| `{code}` \| (error|warning) \| .+ \| .+ \|$", _TEXT, re.MULTILINE)
    assert row


@pytest.mark.parametrize(
    "reason",
    sorted(set(re.findall(r'"(Waiting\w+|PodCIDRTooSmall|Host[A-Z]\w+|NodeIPAM\w+)(?::|")', _SOURCES))),
)
def test_every_reason_of_the_condition_is_documented(reason: str) -> None:
    assert f"`{reason}`" in _TEXT


@pytest.mark.parametrize("name", NAMES)
def test_every_backend_has_its_section(name: str) -> None:
    assert f"\n## {name}\n" in (ROOT / "docs" / "backends.md").read_text()
