"""When may a plan remove much at once?"""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from nodeipam_ctl.plan import Op, diff
from nodeipam_ctl.routing.guard import guarded, unlisted
from nodeipam_ctl.routing.state import HostObject, HostPlan, Key, Route
from nodeipam_ctl.settings import AgentSettings
from tests.routing.views import peer


def removing(gone: int, *, of: int) -> HostPlan:
    everything = {
        route.key: route
        for route in (Route(dst=IPv4Network((0x0A000000 + (i << 8), 24)), dev="eth0") for i in range(of))
    }
    kept = dict(list(everything.items())[gone:])
    return diff(kept, everything)


@pytest.mark.parametrize(
    ("gone", "of", "plausible", "held"),
    [
        pytest.param(5, 100, True, 0, id="a few of many"),
        pytest.param(2, 2, True, 0, id="both of two"),
        pytest.param(10, 10, True, 0, id="all of ten: not more than ten"),
        pytest.param(60, 100, True, 60, id="sixty of a hundred"),
        pytest.param(20, 100, True, 0, id="exactly a fifth"),
        pytest.param(21, 100, True, 21, id="just over a fifth"),
        pytest.param(2, 2, False, 2, id="a list without this node"),
    ],
)
def test_holds_a_mass_removal(gone: int, of: int, plausible: bool, held: int) -> None:
    answer = guarded(removing(gone, of=of), owned=of, plausible=plausible, confirmed=frozenset())
    assert answer.held.count(Op.REMOVE) == held
    assert answer.run.count(Op.REMOVE) == gone - held


def test_does_not_take_another_metric_for_a_removal() -> None:
    def routes(metric: int) -> dict[Key, HostObject]:
        networks = (IPv4Network((number << 8, 24)) for number in range(50))
        made = (Route(dst=network, dev="eth0", metric=metric) for network in networks)
        return {route.key: route for route in made}

    wanted = routes(101)
    answer = guarded(
        diff(wanted, routes(100)), owned=50, plausible=True, confirmed=frozenset(), wanted_routes=wanted
    )

    assert (len(answer.run), len(answer.held)) == (100, 0)


def test_runs_what_a_second_complete_list_confirms() -> None:
    plan = removing(60, of=100)
    confirmed = frozenset(change.key for change in plan.changes)
    assert guarded(plan, owned=100, plausible=True, confirmed=confirmed).run == plan


@pytest.mark.parametrize(
    ("feed", "pod_cidrs", "plausible", "remedy"),
    [
        pytest.param("slices", True, False, "--feed nodes", id="nobody writes the ledger"),
        pytest.param("nodes", True, False, "API server", id="a list without this node"),
        pytest.param("slices", False, False, "", id="a node that waits for its podCIDR is in no ledger"),
        pytest.param("slices", True, True, "", id="the ledger has this node"),
    ],
)
def test_says_when_the_feed_does_not_know_this_node(
    feed: str, pod_cidrs: bool, plausible: bool, remedy: str
) -> None:
    own = peer("n1", "10.244.1.0/24") if pod_cidrs else peer("n1")

    found = unlisted(own, AgentSettings(node_name="n1", feed=feed), plausible=plausible)

    assert [remedy in finding.remedy for finding in found] == ([True] if remedy else [])
