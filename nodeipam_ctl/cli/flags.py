"""What does a flag look like, and which ones do several commands have?

Every flag is also an environment variable: `--node-name` is NODEIPAM_NODE_NAME. A flag of one command alone stands with it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.prefixes import Network, parse_network
from nodeipam_ctl.settings import ENVIRONMENT_PREFIX, AgentSettings

_LOCAL_TABLE = 255
_AGENT = AgentSettings(node_name="")

F = TypeVar("F", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A number within bounds; click's own range lets `nan` through, and `inf` where it has no upper bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """For click."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


class TableRange(click.IntRange):
    """A number of a routing table; not `local`, where the kernel keeps what it delivers to this host itself."""

    def __init__(self) -> None:
        super().__init__(1, 2**32 - 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """For click."""
        number: int = super().convert(value, param, ctx)
        if number == _LOCAL_TABLE:
            self.fail(f"{number} is the kernel's own table local; 254 is main.", param, ctx)
        return number


class _Named(click.Path):
    """A name in the file system; empty, as from an unset variable of a script, would otherwise be the working directory."""

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """For click."""
        if not os.fspath(value):
            self.fail(f"the name is empty; give a {self.name}, or leave the flag out.", param, ctx)
        return super().convert(value, param, ctx)


class NamedFile(_Named):
    """A file, which need not be there."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)


class NamedDirectory(_Named):
    """A directory, which need not be there."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)


def flag(name: str, **attributes: Any) -> Callable[[F], F]:
    """A click option with its environment variable, shown in --help.

    `name` is the long form, also in click's `--on/--off` spelling, of which the first half names the variable.
    """
    variable = f"{ENVIRONMENT_PREFIX}_{name.split('/', maxsplit=1)[0].lstrip('-').replace('-', '_').upper()}"
    attributes.setdefault("show_default", True)
    return click.option(name, envvar=variable, show_envvar=True, **attributes)


def network_flag(name: str, **attributes: Any) -> Callable[[F], F]:
    """A flag with ranges, tuple[Network, ...]: given several times, or once with commas, as kube-apiserver's is."""
    return flag(
        name, multiple=True, callback=_networks, metavar="CIDR[,CIDR]", show_default=False, **attributes
    )


def _networks(
    _context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[Network, ...]:
    try:
        return tuple(parse_network(part.strip()) for text in texts for part in text.split(","))
    except ValueError as exc:
        raise UsageError(f"{parameter.opts[0]}: {exc}") from exc


kubeconfig = flag(
    "--kubeconfig",
    type=NamedFile(),
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


service_cidr = network_flag(
    "--service-cidr",
    help="A range of Services that no node may have, beside those of ServiceCIDR objects; may be repeated.",
)

# What the agent leaves on its host, and `cleanup` looks for in the same places.
cni_conf_dir = flag(
    "--cni-conf-dir",
    type=NamedDirectory(),
    default=_AGENT.cni_conf_dir,
    help="Where the runtime looks for CNI configuration.",
)
route_table = flag(
    "--route-table",
    type=TableRange(),
    default=_AGENT.route_table,
    help="Table of our routes; 254 is main.",
)
vxlan_vni = flag(
    "--vxlan-vni",
    type=click.IntRange(0, 2**24 - 1),
    default=_AGENT.vxlan_vni,
    help="VXLAN network identifier.",
)
state_dir = flag(
    "--state-dir",
    type=NamedDirectory(),
    default=_AGENT.state_dir,
    help="Where the WireGuard key is kept.",
)
subnet_env = flag(
    "--subnet-env",
    type=NamedFile(),
    help="Where our values for flannel's CNI plugin are written, usually /run/flannel/subnet.env.",
)
docker_opts = flag(
    "--docker-opts",
    type=NamedFile(),
    help="Where options for dockerd are written, as an environment file for its unit.",
)


def object_name(option: str, text: str) -> str:
    """A Kubernetes object name (RFC 1123 subdomain), as it was given for an option.

    Raises:
        UsageError: it is none.
    """
    parts = text.split(".")
    good = len(text) <= 253 and all(
        part
        and part.isascii()
        and part.replace("-", "").isalnum()
        and part == part.lower()
        and part.strip("-") == part
        for part in parts
    )
    if not good:
        raise UsageError(
            f"{option}: {text!r} is not an object name; use lower case letters, digits, '-' and '.'"
        )
    return text
