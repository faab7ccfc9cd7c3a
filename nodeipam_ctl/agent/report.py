"""What does the agent say of a turn? One line for each effect and each new or cleared finding; long lists are summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import structlog

from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.agent.verdict import Failure
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.model import Finding, Severity
from nodeipam_ctl.routing.state import HostChange, HostFile, Link, Sysctl

log = structlog.get_logger(__name__)

_MOST_LINES = 12


class Reporter:
    """Remembers what was said, so that nothing is said twice."""

    def __init__(self) -> None:
        self._findings: dict[str, Finding] = {}
        self._failures: frozenset[str] = frozenset()
        self._waiting: str | None = None
        self._held = 0
        self._unreadable = ""

    def turn(self, turn: Turn, *, seconds: float, healed: Sequence[HostChange]) -> None:
        """A turn is over."""
        if turn.unread:
            self.unreadable(turn.unread)
        elif self._unreadable:
            log.info("host_readable")
            self._unreadable = ""
        done = turn.outcome.done
        repaired = {change.key for change in healed}
        if len(done) <= _MOST_LINES:
            for change in done:
                log.info(
                    "host_changed",
                    kind=change.key.kind.value,
                    op=change.op.value,
                    object=str(change.after or change.before),
                    **({"healed": True} if change.key in repaired else {}),
                )
        else:
            counts = Counter(f"{change.key.kind.value} {change.op.value}" for change in done)
            why = {"healed": len(repaired)} if repaired else {}
            log.info("host_changed", changes=len(done), seconds=round(seconds, 3), **counts, **why)
        self._tell_failures(turn)
        self._tell_findings(turn.findings)
        if turn.desired.waiting != self._waiting:
            if turn.desired.waiting:
                log.warning("node_not_ready", reason=turn.desired.waiting)
            else:
                log.info("node_ready", routed=turn.desired.routed, pod_mtu_bytes=turn.desired.pod_mtu_bytes)
            self._waiting = turn.desired.waiting
        if len(turn.held) != self._held:
            if turn.held:
                log.error(
                    "mass_removal_held",
                    objects=len(turn.held),
                    example=str(turn.held.changes[0]),
                    until="a second complete list from the API server says the same",
                )
            else:
                log.info("mass_removal_settled")
            self._held = len(turn.held)

    def unreadable(self, reason: str) -> None:
        """The host could not be read."""
        if reason != self._unreadable:
            self._unreadable = reason
            log.error("host_unreadable", reason=reason)

    def _tell_failures(self, turn: Turn) -> None:
        roots = causes(turn.outcome.failed)
        texts = [f"{change.op.value} {change.after or change.before}: {error}" for change, error in roots]
        consequences = len(turn.outcome.failed) - len(roots)
        new = [text for text in texts if text not in self._failures]
        for text in new[:_MOST_LINES]:
            log.error("host_change_failed", reason=text)
        if len(new) > _MOST_LINES:
            log.error("host_change_failed", more=len(new) - _MOST_LINES)
        if new and consequences:
            log.error("host_change_failed", consequences=consequences)
        self._failures = frozenset(texts)

    def _tell_findings(self, findings: tuple[Finding, ...]) -> None:
        present = {str(finding): finding for finding in findings}
        new = [finding for text, finding in present.items() if text not in self._findings]
        gone = [finding for text, finding in self._findings.items() if text not in present]
        for finding in new[:_MOST_LINES]:
            level = log.error if finding.severity is Severity.ERROR else log.warning
            level(
                "finding",
                code=finding.code,
                subject=finding.subject,
                message=finding.message,
                remedy=finding.remedy,
            )
        if len(new) > _MOST_LINES:
            log.warning("finding", more=len(new) - _MOST_LINES)
        for finding in gone[:_MOST_LINES]:
            log.info("finding_cleared", code=finding.code, subject=finding.subject)
        self._findings = present


def causes(failed: Iterable[Failure]) -> tuple[Failure, ...]:
    """The failures without those that only follow from another: what stands on a device that could not be made, a file that waits."""
    known = tuple(failed)
    lacking = {change.after.name for change, _ in known if isinstance(change.after, Link)}
    return tuple((change, error) for change, error in known if not _follows(change, error, lacking))


def _follows(change: HostChange, error: NodeIPAMError, lacking: set[str]) -> bool:
    match change.after:
        case Sysctl(name=name):
            return any(f"/{device}/" in name for device in lacking)
        case HostFile():
            return "not written, because" in str(error)  # the word of `Host.apply` for it
        case wanted:
            return getattr(wanted, "dev", None) in lacking
