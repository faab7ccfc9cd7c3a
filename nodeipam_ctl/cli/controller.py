"""`nodeipam-ctl controller`: which flags does the controller have?"""

from __future__ import annotations

from pathlib import Path

import click

from nodeipam_ctl.cli import flags
from nodeipam_ctl.cli.flags import FiniteRange, flag, object_name
from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.prefixes import Network
from nodeipam_ctl.settings import ControllerSettings, LeaseSettings

_DEFAULT = ControllerSettings()


@click.command(name="controller", context_settings={"show_default": True})
@flags.kubeconfig
@flag(
    "--leader-elect/--no-leader-elect",
    default=True,
    help="Hold a Lease while acting; off only for one replica.",
)
@flag("--lease-namespace", default=_DEFAULT.lease.namespace, help="Namespace of the Lease.")
@flag("--lease-name", default=_DEFAULT.lease.name, help="Name of the Lease.")
@flag(
    "--identity",
    default="",
    show_default="host name and a random part",
    help="Who holds the Lease; unique per process.",
)
@flag(
    "--metrics-address",
    default=_DEFAULT.metrics_address,
    help="HOST:PORT of /metrics, /healthz and /readyz; port 0 takes a free one; empty serves none.",
)
@flag(
    "--batch-window",
    type=FiniteRange(0, 5),
    default=_DEFAULT.batch_window_s,
    help="Seconds between two batches of nodes; one node alone does not wait.",
)
@flags.service_cidr
@flag("--allocate/--no-allocate", default=True, help="off: only mirror foreign podCIDRs into the ledger.")
@flag(
    "--ledger/--no-ledger",
    default=True,
    help="off: patch nodes without writing the promise first. For measurements only: two leaders may then give one block twice.",
)
@flags.log_format
@flags.log_level
def command(
    *,
    kubeconfig: Path | None,
    leader_elect: bool,
    lease_namespace: str,
    lease_name: str,
    identity: str,
    metrics_address: str,
    batch_window: float,
    service_cidr: tuple[Network, ...],
    allocate: bool,
    ledger: bool,
    log_format: str,
    log_level: str,
) -> int:
    """Assign podCIDRs to nodes: one leader per cluster, any number of standbys."""
    settings = ControllerSettings(
        kubeconfig=kubeconfig,
        leader_elect=leader_elect,
        lease=LeaseSettings(
            namespace=object_name("--lease-namespace", lease_namespace),
            name=object_name("--lease-name", lease_name),
        ),
        identity=_identity(identity),
        metrics_address=metrics_address or None,
        batch_window_s=batch_window,
        service_cidrs=service_cidr,
        allocate=allocate,
        ledger=ledger,
        log_format=log_format,
        log_level=log_level,
    )
    from nodeipam_ctl.controller.app import main  # kopf comes with it: --help does without
    from nodeipam_ctl.telemetry.logs import set_up

    set_up(log_format=log_format, log_level=log_level)
    return main(settings)


def _identity(text: str) -> str:
    """What can stand in a Lease's holderIdentity, a log line and a User-Agent."""
    if len(text) > 253 or not text.isprintable():
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise UsageError(
            f"--identity: {shown!r} is not a name for this process; use at most 253 printable characters, as of a host name"
        )
    return text
