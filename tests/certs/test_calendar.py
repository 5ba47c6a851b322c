from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random

import pytest

from sptls.certs import calendar
from sptls.certs.calendar import Calendar
from tests.certs.authority import NOW

HOUR = timedelta(hours=1)


def test_quietest_hour_is_taken() -> None:
    """
    Where something is planned, another moment is better; every choice counts for the next.
    """
    planned = Calendar()
    planned.add(NOW + HOUR)
    planned.add(NOW + 2 * HOUR)
    planned.add(NOW + 2 * HOUR)
    moments = [NOW + hours * HOUR for hours in (1, 2, 3)]
    assert [NOW + hours * HOUR for hours in (3, 1, 3)] == [planned.quietest(moments, NOW) for _ in range(3)]


def test_first_of_equal_moments_is_taken() -> None:
    """
    Where all are as good, what was drawn first stays drawn at random.
    """
    moments = [NOW + hours * HOUR for hours in (7, 9, 5)]
    assert NOW + 7 * HOUR == Calendar().quietest(moments, NOW)


def test_certificates_that_came_together_are_not_due_together() -> None:
    """
    Of a thousand that choose among eight moments in a hundred hours, no hour gets twice its share.
    """
    planned, random = Calendar(), Random(1)  # noqa: S311
    chosen = [planned.quietest([NOW + random.random() * 100 * HOUR for _ in range(8)], NOW) for _ in range(1000)]
    assert max(Counter((moment - NOW) // HOUR for moment in chosen).values()) < 20


def test_hours_that_are_over_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Years of running leave no more behind than there is to come.
    """
    monkeypatch.setattr(calendar, "_MAX_HOURS", 10)
    planned = Calendar()
    for hours in range(20):
        planned.add(NOW + hours * HOUR)
    planned.quietest([NOW + 19 * HOUR], NOW + 19 * HOUR)
    assert {int((NOW + 19 * HOUR).timestamp() // 3600): 2} == planned._planned
