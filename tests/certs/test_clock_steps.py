"""
Tests for `sptls.certs.clock_steps`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.authority import Moment
from sptls.certs.clock_steps import CLOCK_STEP_SECONDS, ClockSteps


@given(st.integers(-10_000_000, 10_000_000), st.integers(0, 10_000_000))
def test_step_of_the_wall_clock_is_told_once(step: int, passed: int) -> None:
    """
    Whatever time has passed; what the clocks part by all the time is none.
    """
    steps = ClockSteps()
    steps.begin(Moment(1_000_000.0, 7.0))
    expected = 0.0 if abs(step) <= CLOCK_STEP_SECONDS else float(step)
    now = Moment(1_000_000.0 + passed + step, 7.0 + passed)
    assert expected == steps.step_seconds(now)
    assert 0.0 == steps.step_seconds(now)


def test_small_steps_are_summed_up() -> None:
    """
    A clock that is slewed for long has been set all the same.
    """
    steps = ClockSteps()
    steps.begin(Moment(0.0, 0.0))
    assert [0.0, 0.0, 90.0] == [steps.step_seconds(Moment(at * 130.0, at * 100.0)) for at in (1, 2, 3)]
