"""How does `nodeipam-ctl demo` read its flags?"""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from nodeipam_ctl.cli.flags import NamedFile, flag
from nodeipam_ctl.errors import UsageError


@click.command("demo")
@flag("--nodes", type=click.IntRange(2, 64), default=4, help="How many nodes there are.")
@flag("--pods", type=click.IntRange(1, 50), default=2, help="How many pods each node runs.")
@flag("--keep", is_flag=True, help="Leave it running until Ctrl-C and say what to try.")
@flag("--api-only", is_flag=True, help="Run only the API server, with the CRDs, until Ctrl-C; needs no root.")
@flag(
    "--rbac",
    is_flag=True,
    help="With --api-only: honour Roles and ServiceAccounts, over TLS, because kubectl shows its token to nobody else.",
)
@flag(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="The API server's port on 127.0.0.1; 0 lets the kernel choose.",
)
@flag(
    "--kubeconfig-out",
    type=NamedFile(),
    help="Write a kubeconfig here while it runs; --api-only prints it otherwise.",
)
@click.pass_context
def command(
    context: click.Context,
    *,
    nodes: int,
    pods: int,
    keep: bool,
    api_only: bool,
    rbac: bool,
    port: int,
    kubeconfig_out: Path | None,
) -> int:
    """Show the whole road on this machine: API server, controller, nodes, routes, pods that ping.

    It takes no device, address, file or process of this host, and leaves none.
    """
    _check_combination(context, api_only=api_only, rbac=rbac)
    from nodeipam_ctl.demo.start import DemoSettings, serve_api, show  # aiohttp, CEL: not for other commands

    settings = DemoSettings(
        nodes=nodes, pods=pods, keep=keep, port=port, kubeconfig_out=kubeconfig_out, rbac=rbac
    )
    return serve_api(settings) if api_only else show(settings)


def _check_combination(context: click.Context, *, api_only: bool, rbac: bool) -> None:
    if rbac and not api_only:
        raise UsageError("--rbac goes with --api-only; the demo's own programs are all administrators")
    given = [
        f"--{name}"
        for name in ("nodes", "pods", "keep")
        if api_only and context.get_parameter_source(name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise UsageError(
            f"--api-only starts no nodes or pods and runs until Ctrl-C: leave out {' and '.join(given)}"
        )
