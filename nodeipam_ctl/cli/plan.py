"""`nodeipam-ctl plan`: how many more nodes fit, when is a ClusterCIDR full, and what would a changed one do?"""

from __future__ import annotations

from pathlib import Path

import click

from nodeipam_ctl.cli import flags, plan_view, shell
from nodeipam_ctl.cli.flags import flag
from nodeipam_ctl.cli.manifests import read_files
from nodeipam_ctl.cli.render import finding_document, show
from nodeipam_ctl.cli.snapshot import Snapshot, read
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.ipam.forecast import GROWTH_WINDOW_S, Outlook, allocator_of, outlooks
from nodeipam_ctl.ipam.groups import Group, groups
from nodeipam_ctl.ipam.preview import preview
from nodeipam_ctl.kube.wire.duration import duration_s
from nodeipam_ctl.prefixes import Network


@click.command("plan")
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="FILE",
    help="ClusterCIDRs that are changed or new: show what applying them would do; - is standard input; may be repeated.",
)
@flag(
    "--window",
    default=f"{GROWTH_WINDOW_S / 3600:.0f}h",
    help="How far back the present growth is looked for.",
)
@shell.kubeconfig
@shell.output
@flags.service_cidr
def command(
    *,
    files: tuple[str, ...],
    window: str,
    kubeconfig: Path | None,
    output: str,
    service_cidr: tuple[Network, ...],
) -> int:
    """Say how many more nodes fit and until when; with -f, what changed ClusterCIDRs would do. Reads only."""
    window_s = _window(window)
    wanted = read_files(files)
    snapshot = shell.run(kubeconfig, lambda client: read(client, service_cidr))
    world = snapshot.world()
    if wanted:
        seen = preview(world, wanted, snapshot.pages, snapshot.now_s)
        show(output, plan_view.preview_document(seen), lambda: plan_view.preview_text(seen))
        return 0
    futures = outlooks(world, snapshot.now_s, window_s=window_s)
    alike = _groups(snapshot, futures)
    pools = plan_view.pool_documents(snapshot.pools, futures, snapshot.now_s)
    document = {
        "windowSeconds": window_s,
        "clusterCIDRs": pools,
        "groups": [plan_view.group_document(group) for group in alike],
        "problems": [finding_document(finding) for finding in snapshot.problems],
    }
    show(
        output,
        document,
        lambda: plan_view.outlook_text(snapshot.pools, futures, alike, snapshot.problems, window_s=window_s),
    )
    return 0


def _groups(snapshot: Snapshot, futures: tuple[Outlook, ...]) -> tuple[Group, ...]:
    allocator = allocator_of(snapshot.world(), snapshot.now_s)
    return groups(allocator, snapshot.nodes, {outlook.pool: outlook.fits for outlook in futures})


def _window(text: str) -> float:
    try:
        window_s = duration_s(text)
    except ValueError as exc:
        raise UsageError(f"--window: {exc}") from exc
    if window_s <= 0:
        raise UsageError(f"--window: {text!r} is no time at all; write it like 24h")
    return window_s
