"""
The CAs that are configured, in the order in which they are asked: which of them a name's next attempt is made at. Pure.

Joins what `schedule` says of a name with what each `authority` allows. Makes no attempt: `attempts` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs import schedule
from sptls.certs.limits import NotBefore
from sptls.errors import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sptls.certs.authority import Authority, Moment
    from sptls.certs.limits import Demand, Priority
    from sptls.certs.standing import Standing

# No limit's moment is further off, unless a clock was ahead: a week is the longest bucket there is.
LONGEST_LIMIT_SECONDS: Final = 8 * 86400.0


@attrs.frozen
class Attempt:
    """
    An order that may begin: for whom, at which CA, and what it demands of the CA's limits.

    It may try so many *challenge_types*. *has_next* says that another CA is to be asked at once if this one fails.
    """

    name: Standing
    authority: Authority
    demand: Demand
    challenge_types: int
    has_next: bool = False


class Authorities:
    """
    The CAs, one for each directory; *cas* is what `schedule` has to know of them.
    """

    def __init__(self, authorities: Iterable[Authority]) -> None:
        self._by_directory: dict[str, Authority] = {}
        self.cas: tuple[schedule.Ca, ...] = ()
        self.take(authorities)

    def take(self, authorities: Iterable[Authority]) -> None:
        """
        Ask *authorities* from now on; one that stays keeps its books and its breaker.
        """
        before = self._by_directory
        self._by_directory = {one.directory: one for one in authorities}
        for directory, authority in self._by_directory.items():
            if directory in before:
                authority.ledger.load(before[directory].ledger.entries)
                authority.breaker = before[directory].breaker
        self.cas = tuple(schedule.Ca(one.directory, one.challenge_types) for one in self._by_directory.values())

    def load(self, limits: Mapping[str, Mapping[str, float]], now: float) -> None:
        """
        Take the stored entries of each CA's *limits* that bind still; *now* is epoch seconds.
        """
        for directory, authority in self._by_directory.items():
            authority.ledger.load(limits.get(directory, {}))
            authority.ledger.correct(now, LONGEST_LIMIT_SECONDS)
            authority.ledger.prune(now)

    def prune(self, now: float) -> None:
        """
        Forget what is full again, or blocked no more, *now*: of names that were dropped nobody else would.
        """
        for authority in self._by_directory.values():
            authority.ledger.prune(now)

    def shift(self, seconds: float) -> None:
        """
        Go by a wall clock that was set by *seconds*.
        """
        for authority in self._by_directory.values():
            authority.ledger.shift(seconds)

    def get(self, directory: str) -> Authority | None:
        """
        Give the CA with this *directory*, or None when it is none of those that are asked.
        """
        return self._by_directory.get(directory)

    def choose(self, name: Standing, priority: Priority, now: datetime, moment: Moment) -> Attempt | NotBefore:
        """
        Give the attempt for *name* at the first CA that allows it, or what it has to wait for.
        """
        decision = schedule.decide(name.certificate, name.history, now, self.cas, is_resuming=name.is_resuming)
        if isinstance(decision, schedule.Wait):
            return NotBefore(decision.until.timestamp(), Scope.NAME)
        waits = []
        for number, ca in enumerate(decision.cas, 1):
            authority, demand = self._by_directory[ca.directory], name.demand(priority, ca.directory, now)
            not_before = authority.not_before(demand, moment)
            if not_before is None:
                return Attempt(name, authority, demand, ca.challenge_types, has_next=number < len(decision.cas))
            waits.append(not_before)
        return min(waits, key=lambda wait: wait.moment)
