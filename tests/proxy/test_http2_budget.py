from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.http2_budget import Budget


def test_is_full_at_first_and_then_empty() -> None:
    """
    A burst is allowed, and no more.
    """
    budget = Budget(3, 1.0, 0.0)
    assert [True, True, True, False] == [budget.spend(0.0) for _ in range(4)]


def test_work_of_use_fills_it_up_to_the_brim() -> None:
    """
    What is earned can be spent; more than the most can't be saved.
    """
    budget = Budget(2, 0.0, 0.0)
    budget.earn(5)
    assert [True, True, False] == [budget.spend(0.0) for _ in range(3)]
    budget.earn()
    assert [True, False] == [budget.spend(0.0) for _ in range(2)]


def test_time_fills_it() -> None:
    """
    A little comes back by itself.
    """
    budget = Budget(2, 2.0, 0.0)
    assert [True, True, False] == [budget.spend(0.0) for _ in range(3)]
    assert [False, True, False] == [budget.spend(0.4), budget.spend(0.5), budget.spend(0.5)]


@given(steps=st.lists(st.floats(0, 10), max_size=200))
def test_never_allows_more_than_the_burst_and_the_rate(steps: list[float]) -> None:
    """
    Whenever it is asked, what it allows is bounded.
    """
    budget, now, spent = Budget(5, 3.0, 0.0), 0.0, 0
    for step in steps:
        now += step
        spent += budget.spend(now)
    assert spent <= 5 + 3.0 * now + 1e-6
