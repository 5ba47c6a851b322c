"""
Tests for `sptls.certs.authorities`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from sptls.certs.authorities import LONGEST_LIMIT_SECONDS, Attempt, Authorities
from sptls.certs.authority import Authority, Moment
from sptls.certs.breaker import FAILURES_THAT_OPEN
from sptls.certs.limits import Bucket, Ledger, Limits, NotBefore, Priority
from sptls.certs.records import NO_HISTORY, History
from sptls.certs.standing import Standing
from sptls.errors import AcmeUnreachable, IssuanceFailed, Scope
from tests.certs.authority import NOW
from tests.certs.stored import CLICK

FIRST, SECOND = "https://first.example/dir", "https://second.example/dir"
MOMENT = Moment(NOW.timestamp(), 0.0)
DOWN = IssuanceFailed(AcmeUnreachable("newOrder", "refused"))


@attrs.frozen
class Issuer:
    """
    As much of an issuer as is needed here.
    """

    directory: str


def authority(directory: str) -> Authority:
    """
    Give a CA that allows an order a minute.
    """
    issuer: Any = Issuer(directory)
    return Authority(issuer, 1, Ledger(Limits(orders=Bucket(1, 60)), lambda name: name), lambda: 0.5)


def choose(cas: Authorities, name: Standing | None = None) -> Attempt | NotBefore:
    """
    Give the choice for *name*, by default one that has no certificate and no history.
    """
    return cas.choose(name or Standing(CLICK, None, NO_HISTORY), Priority.NEW, NOW, MOMENT)


def test_first_ca_is_asked_that_allows_it() -> None:
    """
    One that is out, or whose limits are used up, is passed over; where all are, the nearest moment counts.
    """
    first, second = authority(FIRST), authority(SECOND)
    cas = Authorities([first, second])
    chosen = choose(cas)
    assert isinstance(chosen, Attempt)
    assert first is chosen.authority
    for _ in range(FAILURES_THAT_OPEN):
        first.failed(chosen.demand, DOWN, MOMENT)
    chosen = choose(cas)
    assert isinstance(chosen, Attempt)
    assert second is chosen.authority
    second.began(chosen.demand, MOMENT)
    wait = choose(cas)
    assert isinstance(wait, NotBefore)
    assert Scope.CA is wait.scope


def test_name_that_waits_is_not_asked_for() -> None:
    """
    Whatever its CAs allow.
    """
    until = NOW + timedelta(minutes=5)
    waiting = Standing(CLICK, None, History(1, until, directory=FIRST))
    assert NotBefore(until.timestamp(), Scope.NAME) == choose(Authorities([authority(FIRST)]), waiting)


def test_attempt_has_as_many_challenge_types_as_the_hours_limit_leaves() -> None:
    """
    Those of the CA, or fewer for a name of which three authorizations have failed.
    """
    two = authority(FIRST)
    two.challenge_types = 2
    types = []
    for history in (NO_HISTORY, History(failed_authorizations=(NOW,) * 3, directory=FIRST)):
        chosen = choose(Authorities([two]), Standing(CLICK, None, history))
        assert isinstance(chosen, Attempt)
        types.append(chosen.challenge_types)
    assert [2, 1] == types


def test_ca_that_stays_keeps_its_books_and_its_breaker() -> None:
    """
    A new configuration must not make us forget what it counts.
    """
    cas = Authorities([authority(FIRST)])
    attempt = choose(cas)
    assert isinstance(attempt, Attempt)
    attempt.authority.began(attempt.demand, MOMENT)
    again = authority(FIRST)
    cas.take([again, authority(SECOND)])
    assert attempt.authority.breaker is again.breaker
    assert attempt.authority.ledger.entries == again.ledger.entries != {}
    assert [FIRST, SECOND] == [ca.directory for ca in cas.cas]
    assert (again, None) == (cas.get(FIRST), cas.get("https://third.example/dir"))


def test_stored_limits_are_loaded_and_corrected() -> None:
    """
    A moment that a clock ahead has stored is brought back, and all move with a clock that is set.
    """
    used = Authorities([authority(FIRST)])
    attempt = choose(used)
    assert isinstance(attempt, Attempt)
    attempt.authority.began(attempt.demand, MOMENT)
    entries = dict(attempt.authority.ledger.entries)
    far = {key: moment + 2 * LONGEST_LIMIT_SECONDS for key, moment in entries.items()}
    for stored in (entries, far):
        cas = Authorities([authority(FIRST)])
        cas.load({FIRST: stored}, MOMENT.wall)
        wait = choose(cas)
        assert isinstance(wait, NotBefore)
        assert wait.moment <= MOMENT.wall + LONGEST_LIMIT_SECONDS
    cas.shift(-LONGEST_LIMIT_SECONDS - 120.0)
    assert isinstance(choose(cas), Attempt)


def test_stored_limits_that_bind_no_more_are_not_taken() -> None:
    """
    Names come and go; what is full again is as good as never spent.
    """
    first = authority(FIRST)
    Authorities([first]).load({FIRST: {"orders": MOMENT.wall + 60, "gone": MOMENT.wall - 1}}, MOMENT.wall)
    assert {"orders": MOMENT.wall + 60} == first.ledger.entries


def test_what_binds_no_more_is_forgotten() -> None:
    """
    Names that were dropped must not fill the books of a process that runs for years.
    """
    first = authority(FIRST)
    cas = Authorities([first])
    first.ledger.load({"name gone.example": MOMENT.wall + 60, "orders": MOMENT.wall + 120})
    cas.prune(MOMENT.wall + 60)
    assert {"orders": MOMENT.wall + 120} == first.ledger.entries
