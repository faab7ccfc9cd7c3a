"""How does `nodeipam-ctl cleanup` read its flags, and what does it print?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nodeipam_ctl.cli import flags
from nodeipam_ctl.cli.flags import flag
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.settings import AgentSettings


@click.command("cleanup")
@flag(
    "--cni-conf-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default="/etc/cni/net.d",
    help="Where the runtime looks for CNI configuration.",
)
@flag("--route-table", type=flags.TableRange(), default=254, help="Table of our routes; 254 is main.")
@flag(
    "--vxlan-vni",
    type=click.IntRange(0, 2**24 - 1),
    default=1,
    help="VXLAN network identifier that was used.",
)
@flag(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default="/var/lib/nodeipam",
    help="Where the WireGuard key is kept.",
)
@flag(
    "--subnet-env",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file for flannel's CNI plugin, if the agent wrote one.",
)
@flag(
    "--docker-opts",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file with options for dockerd, if the agent wrote one.",
)
@flag("--yes", is_flag=True, help="Do not ask.")
def command(
    *,
    cni_conf_dir: Path,
    route_table: int,
    vxlan_vni: int,
    state_dir: Path,
    subnet_env: Path | None,
    docker_opts: Path | None,
    yes: bool,
) -> int:
    """Remove what the agent made on this host: routes, devices, keys, masquerade, CNI configuration. Nothing of anybody else's."""
    from nodeipam_ctl.agent.app import open_host  # aiohttp: not for --help
    from nodeipam_ctl.agent.cleanup import removal_plan, remove

    settings = AgentSettings(
        node_name="",
        cni_conf_dir=cni_conf_dir,
        route_table=route_table,
        vxlan_vni=vxlan_vni,
        state_dir=state_dir,
        subnet_env=subnet_env,
        docker_opts=docker_opts,
    )
    with open_host(settings) as host:
        plan = removal_plan(host, settings)
        if not plan:
            print("nothing of ours is on this host")
            return 0
        for change in plan.changes:
            print(change)
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("cleanup asks before it removes: run it on a terminal, or with --yes")
            click.confirm(f"Remove these {len(plan)} objects?", abort=True)
        outcome = remove(host, plan)
    for change, error in outcome.failed:
        print(f"failed: {change}: {error}", file=sys.stderr)
    print(f"removed {len(outcome.done)} objects")
    return 1 if outcome.failed else 0
