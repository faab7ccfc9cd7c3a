"""How does `nodeipam-ctl cleanup` read its flags, and what does it print?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nodeipam_ctl.cli import flags
from nodeipam_ctl.cli.flags import flag
from nodeipam_ctl.cli.render import many
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.settings import AgentSettings


@click.command("cleanup")
@flags.cni_conf_dir
@flags.route_table
@flags.vxlan_vni
@flags.state_dir
@flags.subnet_env
@flags.docker_opts
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
    from nodeipam_ctl.agent.cleanup import removal_plan, remove
    from nodeipam_ctl.agent.surroundings import open_host  # not for --help

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
            click.confirm(f"Remove {many(len(plan), 'object')}?", abort=True)
        outcome = remove(host, plan)
    for change, error in outcome.failed:
        print(f"failed: {change}: {error}", file=sys.stderr)
    print(f"removed {many(len(outcome.done), 'object')}")
    return 1 if outcome.failed else 0
