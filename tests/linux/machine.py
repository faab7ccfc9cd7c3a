"""A host of its own for tests: network, mounts and processes. What it starts in the background ends with it, even after `kill -9`.

Programs whose sockets have fixed places below /run (wireguard-go) can then run on several hosts at a time.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.linux.namespaces import Namespace
from tests.patience import PATIENCE

_START = "ip link set lo up; mount -t tmpfs tmpfs /run; echo ready; exec sleep infinity"


class Machine(Namespace):
    """Namespaces of all three kinds, with `lo` up and an empty /run.

    Its first process dies with `unshare`, which dies with the test; the kernel then kills every process in it.
    """

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
                *("sh", "-euc", _START),
            ],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in here; the process that is seen outside is nsenter's."""
        spaces = {"net": "net", "mount": "mnt", "pid": "pid_for_children"}
        return [
            "nsenter",
            *(f"--{option}=/proc/{self.pid}/ns/{name}" for option, name in spaces.items()),
            "--",
            *command,
        ]


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM, timeout_s: float = 5.0) -> None:
    """Ends what nsenter runs: nsenter itself passes no signals on."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), number)
    process.wait(timeout_s * PATIENCE)
