"""How does the demo live on a machine without touching it? In namespaces that nothing but its own processes holds.

::

    nodeipam-ctl demo            this process: waits, and holds one end of the lifeline (a pipe)
    └─ setpriv, then unshare     dies with its parent (PR_SET_PDEATHSIG)
       └─ nodeipam_ctl.demo.inside   PID 1 of a new PID namespace, in new network and mount namespaces;
          └─ agents, pods …          dies with its parent, and sees the end of the lifeline

When PID 1 of a PID namespace ends, the kernel kills every other process in it; when the last process ends, its
network and mount namespaces go, and with them every device, route, rule, mount and tmpfs file. So there is no clean-up
code to get wrong: to end is to clean up, also after SIGKILL. Nothing has a name on the host, so two demos never meet.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from nodeipam_ctl.errors import NodeIPAMError

GRACE_S = 5
"""How long the inside may take to end after the lifeline was cut, before it is killed; in seconds."""

_TOOLS = {
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "ping": "iputils-ping",
    "iptables": "iptables",
}
_PLUGINS = ("ptp", "host-local", "portmap")
_PLUGIN_DIRS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_KERNEL_SWITCHES = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
)


class CannotRun(NodeIPAMError):
    """This machine lacks something the demo needs; the message says what, and how to get it."""


def run(argv: Sequence[str], request: Mapping[str, Any], *, inherit: Sequence[int] = ()) -> int:
    """Runs a command inside new namespaces and returns its exit code; 128 + N after signal N.

    Args:
        argv: the command; it runs as root (of a user namespace when we are not root) and ends in `inside.main`.
        request: its settings, as JSON on its standard input, with `host_pid` added: the process whose `/proc/PID/root`
            and `/proc/PID/ns` show the inside to the host.
        inherit: file descriptors to hand on, such as sockets that listen on the host's loopback.

    Raises:
        CannotRun: a tool is missing or the kernel refuses the namespaces.
    """
    require_tools()
    require_namespaces()
    stopped_by: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, _frame: FrameType | None = None) -> None:
        stopped_by.append(number)
        if process is None:
            return
        if process.stdin and not process.stdin.closed:
            process.stdin.close()  # the inside sees the end of its lifeline and ends
            signal.alarm(GRACE_S)
        else:
            process.kill()  # a second Ctrl-C, or the alarm

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.signal(number, stop) for number in watched}
    try:
        process = subprocess.Popen(
            [*_prefix(), *argv],
            stdin=subprocess.PIPE,
            pass_fds=inherit,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for this process: it cuts the lifeline
        )
        _tell(process, {**request, "host_pid": process.pid})
        if stopped_by:
            stop(stopped_by.pop())  # it came while `process` was still None
        code = process.wait()
        if not stopped_by:
            return code if code >= 0 else 128 - code
    finally:
        signal.alarm(0)
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 + stopped_by[0]


def plugin_dir() -> Path | None:
    """Where the CNI plug-ins are; None when they are not installed."""
    return next((d for d in _PLUGIN_DIRS if all((d / name).exists() for name in _PLUGINS)), None)


def require_tools() -> None:
    """Checks that every program the demo runs is there.

    Raises:
        CannotRun: names each missing program, its Debian package and the command that installs them.
    """
    path = _environment()["PATH"]
    missing = {tool: package for tool, package in _TOOLS.items() if not shutil.which(tool, path=path)}
    if plugin_dir() is None:
        missing["the CNI plug-ins ptp, host-local and portmap"] = "containernetworking-plugins"
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise CannotRun(
            f"missing {', '.join(missing)}: run `apt-get install {packages}` as root and start again"
        )


def require_namespaces() -> None:
    """Checks that the kernel lets us have namespaces of our own, as root or in a user namespace.

    Raises:
        CannotRun: with the kernel's own words, the switch that forbids it where there is one, and what to do.
    """
    probe = [*_prefix(), "mount", "-t", "tmpfs", "tmpfs", "/run"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    if os.geteuid() == 0:
        raise CannotRun(
            f"the kernel refuses new namespaces to root here ({said}): is this a container? Run it with --privileged"
        )
    for name, refusing, allowing in _KERNEL_SWITCHES:
        file = Path("/proc/sys") / name.replace(".", "/")
        if file.exists() and file.read_text().strip() == refusing:
            raise CannotRun(
                f"the kernel refuses user namespaces to non-root ({name}={refusing}: {said}): "
                f"run it as root, or allow them with `sudo sysctl -w {name}={allowing}`"
            )
    raise CannotRun(f"the kernel refuses user namespaces to non-root ({said}): run it as root")


def _prefix() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    spaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--mount-proc"]
    return [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        *user,
        *spaces,
        "--fork",
        "--kill-child=KILL",
        "--",
    ]


def _environment() -> dict[str, str]:
    # A user's PATH on Debian has no sbin, where ip and iptables are.
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {**os.environ, "PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


def _tell(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    except (BrokenPipeError, ValueError):
        pass  # it ended already, or a signal closed the lifeline: wait() says how
