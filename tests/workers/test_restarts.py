"""
A worker that ended is started again at once, and later where it ends again and again.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.workers.restarts import LONGEST_PAUSE_SECONDS, SETTLED_SECONDS, failures_after, pause_seconds


def test_first_end_costs_no_pause_and_those_in_a_row_ever_longer_ones() -> None:
    """
    Until the longest.
    """
    assert [0, 0, 1, 2, 4, 8, 16, 30, 30] == [pause_seconds(failures) for failures in range(9)]


def test_who_served_for_a_while_has_failed_at_nothing() -> None:
    """
    One that ends soon after its start has.
    """
    assert (0, 4, 4) == (failures_after(3, SETTLED_SECONDS), failures_after(3, 9.9), failures_after(3, 0.0))


@given(st.integers(0, 10**9))
def test_pause_is_never_longer_than_the_longest(failures: int) -> None:
    """
    Nor does it get shorter.
    """
    assert 0 <= pause_seconds(failures) <= pause_seconds(failures + 1) <= LONGEST_PAUSE_SECONDS
