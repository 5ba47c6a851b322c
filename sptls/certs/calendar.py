"""
How many orders are planned for each hour, so that another one is put where few others are. Pure.

Certificates that came together (a host's first day, a CA's return after an outage) would be due together for months,
whatever is drawn at random for each of them alone; and by chance alone some hours have four times as much as others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_HOUR_SECONDS: Final = 3600
# Hours that are over are forgotten when there are so many: more than a year of them are none that is to come.
_MAX_HOURS: Final = 10_000


class Calendar:
    """
    The renewals and new attempts that are planned.

    One that did not happen at its hour (its name was removed, its CA wanted another moment) is counted there all the
    same, since an hour that is thought to be busier than it is does no harm.
    """

    def __init__(self) -> None:
        self._planned: Counter[int] = Counter()

    def add(self, moment: datetime) -> None:
        """
        Count an order that is planned for *moment*.
        """
        self._planned[_hour(moment)] += 1

    def quietest(self, moments: Iterable[datetime], now: datetime) -> datetime:
        """
        Give the one of *moments* in whose hour the fewest are planned, the first of equal ones, and count it.
        """
        if len(self._planned) > _MAX_HOURS:
            self._planned = Counter({hour: count for hour, count in self._planned.items() if hour >= _hour(now)})
        chosen = min(moments, key=lambda moment: self._planned[_hour(moment)])
        self.add(chosen)
        return chosen


def _hour(moment: datetime) -> int:
    return int(moment.timestamp() // _HOUR_SECONDS)
