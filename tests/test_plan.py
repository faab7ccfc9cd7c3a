"""A plan, applied, makes what was observed equal to what is desired (law 5)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.plan import Op, applied, diff

states = st.dictionaries(st.integers(0, 8), st.integers(0, 3), max_size=8)


@given(states, states)
def test_applying_the_difference_reaches_the_desired_state(
    desired: dict[int, int], observed: dict[int, int]
) -> None:
    assert applied(diff(desired, observed), observed) == desired


@given(states)
def test_equal_states_need_no_change(state: dict[int, int]) -> None:
    plan = diff(state, state)
    assert not plan
    assert len(plan) == 0


@given(states, states)
def test_nothing_is_changed_that_is_right_already(desired: dict[int, int], observed: dict[int, int]) -> None:
    touched = {change.key for change in diff(desired, observed).changes}
    assert touched == {k for k in desired.keys() | observed.keys() if desired.get(k) != observed.get(k)}


def test_adds_and_replacements_come_before_removals_and_removals_run_backwards() -> None:
    plan = diff({"a": 1, "b": 2, "c": 3}, {"b": 9, "x": 1, "y": 1})
    assert [(c.op, c.key) for c in plan.changes] == [
        (Op.ADD, "a"),
        (Op.REPLACE, "b"),
        (Op.ADD, "c"),
        (Op.REMOVE, "y"),
        (Op.REMOVE, "x"),
    ]
    assert (plan.count(Op.ADD), plan.count(Op.REPLACE), plan.count(Op.REMOVE)) == (2, 1, 2)


def test_a_plan_prints_what_it_does_and_why() -> None:
    plan = diff({"a": "10.244.1.0/24 via 192.0.2.1"}, {"b": "10.244.9.0/24 via 192.0.2.9"})
    assert [str(change) for change in plan.changes] == [
        "+ 10.244.1.0/24 via 192.0.2.1  # missing",
        "- 10.244.9.0/24 via 192.0.2.9  # stale",
    ]
