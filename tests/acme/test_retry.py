from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme import retry
from sptls.acme.retry import Again, GiveUp, Tries
from sptls.errors import AcmeError, AcmeProblem, AcmeProtocolError, AcmeUnreachable

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
BAD_NONCE = AcmeProblem(400, "badNonce")
DOWN = AcmeUnreachable("newOrder", "refused")

draws = st.floats(0, 1, exclude_max=True)
errors = st.one_of(
    st.just(BAD_NONCE),
    st.just(AcmeProblem(429, "rateLimited", retry_after_seconds=5.0)),
    st.just(AcmeProtocolError("newOrder", "odd")),
    st.none().map(lambda _: DOWN)
    | st.floats(0, 1e9).map(lambda after: AcmeUnreachable("x", "y", retry_after_seconds=after)),
)


def busy(retry_after_seconds: float) -> AcmeUnreachable:
    """
    Give the error of a CA that says when to come back.
    """
    return AcmeUnreachable("newOrder", "it answered 503", retry_after_seconds=retry_after_seconds)


def test_a_bad_nonce_is_tried_again_at_once() -> None:
    """
    The answer brought a fresh nonce, so nothing is gained by waiting (RFC 8555 §6.5).
    """
    assert Again(0.0, Tries(bad_nonces=1)) == retry.decide(BAD_NONCE, Tries(), 10.0, 0.5)


def test_bad_nonces_are_bounded() -> None:
    """
    A CA that takes no nonce at all is given up, and so is an order whose time is over.
    """
    assert GiveUp() == retry.decide(BAD_NONCE, Tries(bad_nonces=retry.MAX_BAD_NONCES), 10.0, 0.5)
    assert GiveUp() == retry.decide(BAD_NONCE, Tries(), 0.0, 0.5)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (4, 8.0)])
def test_a_failing_ca_is_asked_again_ever_later(failures: int, seconds: float) -> None:
    """
    The wait doubles, and the draw spreads it by half to either side.
    """
    assert Again(seconds, Tries(failures=failures + 1)) == retry.decide(DOWN, Tries(failures=failures), 100.0, 0.5)
    assert Again(seconds / 2, Tries(failures=failures + 1)) == retry.decide(DOWN, Tries(failures=failures), 100.0, 0.0)


def test_a_failing_ca_is_given_up() -> None:
    """
    After the last try, or when the deadline comes before the next, the error stands.
    """
    assert GiveUp() == retry.decide(DOWN, Tries(failures=retry.MAX_FAILURES), 100.0, 0.5)
    assert GiveUp() == retry.decide(DOWN, Tries(), 0.4, 0.5)


def test_what_the_ca_asks_for_is_waited() -> None:
    """
    Retry-After goes before our own pace, but never beyond an order's patience.
    """
    assert Again(7.0, Tries(failures=1)) == retry.decide(busy(7.0), Tries(), 100.0, 0.5)
    assert Again(0.5, Tries(failures=1)) == retry.decide(busy(0.0), Tries(), 100.0, 0.5)
    assert GiveUp() == retry.decide(busy(7.0), Tries(), 6.0, 0.5)
    assert GiveUp() == retry.decide(busy(retry.LONGEST_WAIT_SECONDS + 1), Tries(), 1000.0, 0.5)


@pytest.mark.parametrize(
    "error",
    [
        AcmeProblem(429, "rateLimited", retry_after_seconds=1.0),
        AcmeProblem(403, "caa"),
        AcmeProtocolError("order", "odd"),
    ],
)
def test_a_refusal_stands(error: AcmeError) -> None:
    """
    Rate limits and refusals are the schedule's to act on, protocol errors an operator's.
    """
    assert GiveUp() == retry.decide(error, Tries(), 100.0, 0.5)


@given(st.lists(errors), st.floats(0, 200), draws)
def test_every_request_comes_to_an_end(given_errors: list[AcmeError], left_seconds: float, draw: float) -> None:
    """
    Whatever goes wrong, tries are bounded in number and none lies beyond the deadline.
    """
    tries = Tries()
    for number, error in enumerate(given_errors):
        match retry.decide(error, tries, left_seconds, draw):
            case Again(seconds, tries):
                left_seconds -= seconds
                assert seconds >= 0 <= left_seconds
                assert number < retry.MAX_BAD_NONCES + retry.MAX_FAILURES
            case GiveUp():
                return


def test_the_first_poll_comes_soon_and_later_ones_thin_out() -> None:
    """
    A fast CA needs one poll; a slow one is not hammered.
    """
    waits = [retry.poll_seconds(polls, None, 1000.0) for polls in range(30)]
    assert [0.06, 0.25] == waits[:2]
    assert waits[1:] == sorted(waits[1:], key=lambda wait: wait or 0.0)
    assert retry.LONGEST_POLL_SECONDS == waits[-1] == retry.poll_seconds(10**6, None, 1000.0)


def test_polls_keep_the_cas_pace_and_the_deadline() -> None:
    """
    Retry-After is honoured, also when it says now; a poll beyond the deadline is none.
    """
    assert 5.0 == retry.poll_seconds(0, 5.0, 10.0)
    assert retry.FIRST_POLL_SECONDS == retry.poll_seconds(9, 0.0, 10.0)
    assert retry.poll_seconds(0, 5.0, 4.0) is None
    assert retry.poll_seconds(0, None, 0.0) is None


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 5000, retry.LONGEST_RETRY_AFTER_SECONDS),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0663", None),
        ("Sat, 01 Aug 2026 12:02:00 GMT", 120.0),
        ("Sat, 01 Aug 2026 12:02:00 -0000", 120.0),
        ("Sat, 01 Aug 2026 11:00:00 GMT", 0.0),
        ("Sat, 01 Aug 9999 11:00:00 GMT", retry.LONGEST_RETRY_AFTER_SECONDS),
        ("Sat, 99 Aug 2026 11:00:00 GMT", None),
    ],
)
def test_reads_retry_after(field: str | None, expected: float | None) -> None:
    """
    Seconds and dates both count, bounded; nonsense counts for nothing (RFC 9110 §10.2.3).
    """
    assert expected == retry.retry_after(field, NOW)


@given(st.integers(0, 7 * 86400))
def test_a_date_means_what_it_says(seconds: int) -> None:
    """
    A date that far away is that many seconds.
    """
    assert seconds == retry.retry_after(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True), NOW)


@given(st.text())
def test_any_field_is_read(field: str) -> None:
    """
    No field is an error, and no wait is negative or endless.
    """
    seconds = retry.retry_after(field, NOW)
    assert seconds is None or 0 <= seconds <= retry.LONGEST_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    ("date", "expected"),
    [("Sat, 01 Aug 2026 11:00:00 GMT", 3660.0), ("nonsense", 60.0), (None, 60.0)],
)
def test_a_date_is_meant_by_the_servers_clock(date: str | None, expected: float) -> None:
    """
    The answer's Date says what that is; without one, ours has to do.
    """
    now = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
    assert expected == retry.retry_after("Sat, 01 Aug 2026 12:01:00 GMT", now, date)
