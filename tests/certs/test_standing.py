from __future__ import annotations

from datetime import datetime, timedelta

import attrs
import pytest
from twisted.internet.defer import Deferred

from sptls.certs.diagnose import diagnose
from sptls.certs.limits import Demand, NotBefore, Priority
from sptls.certs.records import NO_HISTORY, History, RenewalAdvice
from sptls.certs.standing import Standing
from sptls.errors import Scope, StoreError
from sptls.interfaces import Issued
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, stored

VALID = stored()
EXPIRED_BY = VALID.bundle.not_after + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("standing", "is_running", "expected"),
    [
        (Standing(CLICK, VALID, NO_HISTORY), False, "valid"),
        (Standing(CLICK, VALID, NO_HISTORY), True, "renewing"),
        (Standing(CLICK, VALID, History(1)), False, "failing"),
        (Standing(CLICK, None, NO_HISTORY), False, "waiting"),
        (Standing(CLICK, None, NO_HISTORY), True, "issuing"),
        (Standing(CLICK, None, NO_HISTORY, waits_until=NOW), False, "waiting"),
        (Standing(CLICK, VALID, NO_HISTORY, waits_until=NOW), False, "waiting"),
        (Standing(CLICK, VALID, History(1), waits_until=NOW), False, "failing"),
        (Standing(CLICK, VALID, History(last_error="refused"), waits_until=NOW), False, "failing"),
        (Standing(CLICK, VALID, History(last_error="refused")), False, "valid"),
    ],
)
def test_state_is_one_word(standing: Standing, expected: str, *, is_running: bool) -> None:
    """
    What runs goes before what failed, that before what a CA's limits make wait, and that before what is there.
    """
    assert expected == standing.state(NOW, is_running=is_running).state


def test_adopted_certificate_is_not_of_this_process_and_ends_what_was_cut_off() -> None:
    """
    Should it prove damaged, one is ordered at once.
    """
    standing = Standing(CLICK, None, History(3), is_resuming=True, is_issued_here=True, failing_with="x")
    standing.adopt(VALID, NO_HISTORY)
    assert ("valid", False, False, "") == (
        standing.state(NOW, is_running=False).state,
        standing.is_issued_here,
        standing.is_resuming,
        standing.failing_with,
    )


def test_expired_certificate_is_not_valid() -> None:
    """
    It is obtained like a missing one, and comes up before those that never had one.
    """
    standing = Standing(CLICK, VALID, NO_HISTORY)
    assert (True, False) == (standing.is_valid(NOW), standing.is_valid(EXPIRED_BY))
    assert "issuing" == standing.state(EXPIRED_BY, is_running=True).state
    assert standing.urgency < Standing(CLICK, None, NO_HISTORY).urgency


def test_people_are_told_where_the_certificate_came_from() -> None:
    """
    The certificate's own CA, its moments, and the last error.
    """
    told = Standing(CLICK, VALID, History(1, NOW, last_error="no")).state(NOW, is_running=False)
    assert (VALID.directory, VALID.renew_at, VALID.bundle.not_after) == (told.directory, told.renew_at, told.not_after)
    assert ("no", NOW) == (told.last_error, told.next_attempt_at)


def test_name_without_certificate_and_failure_says_why_it_waits() -> None:
    """
    Attempts that were cut off leave no error of their own.
    """
    told = Standing(CLICK, None, attrs.evolve(NO_HISTORY), waits_until=NOW).state(NOW, is_running=False)
    assert ("", None, None, NOW) == (told.directory, told.renew_at, told.not_after, told.next_attempt_at)
    assert "cut off" in told.last_error


def test_name_that_waits_with_all_others_says_why() -> None:
    """
    Unless it waits for something of its own; what held it up is over when nothing does.
    """
    moment = NOW + timedelta(minutes=2)
    held_up = NotBefore(moment.timestamp(), Scope.ACCOUNT)
    standing = Standing(CLICK, None, NO_HISTORY)
    told = standing.state(NOW, is_running=False, held_up=held_up)
    assert ("waiting", moment, True) == (told.state, told.next_attempt_at, "our account" in told.last_error)
    assert None is standing.state(NOW, is_running=False).next_attempt_at
    standing.wait_for(NotBefore(NOW.timestamp(), Scope.NAME))
    assert NOW == standing.state(NOW, is_running=False, held_up=held_up).next_attempt_at


def test_every_problem_has_a_diagnosis() -> None:
    """
    That of its failure, what can be said of an older sptls's words, that of a wait; none where all is well.
    """
    found = diagnose(StoreError("/s", "disk full"))
    waiting = attrs.evolve(NO_HISTORY)
    told = [
        Standing(CLICK, VALID, History(1, NOW, last_error="no", diagnosis=found)).state(NOW, is_running=False),
        Standing(CLICK, VALID, History(1, NOW, last_error="no")).state(NOW, is_running=False),
        Standing(CLICK, None, waiting, waits_until=NOW, waits_because="limit").state(NOW, is_running=False),
        Standing(CLICK, VALID, NO_HISTORY).state(NOW, is_running=False),
    ]
    assert ["store", "unknown", "waiting", None] == [one.diagnosis.code if one.diagnosis else None for one in told]


@pytest.mark.parametrize(
    ("start", "directory", "follows_ari"),
    [
        (-timedelta(hours=1), VALID.directory, True),
        (timedelta(hours=1), VALID.directory, False),
        (-timedelta(hours=1), "https://other.example/", False),
    ],
)
def test_renewal_in_its_cas_window_is_free(start: timedelta, directory: str, follows_ari: bool) -> None:
    """
    Only at the CA that gave the window, and once it has begun.
    """
    advice = RenewalAdvice(VALID.bundle.serial, NOW + start, NOW + timedelta(days=1), NOW, "https://ca.example/why")
    standing = Standing(CLICK, VALID, NO_HISTORY, advice=advice)
    is_renewal = directory == VALID.directory
    expected = Demand(CLICK.text, Priority.RENEWAL, is_renewal=is_renewal, follows_ari=follows_ari)
    assert expected == standing.demand(Priority.RENEWAL, directory, NOW)
    assert "https://ca.example/why" == standing.state(NOW, is_running=False).explanation_url


@pytest.mark.parametrize(
    ("standing", "now", "expected"),
    [
        (Standing(CLICK, VALID, NO_HISTORY), VALID.renew_at, Priority.RENEWAL),
        (Standing(CLICK, VALID, History(3)), EXPIRED_BY, Priority.EXPIRING),
        (Standing(CLICK, None, NO_HISTORY), NOW, Priority.NEW),
        (Standing(CLICK, None, History(1)), NOW, Priority.RETRY),
    ],
)
def test_what_expires_goes_before_what_is_due_and_that_before_what_is_new(
    standing: Standing, now: datetime, expected: Priority
) -> None:
    """
    And a retry comes last.
    """
    assert expected is standing.priority(now)


def test_a_new_certificate_has_no_window_yet() -> None:
    """
    That of its predecessor is gone with it, whoever obtained it.
    """
    for takes in (Standing.take, Standing.adopt):
        standing = Standing(CLICK, VALID, NO_HISTORY, advice=RenewalAdvice(VALID.bundle.serial, NOW, NOW, NOW))
        takes(standing, VALID, NO_HISTORY)
        assert standing.advice is None


def test_attempt_is_given_up_whether_it_has_asked_or_not() -> None:
    """
    An order that runs is cancelled; one that has not begun will not.
    """
    cancelled: list[object] = []
    running: Deferred[Issued] = Deferred(cancelled.append)
    running.addErrback(lambda _: None)
    for issuing in (None, running):
        standing = Standing(CLICK, None, NO_HISTORY, issuing=issuing)
        standing.give_up()
        assert standing.is_given_up
    assert [running] == cancelled


def test_order_that_an_earlier_process_began_demands_nothing_more() -> None:
    """
    At the CA where it is; at another one it is a new one.
    """
    standing = Standing(CLICK, None, History(directory=CA), is_resuming=True)
    assert [True, False] == [
        standing.demand(Priority.NEW, directory, NOW).is_under_way for directory in (CA, "https://other.example/")
    ]
