from __future__ import annotations

from sptls.proxy.counters import Counters


def test_counting_begins_at_nothing() -> None:
    """
    Two processes' counters share no list.
    """
    first = Counters()
    first.answers[2] += 1
    assert [0] * 10 == Counters().answers
