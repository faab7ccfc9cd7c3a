"""`nodeipam-ctl explain NODE`: why does this node have what it has, and what would happen now?"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from nodeipam_ctl.cli import flags, shell
from nodeipam_ctl.cli.render import Document, facts, finding_document, findings_table, show, table
from nodeipam_ctl.cli.snapshot import Snapshot, read
from nodeipam_ctl.errors import NotFound
from nodeipam_ctl.ipam.audit import audit
from nodeipam_ctl.ipam.explain import Explanation, explain
from nodeipam_ctl.kube.wire.envelope import rfc3339
from nodeipam_ctl.model import Finding, LedgerEntry, LedgerState, Node
from nodeipam_ctl.prefixes import Network

_NEAR = 3


@click.command("explain")
@click.argument("node")
@shell.kubeconfig
@shell.output
@flags.service_cidr
def command(*, node: str, kubeconfig: Path | None, output: str, service_cidr: tuple[Network, ...]) -> int:
    """Say which ClusterCIDRs were considered for NODE, which rule decided, and what would happen now. Reads only."""
    snapshot = shell.run(kubeconfig, lambda client: read(client, service_cidr))
    record = _named(node, snapshot)
    answer = explain(snapshot.world(), record, snapshot.now_s)
    whole = audit(snapshot.world(), snapshot.pages, snapshot.now_s)
    findings = (*snapshot.problems, *(finding for finding in whole if finding.subject == f"node/{node}"))
    show(
        output,
        _document(answer, findings, allocates=not snapshot.mirrors),
        lambda: _text(answer, record, findings, allocates=not snapshot.mirrors),
    )
    return 0


def _named(name: str, snapshot: Snapshot) -> Node:
    for node in snapshot.nodes:
        if node.name == name:
            return node
    near = get_close_matches(name, [node.name for node in snapshot.nodes], n=_NEAR)
    hint = f"did you mean {', '.join(near)}?" if near else "see kubectl get nodes"
    raise NotFound(f"node {name!r} does not exist; {hint}")


def _document(answer: Explanation, findings: Sequence[Finding], *, allocates: bool) -> Document:
    return {
        "node": answer.node,
        "uid": answer.uid,
        "podCIDRs": [str(cidr) for cidr in answer.pod_cidrs],
        "clusterCIDR": answer.pool or None,
        "ledger": [
            {
                "cidr": str(line.cidr),
                "state": line.state.value,
                "clusterCIDR": line.cluster_cidr or None,
                "since": _time(line.since_s),
                "reusableAt": _time(line.reusable_at_s),
            }
            for line in answer.lines
        ],
        "considered": [
            {
                "order": one.place or None,
                "clusterCIDR": one.pool,
                "placedBy": one.placed_by or None,
                "verdict": one.verdict.value,
                "rule": one.rule,
                "free": one.free or None,
            }
            for one in answer.looked
        ],
        "now": {
            "keeps": bool(answer.pod_cidrs),
            "allocates": allocates,
            "wouldGet": [str(cidr) for cidr in answer.would_get],
            "outcome": answer.outcome,
        },
        "findings": [finding_document(finding) for finding in findings],
    }


def _text(answer: Explanation, node: Node, findings: Sequence[Finding], *, allocates: bool) -> str:
    held = ", ".join(map(str, answer.pod_cidrs)) or "none"
    parts = [
        facts(
            [
                ("Node", [answer.node]),
                ("UID", [answer.uid]),
                ("Registered", [_time(node.created_s) or "unknown"]),
                ("podCIDRs", [held]),
                (
                    "ClusterCIDR",
                    [answer.pool or ("none: outside every range" if answer.pod_cidrs else "none yet")],
                ),
                ("Ledger", [_line(line) for line in answer.lines] or ["no line"]),
                ("Now", _now(answer, allocates=allocates)),
            ]
        )
    ]
    if answer.looked:
        parts.append(
            table(
                ("ORDER", "CLUSTERCIDR", "PLACED BY", "VERDICT", "FREE", "WHY"),
                (
                    (
                        one.place or "-",
                        one.pool,
                        one.placed_by or "-",
                        one.verdict,
                        one.free or "-",
                        one.rule if one.rule != one.placed_by else "-",
                    )
                    for one in answer.looked
                ),
            )
        )
    if findings:
        parts.append(findings_table(findings))
    return "\n\n".join(parts)


def _now(answer: Explanation, *, allocates: bool) -> list[str]:
    keeps = ["it keeps its podCIDRs, which never change"] if answer.pod_cidrs else []
    if not allocates:
        return [
            *keeps,
            "the controller runs with --no-allocate: what a node gets is up to whoever else allocates",
            f"if the controller allocated, {'registered again ' if keeps else ''}it would get {answer.outcome}",
        ]
    return (
        [*keeps, f"registered again it would get {answer.outcome}"]
        if keeps
        else [f"it gets {answer.outcome}"]
    )


def _line(line: LedgerEntry) -> str:
    told = f"{line.cidr} {line.state}"
    if line.cluster_cidr:
        told += f" from {line.cluster_cidr}"
    if line.since_s:
        told += f" since {_time(line.since_s)}"
    if line.state is LedgerState.RESTING:
        told += f" until {_time(line.reusable_at_s) or 'now'}"
    return told


def _time(at_s: float) -> str | None:
    return rfc3339(at_s) if at_s else None
