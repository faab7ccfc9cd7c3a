"""How does `nodeipam-ctl install-cni` read its flags?"""

from __future__ import annotations

from pathlib import Path

import click

from nodeipam_ctl.cli.flags import NamedDirectory, flag


@click.command("install-cni")
@flag(
    "--cni-plugin-source",
    type=NamedDirectory(),
    default="/usr/lib/cni",
    help="Where the plug-ins are; Debian's containernetworking-plugins puts them here.",
)
@flag(
    "--cni-bin-dir",
    type=NamedDirectory(),
    default="/opt/cni/bin",
    help="Where the runtime looks for them, on the host.",
)
@flag(
    "--cni-plugins",
    default="ptp,bridge,host-local,portmap,loopback",
    help="Which are copied, separated by commas.",
)
def command(*, cni_plugin_source: Path, cni_bin_dir: Path, cni_plugins: str) -> int:
    """Copy CNI plug-ins to the host, for an init container. What is there already is left alone."""
    from nodeipam_ctl.linux.plugins import install

    names = tuple(name.strip() for name in cni_plugins.split(",") if name.strip())
    written = install(cni_plugin_source, cni_bin_dir, names)
    print(f"{cni_bin_dir}: {', '.join(written)} written" if written else f"{cni_bin_dir}: up to date")
    return 0
