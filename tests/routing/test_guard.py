"""When may a plan remove much at once?"""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from nodeipam_ctl.plan import Op, diff
from nodeipam_ctl.routing.guard import guarded
from nodeipam_ctl.routing.state import HostPlan, Route


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


def test_runs_what_a_second_complete_list_confirms() -> None:
    plan = removing(60, of=100)
    confirmed = frozenset(change.key for change in plan.changes)
    assert guarded(plan, owned=100, plausible=True, confirmed=confirmed).run == plan
