"""Do waits grow, spread and obey what the other side asked?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodeipam_ctl.kube.backoff import LONGEST_ASKED_S, Backoff


def test_waits_double_up_to_the_cap_and_start_again_after_success() -> None:
    backoff = Backoff(first_s=1, cap_s=5, uniform=lambda _low, high: high)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.attempts == 5
    backoff.reset()
    assert (backoff.next_s(), backoff.attempts) == (1, 1)


def test_a_wait_is_spread_over_its_upper_half() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    backoff = Backoff(first_s=1, cap_s=5, uniform=uniform)
    backoff.next_s()
    backoff.next_s()
    assert asked == [(0.5, 1), (1, 2)]


@given(st.floats(0, LONGEST_ASKED_S), st.integers(0, 10))
def test_no_wait_is_shorter_than_asked_for(asked_s: float, attempts: int) -> None:
    backoff = Backoff()
    for _ in range(attempts):
        backoff.next_s()
    assert backoff.next_s(at_least_s=asked_s) >= asked_s


@given(st.floats(LONGEST_ASKED_S, 1e308))
def test_nobody_makes_us_wait_much_longer_than_a_minute(asked_s: float) -> None:
    assert LONGEST_ASKED_S <= Backoff(first_s=0.05).next_s(at_least_s=asked_s) <= LONGEST_ASKED_S + 0.05
