"""What does a flag look like? Every flag is also an environment variable: `--node-name` is NODEIPAM_NODE_NAME."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nodeipam_ctl.settings import ENVIRONMENT_PREFIX

F = TypeVar("F", bound=Callable[..., Any])


def flag(name: str, **attributes: Any) -> Callable[[F], F]:
    """A click option with its environment variable, shown in --help.

    `name` is the long form, also in click's `--on/--off` spelling, of which the first half names the variable.
    """
    variable = f"{ENVIRONMENT_PREFIX}_{name.split('/', maxsplit=1)[0].lstrip('-').replace('-', '_').upper()}"
    attributes.setdefault("show_default", True)
    return click.option(name, envvar=variable, show_envvar=True, **attributes)


kubeconfig = flag(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How to reach the API server; without it, the service account of the Pod.",
)
log_format = flag(
    "--log-format",
    type=click.Choice(["auto", "json", "console"]),
    default="auto",
    help="auto: console on a terminal, JSON elsewhere.",
)
log_level = flag(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="The least that is logged.",
)
