from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from sptls.certs.records import NO_HISTORY, History
from sptls.certs.standing import Standing
from tests.certs.authority import NOW
from tests.certs.stored import CLICK, stored

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
        (Standing(CLICK, None, NO_HISTORY, waits_until=NOW), False, "failing"),
    ],
)
def test_state_is_one_word(standing: Standing, expected: str, *, is_running: bool) -> None:
    """
    What runs goes before what failed, and that before what is there.
    """
    assert expected == standing.state(NOW, is_running=is_running).state


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
