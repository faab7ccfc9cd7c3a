"""What does the demo do when it is kept, when something of it dies, and when a ping is lost?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

DEMO = (sys.executable, "-m", "nodeipam_ctl", "demo", "--nodes", "2", "--pods", "1")


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def process_inside(began: Any, words: str) -> int:
    """The host's number of a process of the demo."""
    found = [
        pid
        for pid in began.processes()
        if words in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    ]
    assert len(found) == 1, f"{words}: {found}"
    return int(found[0])


def test_what_a_kept_demo_suggests_works_and_ctrl_c_ends_it_well(
    begin: Callable[..., Any], tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kc"
    began = begin(*DEMO, "--keep", "--kubeconfig-out", str(kubeconfig))
    said = "\n".join([*began.read_until("It stays until Ctrl-C"), *began.read_until("controller.log")])
    suggested = re.findall(r"^  ((?:kubectl|nsenter|less) .*)$", said, re.MULTILINE)
    assert len(suggested) == 4

    shown = shell(suggested[0])
    assert re.search(r"node/node-1 +Ready ", shown)
    assert re.search(r"clustercidr\S*/demo ", shown)
    assert "10.244." in shell(suggested[1])
    assert "3 received" in shell(suggested[2])
    assert "allocation" in shell(suggested[3].replace("less", "cat"))
    assert "node-1" in shell(f"kubectl --kubeconfig {kubeconfig} get nodes")

    spaces = began.namespaces()
    began.process.send_signal(signal.SIGINT)
    rest, _ = began.process.communicate(timeout=20)
    assert began.process.returncode == 0
    assert rest.strip() == "stopped by SIGINT; nothing is left behind"
    assert not kubeconfig.exists()
    began.assert_nothing_is_left(spaces)


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param("<&-", id="no input"),
        pytest.param(">&-", id="no output"),
        pytest.param("<&- >&- 2>&-", id="none at all"),
    ],
)
def test_the_demo_passes_without_standard_files(closed: str) -> None:
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *DEMO], check=False, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("program", "after"),
    [
        pytest.param("nodeipam_ctl controller", "node-1", id="the controller"),
        pytest.param("nodeipam_ctl agent --node-name node-2", "node-2", id="an agent"),
    ],
)
def test_a_program_that_dies_fails_the_demo_at_once_with_its_log(
    begin: Callable[..., Any], program: str, after: str
) -> None:
    began = begin(*DEMO)
    began.read_until(f"{after} ")
    spaces = began.namespaces()
    os.kill(process_inside(began, program), signal.SIGKILL)
    said, _ = began.process.communicate(timeout=30)
    assert began.process.returncode == 1
    who = program.rpartition(" ")[2]
    assert re.search(rf"^FAILED  the .*{who} ended with -9$", said, re.MULTILINE), said
    assert "last lines of the controller:" in said
    began.assert_nothing_is_left(spaces)


def test_a_lost_ping_fails_the_demo_and_is_named(begin: Callable[..., Any]) -> None:
    began = begin(*DEMO[:-1], "2")
    began.read_until("node-1       its agent wrote")
    inside = _first_inside(began)
    shell(f"nsenter -t {inside} -m -n -u -r /run/nodeipam/on node-1/pod-2 ip link set eth0 down")
    said, _ = began.process.communicate(timeout=60)
    assert began.process.returncode == 1
    assert re.search(
        r"^  no answer: node-3/pod-1 to node-1/pod-2 \(10\.244\.\d+\.3\)$", said, re.MULTILINE
    ), said
    assert re.search(r"^FAILED  \d+ pings were lost$", said, re.MULTILINE)


def _first_inside(began: Any) -> int:
    for pid in began.processes():
        status = Path(f"/proc/{pid}/status").read_text()
        if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
            return int(pid)
    pytest.fail("there is no PID 1 of the demo")
