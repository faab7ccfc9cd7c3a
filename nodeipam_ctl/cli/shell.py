"""What do the commands at an operator's shell share? Which API server they talk to, as kubectl has it, and their flags."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from nodeipam_ctl.cli.flags import NamedFile, flag
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.settings import ENVIRONMENT_PREFIX

T = TypeVar("T")

kubeconfig = flag(
    "--kubeconfig",
    type=NamedFile(),
    show_default="$KUBECONFIG, then ~/.kube/config, then the Pod's service account",
    help="How to reach the API server.",
)
output = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    envvar=f"{ENVIRONMENT_PREFIX}_OUTPUT",
    show_envvar=True,
    help="How the answer is written.",
)


def find_kubeconfig(given: Path | None, environment: Mapping[str, str], *, home: Path) -> Path | None:
    """Which kubeconfig to read; None stands for the Pod's service account.

    Raises:
        UsageError: $KUBECONFIG names several files, which kubectl would merge.
    """
    if given is not None:
        return given
    named = [Path(name) for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    if len(named) > 1:
        named = [file for file in named if file.exists()] or named[:1]
        if len(named) > 1:
            raise UsageError(
                "KUBECONFIG names several files; write them into one with kubectl config view --flatten --raw "
                "and give it with --kubeconfig"
            )
    if named:
        return named[0]
    usual = home / ".kube" / "config"
    return usual if usual.exists() else None


def run(kubeconfig: Path | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """Asks the API server and returns the answer; nothing is left open.

    Raises:
        NodeIPAMError: from the kubeconfig, the connection or the server.
    """
    from nodeipam_ctl.telemetry.logs import set_up

    set_up(log_level="warning")
    file = find_kubeconfig(kubeconfig, os.environ, home=Path.home())
    return asyncio.run(_run(file, question))


async def _run(file: Path | None, question: Callable[[Client], Awaitable[T]]) -> T:
    from nodeipam_ctl.kube.auth import load

    async with Client(await load(file), component="nodeipam-ctl") as client:
        return await question(client)
