"""Are our files put right as soon as somebody touches them, and others' files noticed?"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


def test_what_is_no_file_in_a_files_place_is_named_and_not_waited_for(agent: Agent) -> None:
    def put_a_pipe() -> bool:
        agent.conflist.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # the agent was faster
            os.mkfifo(agent.conflist)
        return agent.conflist.is_fifo()

    until(put_a_pipe, "a pipe has its place")
    until(lambda: "is no regular file" in agent.get("/readyz")[1], "it is named")
    agent.conflist.unlink()
    until(agent.conflist.is_file, "it is as it was")
    until(lambda: agent.get("/readyz")[0] == 200, "it is ready again")


def test_where_directories_cannot_be_watched_all_else_works(tmp_path: Path) -> None:
    script = f"""
import os, resource
from pathlib import Path
from nodeipam_ctl.agent import kernel
free = os.open("/dev/null", os.O_RDONLY)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
print(list(kernel.watches([Path({str(tmp_path)!r})])))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "directory_not_heard" in done.stdout
    assert done.stdout.endswith("[]\n")
