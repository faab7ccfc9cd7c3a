"""What does the controller count?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from nodeipam_ctl.controller.patcher import Outcome
from nodeipam_ctl.controller.status import PoolView
from nodeipam_ctl.telemetry.metrics import Metrics


class ControllerMetrics:
    """The controller's counters; those of every node are children bound once, so that a node costs no look-up by label."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        decisions = metrics.counter("decisions_total", "Decisions about nodes, by kind.", ("decision",))
        self._decisions = {kind: decisions.labels(kind) for kind in ("assigned", "refused")}
        outcomes = metrics.counter(
            "node_patches_total",
            "Attempts to give a Node its podCIDRs that came to a certain end.",
            ("outcome",),
        )
        self._outcomes = {outcome: outcomes.labels(outcome.value) for outcome in Outcome}
        self._seconds = metrics.histogram(
            "assignment_seconds", "From seeing a Node without podCIDRs to its podCIDRs, in seconds."
        )
        self._released = metrics.counter("blocks_released_total", "Blocks whose node is gone.")
        self._conflicts = metrics.counter(
            "conflicts_total", "podCIDRs found that collide with something, by kind.", ("code",)
        )
        self._page_writes = metrics.counter(
            "ledger_page_writes_total", "Writes of ledger pages, by result.", ("result",)
        )
        self._page_lines = metrics.counter(
            "ledger_lines_written_total", "Ledger lines changed by these writes."
        )

    def decided(self, decision: str) -> None:
        """A node was assigned or refused."""
        self._decisions[decision].inc()

    def settled(self, outcome: Outcome) -> None:
        """An attempt to patch a Node ended."""
        self._outcomes[outcome].inc()

    def assigned_after(self, seconds: float) -> None:
        """A Node got its podCIDRs."""
        self._seconds.observe(seconds)

    def released(self, blocks: int) -> None:
        """Blocks came back."""
        self._released.inc(blocks)

    def conflict(self, code: str) -> None:
        """A collision was found."""
        self._conflicts.labels(code).inc()

    def page_written(self, result: str, lines: int) -> None:
        """A ledger page was written, or not."""
        self._page_writes.labels(result).inc()
        self._page_lines.inc(lines)

    def watch(
        self, *, nodes: Callable[[], int], queued: Callable[[], int], leading: Callable[[], bool]
    ) -> None:
        """Gauges read from the controller when somebody asks."""
        self._metrics.gauge_of("nodes", "Nodes known.", nodes)
        self._metrics.gauge_of("queued_nodes", "Nodes that wait for a decision.", queued)
        self._metrics.gauge_of("leading", "1 while this process leads.", lambda: float(leading()))

    def watch_pools(self, views: Callable[[], Iterable[PoolView]]) -> None:
        """Blocks by ClusterCIDR, family and state, computed when somebody asks."""
        self._metrics.registry.register(_Pools(views))


class _Pools:
    """Usage of every ClusterCIDR; one that is deleted vanishes from the metrics at once."""

    def __init__(self, views: Callable[[], Iterable[PoolView]]) -> None:
        self._views = views

    def describe(self) -> Iterator[Metric]:
        """Nothing to say before there are pools; it also keeps the registry from collecting at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One sample for each state."""
        blocks = GaugeMetricFamily(
            "nodeipam_pool_blocks",
            "Node blocks of a ClusterCIDR, by family and state.",
            labels=("pool", "family", "state"),
        )
        nodes = GaugeMetricFamily("nodeipam_pool_nodes", "Nodes that hold blocks of it.", labels=("pool",))
        waiting = GaugeMetricFamily(
            "nodeipam_pool_waiting_nodes", "Nodes that wait for a block of it.", labels=("pool",)
        )
        for view in self._views():
            name = view.pool.name
            nodes.add_metric((name,), view.usage.nodes)
            waiting.add_metric((name,), view.usage.waiting)
            for family, counts in view.usage.families.items():
                for state in ("capacity", "allocated", "resting", "excluded", "free"):
                    blocks.add_metric((name, family.value, state), float(getattr(counts, state)))
        yield from (blocks, nodes, waiting)
