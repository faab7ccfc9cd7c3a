"""Real programs against our server: how the tests start them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nodeipam_ctl.demo.apiserver import ApiServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """The kubectl on PATH, pointed at one server, with a home of its own.

    The server speaks TLS: client-go drops every credential on plain HTTP.
    """

    binary: str
    home: Path

    @classmethod
    def at(cls, server: ApiServer, home: Path) -> Kubectl:
        binary = shutil.which("kubectl")
        assert binary, "kubectl is not installed: apt-get install kubernetes-client"
        server.write_kubeconfig(home / "kubeconfig")
        return cls(binary=binary, home=home)

    async def __call__(self, *arguments: str, stdin: str = "", ok: bool = True) -> Ran:
        async with self.running(*arguments) as process, asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        ran = Ran(code=process.returncode or 0, out=out.decode(), err=err.decode())
        assert not ok or ran.code == 0, f"kubectl {' '.join(arguments)}: {ran.err}"
        return ran

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A kubectl that keeps running, such as a watch."""
        environment = {
            "HOME": str(self.home),
            "KUBECONFIG": str(self.home / "kubeconfig"),
            "PATH": os.environ["PATH"],
        }
        process = await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                # Reads what is left as well, so that no pipe outlives the test.
                await process.communicate()


def node(name: str, **labels: str) -> dict[str, object]:
    """A small Node."""
    addresses = [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": name}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"addresses": addresses},
    }
