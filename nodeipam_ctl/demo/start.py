"""What happens when somebody types `nodeipam-ctl demo`? The story in a sandbox, or the API server alone in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeipam_ctl.demo import sandbox
from nodeipam_ctl.demo.apiserver import ApiServer
from nodeipam_ctl.demo.control import crd_dir
from nodeipam_ctl.demo.kubeconfigfile import KubeconfigFile
from nodeipam_ctl.errors import UsageError

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """What can be set.

    Attributes:
        pods: on each node.
        port: of the API server on the host's loopback; 0 lets the kernel choose.
        kubeconfig_out: where to write a kubeconfig for it.
        rbac: the API server alone honours Roles, over TLS.
    """

    nodes: int = 4
    pods: int = 2
    keep: bool = False
    port: int = 0
    kubeconfig_out: Path | None = None
    rbac: bool = False


def show(settings: DemoSettings) -> int:
    """Plays the whole story in namespaces of its own; the exit code.

    Raises:
        CannotRun: this machine lacks something; the message says what, and how to get it.
        UsageError: the port is taken or the file cannot be written.
    """
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(settings.port))
        inherit = [listening.fileno()]
        out = None
        if settings.kubeconfig_out is not None:
            out = KubeconfigFile.at(settings.kubeconfig_out)
            stack.callback(out.remove)
            inherit.append(out.directory)
        request = {
            "nodes": settings.nodes,
            "pods": settings.pods,
            "keep": settings.keep,
            "socket": listening.fileno(),
            "kubeconfig_out": out.to_hand_over() if out else None,
            "as_root": os.geteuid() == 0,
        }
        code = sandbox.run([sys.executable, "-m", "nodeipam_ctl.demo.story"], request, inherit=inherit)
    if code > 128:
        print(f"stopped by {signal.Signals(code - 128).name}; nothing is left behind", file=sys.stderr)
        if settings.keep and code - 128 == signal.SIGINT:
            return 0  # how a kept demo is meant to end
    return code


def serve_api(settings: DemoSettings) -> int:
    """Runs only the API server, on the host's loopback, until SIGINT or SIGTERM; the exit code.

    Raises:
        UsageError: the port is taken or the file cannot be written.
    """
    with ExitStack() as stack:
        out = None
        if settings.kubeconfig_out is not None:
            out = KubeconfigFile.at(settings.kubeconfig_out)
            stack.callback(out.remove)
        asyncio.run(_serve(settings, out))
    return 0


async def _serve(settings: DemoSettings, out: KubeconfigFile | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = ApiServer(
        port=settings.port,
        crd_dir=crd_dir(),
        rbac=settings.rbac,
        tls=settings.rbac,
        unsecured=not settings.rbac,
    )
    try:
        await server.start()
    except OSError as exc:
        raise _taken(settings.port, exc) from exc
    try:
        if out is None:
            print(server.kubeconfig(), flush=True)
        else:
            out.write(server.kubeconfig())
            print(f"{server.url}: kubectl --kubeconfig {settings.kubeconfig_out} get nodes,ccidr", flush=True)
        await stop.wait()
    finally:
        await server.stop()


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((_LOOPBACK, port), backlog=1024)
    except OSError as exc:
        raise _taken(port, exc) from exc


def _taken(port: int, exc: OSError) -> UsageError:
    return UsageError(
        f"--port {port}: {os.strerror(exc.errno or 0)}; name a free one, or 0 to have one chosen"
    )
