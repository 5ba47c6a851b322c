"""
Whether and when to try again: the one place that decides it for everything that a CA can answer, or not answer.

Decides from the error of one try, what was tried before, the time that is left and a random draw. Also how long to
wait between two polls (RFC 8555 §7.5.1) and what a Retry-After field means (RFC 9110 §10.2.3). Waits for nothing.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import attrs

from sptls.errors import AcmeProblem, AcmeUnreachable

if TYPE_CHECKING:
    from datetime import datetime

    from sptls.errors import AcmeError

# Each retry of a bad nonce has a fresh nonce. At a CA that rejects half of them (Pebble's hardest setting), 20 in a
# row are one request in a million; ten would be one certificate in a hundred.
MAX_BAD_NONCES = 20
# A restart of the CA's front end takes seconds: 0.5, 1, 2, 4, 8 s are 15. A longer outage is the schedule's to sit out.
MAX_FAILURES = 5
# Where another CA is configured, it is asked instead: a client waits ten seconds at the most.
MAX_FAILURES_WITH_ANOTHER = 1
FIRST_BACKOFF_SECONDS = 0.5
# Waits are drawn within +-50 % so that parallel orders don't come back all at once.
JITTER = 0.5
# "Retry after an hour" is for the schedule, not for an order that holds a place in the queue.
LONGEST_WAIT_SECONDS = 60.0
# Let's Encrypt's longest window is a week; more than that is not meant.
LONGEST_RETRY_AFTER_SECONDS = 7 * 86400.0
# Pebble is done within 50 ms of being asked, so its first poll sees the end; real CAs take 1-3 s, so polls thin out.
FIRST_POLL_SECONDS = 0.06
SECOND_POLL_SECONDS = 0.25
LONGEST_POLL_SECONDS = 3.0
POLL_GROWTH = 1.5


@attrs.frozen
class Tries:
    """
    What one request went through so far.
    """

    bad_nonces: int = 0
    failures: int = 0


@attrs.frozen
class Again:
    """
    Try again after *seconds*; *tries* counts the try that failed.
    """

    seconds: float
    tries: Tries


@attrs.frozen
class GiveUp:
    """
    The error stands.
    """


def decide(
    error: AcmeError, tries: Tries, left_seconds: float, draw: float, max_failures: int = MAX_FAILURES
) -> Again | GiveUp:
    """
    Tell whether a request that failed with *error* is tried again, *left_seconds* before its order's deadline.

    *draw* is uniform in [0, 1). A CA that fails is tried again *max_failures* times. A refusal other than a bad nonce
    (§6.5) stands, rate limits included: they carry Retry-After for the caller's schedule.
    """
    if isinstance(error, AcmeProblem) and error.type == "badNonce":
        again = Again(0.0, attrs.evolve(tries, bad_nonces=tries.bad_nonces + 1))
        return again if again.tries.bad_nonces <= MAX_BAD_NONCES and left_seconds > 0 else GiveUp()
    if isinstance(error, AcmeUnreachable):
        return _after_failure(error.retry_after_seconds, tries, left_seconds, draw, max_failures)
    return GiveUp()


def _after_failure(
    retry_after_seconds: float | None, tries: Tries, left_seconds: float, draw: float, max_failures: int
) -> Again | GiveUp:
    backoff = FIRST_BACKOFF_SECONDS * 2**tries.failures * (1 - JITTER + 2 * JITTER * draw)
    seconds = backoff if retry_after_seconds is None else max(retry_after_seconds, backoff)
    if tries.failures >= max_failures or seconds > min(left_seconds, LONGEST_WAIT_SECONDS):
        return GiveUp()
    return Again(seconds, attrs.evolve(tries, failures=tries.failures + 1))


def poll_seconds(polls: int, retry_after_seconds: float | None, left_seconds: float) -> float | None:
    """
    Give how long to wait before asking again after *polls* polls, or None when the deadline comes first.

    What the CA asked for goes before our own pace.
    """
    if retry_after_seconds is not None:
        seconds = max(retry_after_seconds, FIRST_POLL_SECONDS)
    elif polls == 0:
        seconds = FIRST_POLL_SECONDS
    else:
        # Capped exponent: the wait stopped growing long before.
        seconds = min(SECOND_POLL_SECONDS * POLL_GROWTH ** min(polls - 1, 20), LONGEST_POLL_SECONDS)
    return seconds if seconds <= left_seconds else None


def retry_after(field: str | None, now: datetime, date: str | None = None) -> float | None:
    """
    Give the seconds that a Retry-After field means at *now*: a number, or a date; None for none or nonsense.

    A date is by the clock of the server, which is what the answer's own *date* field says, where it is one.
    """
    server_now = _moment(date or "")
    if field is None:
        return None
    text = field.strip()
    # Nine digits are 31 years; more need not be a number that int() takes.
    seconds = float(text[:9]) if text.isascii() and text.isdigit() else _seconds_until(text, server_now or now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _seconds_until(text: str, now: datetime) -> float | None:
    moment = _moment(text)
    return None if moment is None else (moment - now).total_seconds()


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        # "-0000" is UTC whose origin is unknown (RFC 5322 §3.3).
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
