"""A turn when the kernel cannot or will not: injected into the one place where messages leave."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nodeipam_ctl.agent.metrics import AgentMetrics
from nodeipam_ctl.agent.reconcile import Reconciler, Snapshot
from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.linux import netlink, rtnl
from nodeipam_ctl.linux.host import Host
from nodeipam_ctl.linux.netlink import KernelBusy, KernelError, Request, Socket
from nodeipam_ctl.plan import Op
from nodeipam_ctl.routing import backends
from nodeipam_ctl.routing.state import Route
from nodeipam_ctl.settings import AgentSettings
from tests.linux.namespaces import Segment
from tests.routing.views import N1, peer

pytestmark = pytest.mark.kernel


class _Reluctant(Socket):
    """Answers every third message with ENOBUFS, for as long as it is told to, without passing it on."""

    busy = True

    def batch(self, messages: Sequence[Request]) -> list[NodeIPAMError | None]:
        if not self.busy:
            return super().batch(messages)
        passed = super().batch([m for number, m in enumerate(messages) if number % 3])
        answers = iter(passed)
        return [
            next(answers) if number % 3 else KernelBusy(errno.ENOBUFS, "No buffer space available")
            for number, _ in enumerate(messages)
        ]


def test_what_the_kernel_had_no_room_for_is_done_in_a_later_turn(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = segment.host("192.0.2.11/24", "fd00:10::11/64")
    peers = tuple(peer(f"p{i}", f"10.244.{i}.0/24", at=("192.0.2.12",)) for i in range(2, 12))
    snapshot = Snapshot(own=N1, peers=peers, lists=1)
    monkeypatch.setattr("nodeipam_ctl.linux.host.Socket", _Reluctant)
    with machine.entered():
        host = Host(cni_conf_dir=tmp_path)
        settings = AgentSettings(node_name="n1", cni_conf_dir=tmp_path, masquerade=False)
        reconciler = Reconciler(settings, host, backends.load("host-gw"), template=None)
        first = reconciler.turn(snapshot)
        assert first.retry
        assert first.outcome.failed
        monkeypatch.setattr(_Reluctant, "busy", False)
        second = reconciler.turn(snapshot)
        host.close()
    assert not second.outcome.failed
    assert len(machine.routes()) == 12


class _Raced(Socket):
    """Somebody makes our first route a moment before us, and takes it away again."""

    late = True

    def batch(self, messages: Sequence[Request]) -> list[NodeIPAMError | None]:
        if self.late:
            _Raced.late = False
            return [KernelError(errno.EEXIST, "File exists") for _ in messages]
        return super().batch(messages)


def test_what_the_kernel_refused_is_counted_even_where_the_next_pass_of_the_turn_had_it(
    segment: Segment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = segment.host("192.0.2.11/24")
    peers = (peer("p2", "10.244.2.0/24", at=("192.0.2.12",)),)
    monkeypatch.setattr("nodeipam_ctl.linux.host.Socket", _Raced)
    with machine.entered():
        host = Host(cni_conf_dir=tmp_path)
        settings = AgentSettings(node_name="n1", cni_conf_dir=tmp_path, masquerade=False)
        reconciler = Reconciler(settings, host, backends.load("host-gw"), template=None)
        turn = reconciler.turn(Snapshot(own=N1, peers=peers, lists=1))
        host.close()
    assert not turn.outcome.failed
    assert {type(error) for _, error in turn.refused} == {KernelError}
    metrics = AgentMetrics()
    metrics.took(turn, peers=1, seconds=0.0)
    refused = f"nodeipam_netlink_errors_total {float(len(turn.refused))}"
    assert refused in metrics.metrics.exposition().decode()
    assert "nodeipam_last_sync_age_seconds -1.0" not in metrics.metrics.exposition().decode()


def test_an_error_names_the_kernels_own_reason_and_stops_nobody_behind_it(
    segment: Segment, tmp_path: Path
) -> None:
    machine = segment.host("192.0.2.11/24")
    with machine.entered(), netlink.Socket() as kernel:
        routes = [
            Route(dst=ip_network("10.1.0.0/24"), via=ip_address("198.51.100.9"), dev="eth0", metric=100),
            Route(dst=ip_network("10.2.0.0/24"), via=ip_address("192.0.2.12"), dev="eth0", metric=100),
        ]
        refused, done = kernel.batch([rtnl.encode(Op.ADD, route, {"eth0": 2}) for route in routes])
        (again,) = kernel.batch([rtnl.encode(Op.ADD, routes[1], {"eth0": 2})])
    assert str(refused) == "Network is unreachable: Nexthop has invalid gateway"
    assert done is None
    assert isinstance(again, KernelError)
    assert again.code == errno.EEXIST, "an add never overwrites"
    assert machine.routes() == ["10.2.0.0/24 via 192.0.2.12 dev eth0 metric 100"]
