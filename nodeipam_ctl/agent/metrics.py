"""What does the agent count? Peers, objects wanted and present, changes, healing, and how fresh all of it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from nodeipam_ctl.agent.reconcile import Turn
from nodeipam_ctl.linux.netlink import KernelBusy, KernelError
from nodeipam_ctl.model import Finding
from nodeipam_ctl.routing.state import HostChange
from nodeipam_ctl.telemetry.metrics import Metrics

_INVALID = frozenset({"PeerRefused", "PeerUnreadable"})
_UNROUTABLE = frozenset({"PeerUnroutable"})
_CONFLICTS = frozenset({"RouteConflict", "RouteShadowed"})

_RTT_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class AgentMetrics:
    """The agent's metrics, fed with finished turns."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.metrics = Metrics("agent")
        self._clock = clock
        self._synced_s: float | None = None
        m = self.metrics
        self._peers = m.gauge("peers", "Other nodes that the feed knows.")
        self._routed = m.gauge("peer_pod_cidrs_routed", "podCIDRs of other nodes that have a route here.")
        self._objects = m.gauge("host_objects", "Objects of ours on this host.", ("kind",))
        self._wanted = m.gauge("host_objects_wanted", "Objects that this host should have.", ("kind",))
        self._foreign = m.gauge("foreign_routes", "Routes of others to destinations that we route.")
        self._invalid = m.gauge("invalid_peers", "Nodes with a podCIDR that is refused or cannot be read.")
        self._unroutable = m.gauge("unroutable_peers", "Nodes that the backend cannot reach.")
        self._disputed = m.gauge("podcidr_conflicts", "podCIDRs that more than one node claims.")
        self._conflicts = m.gauge("route_conflicts", "Routes of others in the way of ours.")
        self._held = m.gauge("held_removals", "Removals that wait for a second complete list.")
        self._changes = m.counter("host_changes_total", "Changes made to this host.", ("kind", "op"))
        self._failures = m.counter("host_change_failures_total", "Changes that failed.", ("kind",))
        self._messages = m.counter("netlink_messages_total", "rtnetlink messages sent to the kernel.")
        self._netlink = m.counter("netlink_errors_total", "Requests that the kernel refused.")
        self._healed = m.counter(
            "drift_repaired_total", "Objects put right after somebody else changed them.", ("kind",)
        )
        self._heal = m.histogram("heal_seconds", "From the kernel's event to the repair.")
        self._turns = m.histogram("turn_seconds", "Duration of one turn.")
        m.gauge_of("last_sync_age_seconds", "Since the host was last as wanted; -1 before.", self._age_s)

    def took(self, turn: Turn, *, peers: int, seconds: float) -> None:
        """A turn is over."""
        self._turns.observe(seconds)
        self._peers.set(peers)
        self._routed.set(turn.desired.routed)
        for kind, wanted in turn.desired.state.kinds.items():
            self._objects.labels(kind.value).set(turn.present[kind])
            self._wanted.labels(kind.value).set(len(wanted))
        self._foreign.set(turn.foreign)
        self._invalid.set(_subjects(turn.findings, _INVALID))
        self._unroutable.set(_subjects(turn.findings, _UNROUTABLE))
        self._disputed.set(_subjects(turn.findings, frozenset({"PodCIDRConflict"})))
        self._conflicts.set(_subjects(turn.findings, _CONFLICTS))
        self._held.set(len(turn.held))
        self._messages.inc(turn.messages)
        for change in turn.outcome.done:
            self._changes.labels(change.key.kind.value, change.op.value).inc()
        for change, error in turn.refused:
            self._failures.labels(change.key.kind.value).inc()
            if isinstance(error, KernelError | KernelBusy):
                self._netlink.inc()
        if not turn.outcome.failed:
            self._synced_s = self._clock()

    def healed(self, repaired: Iterable[HostChange], *, seconds: float | None) -> None:
        """A turn repaired what somebody else had changed; `seconds` since the kernel said so, None for an audit."""
        for change in repaired:
            self._healed.labels(change.key.kind.value).inc()
        if seconds is not None:
            self._heal.observe(seconds)

    def _age_s(self) -> float:
        return -1.0 if self._synced_s is None else self._clock() - self._synced_s


class ProbeMetrics:
    """What probes found, over all peers: a label for each would make thousands of series on every node."""

    def __init__(self, metrics: Metrics) -> None:
        self._answered = metrics.counter("probes_answered_total", "Probes of peers that were answered.")
        self._lost = metrics.counter("probes_lost_total", "Probes of peers without an answer in time.")
        self._rtt = metrics.histogram(
            "probe_rtt_seconds", "From a probe to its answer.", buckets=_RTT_BUCKETS
        )
        self._unreachable = metrics.gauge(
            "probe_unreachable_peers", "Peers that stayed silent for three rounds."
        )

    def answered(self, rtt_s: float) -> None:
        """One probe was answered."""
        self._answered.inc()
        self._rtt.observe(rtt_s)

    def lost(self) -> None:
        """One probe was not."""
        self._lost.inc()

    def unreachable(self, peers: int) -> None:
        """So many peers stay silent."""
        self._unreachable.set(peers)


def _subjects(findings: tuple[Finding, ...], codes: frozenset[str]) -> int:
    return len({finding.subject for finding in findings if finding.code in codes})
