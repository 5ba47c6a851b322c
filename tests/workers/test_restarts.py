"""
A worker that ended is started again at once, and later where it ends again and again.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.workers.restarts import LONGEST_PAUSE_SECONDS, SETTLED_SECONDS, failures_after, pause_seconds


def test_start_that_failed_is_tried_again_at_once_and_then_ever_later() -> None:
    """
    Until the longest.
    """
    assert [0, 0, 1, 2, 4, 8, 16, 30, 30] == [pause_seconds(failures, has_served=False) for failures in range(9)]


def test_who_served_and_was_killed_is_back_at_once_three_times() -> None:
    """
    Then it has its pauses too.
    """
    assert [0, 0, 0, 0, 1, 2, 4] == [pause_seconds(failures, has_served=True) for failures in range(7)]


def test_who_served_for_a_while_has_failed_at_nothing() -> None:
    """
    One that ends soon after its start has.
    """
    assert (0, 4, 4) == (failures_after(3, SETTLED_SECONDS), failures_after(3, 9.9), failures_after(3, 0.0))


@given(st.integers(0, 10**9), st.booleans())
def test_pause_is_never_longer_than_the_longest(failures: int, has_served: bool) -> None:
    """
    Nor does it get shorter.
    """
    pause, next_pause = (pause_seconds(failures + more, has_served=has_served) for more in (0, 1))
    assert 0 <= pause <= next_pause <= LONGEST_PAUSE_SECONDS
    assert pause <= pause_seconds(failures, has_served=False)
