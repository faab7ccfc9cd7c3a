"""Are our files put right as soon as somebody touches them, and others' files noticed?"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.agent.cluster import Agent, Cluster, until

pytestmark = pytest.mark.kernel


@pytest.fixture
def agent(cluster: Cluster) -> Agent:
    cluster.add("n1", pod_cidrs=("10.244.1.0/24",), addresses=("192.0.2.11",))
    agent = cluster.start_agent(cluster.segment.host("192.0.2.11/24"), "n1")
    until(agent.conflist.exists, "the conflist is there")
    return agent


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="deleted"),
        pytest.param(lambda path: path.rename(path.with_suffix(".bak")), id="moved away"),
        pytest.param(lambda path: path.write_text("{}"), id="overwritten"),
        pytest.param(lambda path: path.chmod(0o600), id="made unreadable"),
        pytest.param(lambda path: shutil.rmtree(path.parent), id="its directory deleted"),
    ],
)
def test_a_conflist_that_somebody_damages_is_put_right_at_once(
    agent: Agent, damage: Callable[[object], object]
) -> None:
    text = agent.conflist.read_text()
    for _ in range(2):
        damage(agent.conflist)
        until(
            lambda: (
                agent.conflist.exists()
                and agent.conflist.read_text() == text
                and agent.conflist.stat().st_mode & 0o777 == 0o644
            ),
            "it is as it was",
            timeout_s=2,
        )


def test_another_cnis_file_that_sorts_first_is_named_while_it_is_there(agent: Agent) -> None:
    other = agent.conflist.with_name("05-other.conflist")
    other.write_text("{}")
    until(lambda: agent.lines("finding"), "it is named", timeout_s=2)
    assert agent.lines("finding")[0]["code"] == "ForeignConflistFirst"

    other.unlink()
    until(lambda: agent.lines("finding_cleared"), "it is gone", timeout_s=2)
