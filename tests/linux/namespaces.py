"""A few hosts on one wire, for tests of the real kernel: network namespaces that die with the process that made them.

Nothing has a name in /run/netns: a sleeping child holds each namespace and is killed by the kernel when its parent dies, so that
even `kill -9` of the test leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from tests.patience import PATIENCE

_CLONE_NEWNET = 0x40000000
_DYING = ("setpriv", "--pdeathsig", "KILL")
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """One network namespace, with `lo` up."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [*_DYING, "unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    @property
    def pid(self) -> int:
        return self._holder.pid

    def inside(self, *command: str) -> list[str]:
        """A command line that runs in here."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command]

    def run(self, *command: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs a command in here and gives its output; its error text is part of the failure."""
        done = subprocess.run(
            self.inside(*command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30 * PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def sh(self, script: str) -> str:
        """Runs a shell script in here, stopping at the first failure."""
        return self.run("sh", "-euc", script)

    def ip(self, *arguments: str) -> Any:
        """`ip -j ...` as data."""
        text = self.run("ip", "-j", "-d", *arguments)
        return json.loads(text) if text.strip() else []

    def routes(self) -> list[str]:
        """Our routes of both families as `ip route` prints them, sorted."""
        lines = (
            self.run("ip", "-4", "route", "show", "proto", "112")
            + self.run("ip", "-6", "route", "show", "proto", "112")
        ).splitlines()
        return sorted(" ".join(line.split()) for line in lines)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in here meanwhile; sockets it opens stay here afterwards."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        inside = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            _setns(inside)
            try:
                yield
            finally:
                _setns(before)
        finally:
            os.close(before)
            os.close(inside)


class Segment:
    """A switch in a namespace of its own; hosts are attached with an `eth0` each."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.switch = self._stack.enter_context(Namespace())
        self.switch.sh("ip link add br0 type bridge; ip link set br0 up")
        self._ports = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def host(self, *addresses: str) -> Namespace:
        """A new host on the segment: `host("192.0.2.11/24", "fd00:10::11/64")`."""
        made = self._stack.enter_context(Namespace())
        self.attach(made, "eth0", *addresses)
        return made

    def attach(self, host: Namespace, device: str, *addresses: str) -> None:
        """Gives a host another device on the segment."""
        self._ports += 1
        port = f"p{self._ports}"
        self.switch.sh(
            f"ip link add {port} type veth peer name {device} netns {host.pid}; ip link set {port} master br0 up"
        )
        # No duplicate address detection: addresses are usable at once.
        host.sh(f"sysctl -qw net.ipv6.conf.{device}.accept_dad=0; ip link set {device} up")
        for address in addresses:
            host.run("ip", "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))


def python(namespace: Namespace, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A Python process in a namespace, which dies with the test."""
    return subprocess.Popen(
        [*_DYING, *namespace.inside(sys.executable, *arguments)],
        text=True,
        cwd=Path(__file__).parents[2],
        **options,
    )


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
