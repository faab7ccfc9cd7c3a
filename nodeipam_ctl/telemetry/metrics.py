"""What do we count? One registry per program, handed around; nothing registers itself globally."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from nodeipam_ctl import __version__

PREFIX = "nodeipam"
SECONDS_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """A program's metrics: declared through it, read through `exposition`.

    Names are given without the prefix: `metrics.counter("patches_total", ...)` is `nodeipam_patches_total`.
    """

    def __init__(self, program: str) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Process())
        self.gauge("build_info", "Constant 1; the labels say what runs.", ("program", "version")).labels(
            program, __version__
        ).set(1)

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Something that only grows; the name ends in `_total`."""
        return Counter(name.removesuffix("_total"), text, labels, namespace=PREFIX, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A present value."""
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def gauge_of(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A present value that is computed only when somebody asks."""
        Gauge(name, text, namespace=PREFIX, registry=self.registry).set_function(value)

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        """A distribution; the default buckets suit durations in seconds."""
        return Histogram(name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)


class _Process(Collector):
    """The usual process_* gauges that alerts are built on, from /proc; prometheus_client's own collector is global."""

    def __init__(self) -> None:
        self._started_s = time.time()

    def collect(self) -> Iterable[Metric]:
        from pathlib import Path

        times = os.times()
        yield _gauge("process_cpu_seconds", "CPU time used, in seconds.", times.user + times.system)
        yield _gauge("process_start_time_seconds", "Start, seconds since the epoch.", self._started_s)
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the number matters
        except (OSError, ValueError, IndexError):
            return
        yield _gauge("process_resident_memory_bytes", "Resident memory, in bytes.", pages * _PAGE_BYTES)
        yield _gauge("process_open_fds", "Open file descriptors.", descriptors)


def _gauge(name: str, text: str, value: float) -> Metric:
    metric = GaugeMetricFamily(name, text)
    metric.add_metric((), value)
    return metric
