"""Does a sandbox leave the host alone, and nothing behind, however it ends?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodeipam_ctl.demo import sandbox

pytestmark = pytest.mark.kernel


def test_inside_there_is_nothing_of_the_host(perform: Any) -> None:
    said = perform("surroundings")
    assert said["pid"] == 1
    assert said["devices"] == ["lo"]
    assert said["/run"] == []
    assert said["processes"] <= 2


def test_the_exit_code_is_that_of_the_play(begin: Callable[..., Any]) -> None:
    assert begin(play="surroundings", code=7).process.wait(timeout=20) == 7


def test_an_error_of_ours_is_one_line_and_exit_code_1(begin: Callable[..., Any]) -> None:
    began = begin(play="surroundings", error="no wire")
    assert began.process.communicate(timeout=20)[0] == "nodeipam-ctl: no wire\n"
    assert began.process.returncode == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGHUP, 129, id="the terminal is closed"),
        pytest.param(signal.SIGKILL, -9, id="kill -9"),
    ],
)
def test_nothing_is_left_after_a_signal(begin: Callable[..., Any], number: signal.Signals, code: int) -> None:
    began = begin(play="surroundings", hold=True)
    began.read_until("holding")
    spaces = began.namespaces()
    assert len(spaces) >= 4, "the play has namespaces of its own"
    began.process.send_signal(number)
    assert began.process.wait(timeout=10) == code
    began.assert_nothing_is_left(spaces)


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_nothing_is_left_when_killed_while_starting(begin: Callable[..., Any], after_s: float) -> None:
    began = begin(play="two_machines", hold=True)
    time.sleep(after_s)  # not timing: any moment will do, these are five different ones
    spaces = began.namespaces()
    began.process.kill()
    began.assert_nothing_is_left(spaces)


def test_nothing_is_left_when_the_inside_is_killed(begin: Callable[..., Any]) -> None:
    began = begin(play="two_machines", hold=True)
    began.read_until("holding")
    spaces = began.namespaces()
    inside = next(pid for pid in began.processes() if _pid_inside(pid) == 1)
    os.kill(inside, signal.SIGKILL)
    assert began.process.wait(timeout=10) != 0  # 137, or 1 with util-linux 2.38, which cannot pass SIGKILL on
    began.assert_nothing_is_left(spaces)


def test_a_second_signal_ends_an_inside_that_is_stuck(begin: Callable[..., Any]) -> None:
    began = begin(play="surroundings", hold=True, stuck=True)
    began.read_until("holding")
    spaces = began.namespaces()
    began.process.send_signal(signal.SIGTERM)
    began.process.send_signal(signal.SIGINT)
    assert began.process.wait(timeout=sandbox.GRACE_S - 1) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    began.assert_nothing_is_left(spaces)


def test_two_at_once_do_not_meet(begin: Callable[..., Any]) -> None:
    both = [begin(play="two_machines", hold=True) for _ in range(2)]
    for began in both:
        began.read_until("holding")
    one, two = (began.namespaces() for began in both)
    assert not one & two
    both[0].process.kill()
    both[0].assert_nothing_is_left(one)
    assert both[1].namespaces() == two, "the other one goes on"


def test_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sandbox._TOOLS, "no-such-tool", "its-package")
    with pytest.raises(
        sandbox.CannotRun, match=r"missing no-such-tool: run `apt-get install its-package` as root"
    ):
        sandbox.require_tools()


def test_says_what_to_do_in_a_container_without_privileges() -> None:
    argv = ["setpriv", "--bounding-set", "-sys_admin", sys.executable, "-m", "nodeipam_ctl", "demo"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("nodeipam-ctl: the kernel refuses new namespaces to root here (unshare: ")
    assert done.stderr.endswith("Run it with --privileged\n")
    assert done.stderr.count("\n") == 1


def test_says_what_to_do_when_non_root_gets_no_user_namespace() -> None:
    # In a chroot the kernel refuses user namespaces (user_namespaces(7)). The capability is for reading this tree, wherever it is.
    who = "--reuid 65534 --regid 65534 --clear-groups --inh-caps -all,+dac_read_search --ambient-caps +dac_read_search"
    script = (
        f"mount --rbind / /mnt && exec chroot /mnt setpriv {who} -- {sys.executable} -m nodeipam_ctl demo"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.startswith("nodeipam-ctl: the kernel refuses user namespaces to non-root (")
    assert done.stderr.endswith("run it as root\n")
    assert done.stderr.count("\n") == 1


def _pid_inside(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid"))
    except OSError:
        return 0
