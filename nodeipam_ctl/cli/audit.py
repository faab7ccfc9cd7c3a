"""`nodeipam-ctl audit`: what is wrong with this cluster's pod addressing, and what can be done about it?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import click

from nodeipam_ctl.cli import flags, shell
from nodeipam_ctl.cli.render import Document, finding_document, findings_table, many, show
from nodeipam_ctl.cli.snapshot import Snapshot, read
from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.kube.client import Client
from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.prefixes import Network

_OF_TWO_READINGS = frozenset({"LineWithoutNode", "StaleLine", "NoLedgerLine", "LineOfAnother", "NotServed"})
"""Codes that compare collections which are read one after the other: a node that came or went between looks like them."""

_OF_OUR_DECISIONS = frozenset({"NodeWaiting", "NotServed"})
_NOT_OURS = "the controller runs with --no-allocate: see to the allocator that does serve nodes, or start ours without that flag"

Reading = Callable[[Client, tuple[Network, ...]], Awaitable[Snapshot]]


@click.command("audit")
@shell.kubeconfig
@shell.output
@flags.service_cidr
def command(*, kubeconfig: Path | None, output: str, service_cidr: tuple[Network, ...]) -> int:
    """List everything that is wrong with ClusterCIDRs, nodes and ledger. Exit code 1 if there is an error. Reads only."""
    snapshot, findings = shell.run(kubeconfig, lambda client: look(client, service_cidr))
    errors = sum(1 for finding in findings if finding.severity is Severity.ERROR)
    show(output, _document(snapshot, findings, errors), lambda: _text(snapshot, findings, errors))
    return 1 if errors else 0


async def look(
    client: Client, services: tuple[Network, ...], *, reading: Reading = read
) -> tuple[Snapshot, tuple[Finding, ...]]:
    """The findings; those that may come from reading a moving cluster only if a second reading shows them too."""
    snapshot = await reading(client, services)
    findings = _findings(snapshot)
    if any(finding.code in _OF_TWO_READINGS for finding in findings):
        seen = {(finding.code, finding.subject) for finding in findings}
        snapshot = await reading(client, services)
        findings = tuple(
            finding
            for finding in _findings(snapshot)
            if finding.code not in _OF_TWO_READINGS or (finding.code, finding.subject) in seen
        )
    return snapshot, findings


def _findings(snapshot: Snapshot) -> tuple[Finding, ...]:
    found = [*snapshot.problems, *audit(snapshot.world(), snapshot.pages, snapshot.now_s)]
    if snapshot.mirrors:
        found = [replace(f, remedy=_NOT_OURS) if f.code in _OF_OUR_DECISIONS else f for f in found]
    return tuple(
        sorted(found, key=lambda f: (f.severity is not Severity.ERROR, f.subject, f.code, f.message))
    )


def _document(snapshot: Snapshot, findings: tuple[Finding, ...], errors: int) -> Document:
    return {
        "findings": [finding_document(finding) for finding in findings],
        "totals": {
            "errors": errors,
            "warnings": len(findings) - errors,
            "nodes": len(snapshot.nodes),
            "clusterCIDRs": len(snapshot.pools),
            "ledgerPages": len(snapshot.pages or ()),
        },
    }


def _text(snapshot: Snapshot, findings: tuple[Finding, ...], errors: int) -> str:
    looked = ", ".join(
        (
            many(len(snapshot.nodes), "node"),
            many(len(snapshot.pools), "ClusterCIDR"),
            many(len(snapshot.pages or ()), "ledger page"),
        )
    )
    totals = f"{many(errors, 'error')}, {many(len(findings) - errors, 'warning')} ({looked})"
    return f"{findings_table(findings)}\n\n{totals}" if findings else totals
