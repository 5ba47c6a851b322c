"""
When to obtain a certificate and when to wait: lifetimes, failures, the CA's limits, jitter. Pure.

`decide` is the only place that says whether a name gets an order now. `renewal_moment` draws when a new certificate
will be due; `started`, `after_failure` and `after_success` say what an attempt leaves behind; `corrected` mends what a
clock that was set has made absurd. Moments are wall time, a *fraction* is a random number in [0, 1). Serves the
integration guide of Let's Encrypt, and RFC 8555 §6.6 (Retry-After).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

import attrs

from sptls.certs.diagnose import diagnose
from sptls.certs.diagnosis import joined
from sptls.certs.records import NO_HISTORY, History
from sptls.errors import AcmeError, AcmeProblem, AcmeUnreachable, BadCertificate, IssuanceFailed, SptlsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Diagnosis, Finding
    from sptls.certs.records import StoredCertificate

# Let's Encrypt refuses the sixth failed authorization of a name within an hour; four leave one for a clock's error.
MAX_FAILED_AUTHORIZATIONS = 4
# A minute more than the hour: the CA stamps a failure with its own clock, a moment after or before ours.
LIMIT_WINDOW = timedelta(hours=1, minutes=1)

# No attempt may run longer (the renewer ends it then), so one that was cut off has cost all it could by this time.
LONGEST_ATTEMPT = timedelta(minutes=10)

# 1, 5, 15 minutes, then hourly for two days, then every six hours.
_FIRST_DELAYS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
_HOURLY_DELAYS = 48
_HOURLY = timedelta(hours=1)
_LAST_DELAY = timedelta(hours=6)
# ±10 %, so that names which failed together do not come back together; ±25 % of the long ones, or those that an outage
# brought together would come together for weeks.
_DELAY_JITTER = 0.1
_LONG_DELAY_JITTER = 0.25

# What failed because the CA was out is not the name's fault: when the circuit breaker lets a probe go, every ten
# minutes at the seldomest, some name must be ready for it.
_LONGEST_IN_OUTAGE = timedelta(minutes=10)

# A CA that asks for more is asked again after a day all the same: its limits refill, its clock may be wrong.
LONGEST_RETRY_AFTER = timedelta(hours=24)
# Nothing above waits longer than a day, so a next attempt further off was stored by a clock that was ahead; an hour of
# slack keeps a clock that is set back by seconds out of it.
_ABSURD_WAIT = LONGEST_RETRY_AFTER + timedelta(hours=1)

# Every order that ends in an unusable certificate uses up the exact-set limit (5 in 7 days) all the same.
DELAY_AFTER_BAD_CERTIFICATE = timedelta(hours=1)

# Let's Encrypt: at 2/3 of the lifetime; at half of it for lifetimes under ten days. Drawn from the stretch before, so
# that certificates which came together do not fall due together, and none is late: 250 of 160 hours that came in one
# hour are due in sixteen. Of so many draws the one in the quietest hour is taken (`calendar`).
_SHORT_LIFETIME = timedelta(days=10)
_SHORT_STRETCH = (0.40, 1 / 2)
_LONG_STRETCH = (0.50, 2 / 3)
MOMENTS_DRAWN = 8
# The same for the next attempt after a failure, with a stretch of a few hours.
ATTEMPTS_DRAWN = 2
# A CA whose certificates live a few seconds, or are backdated by their lifetime, must not make us order without end.
_SHORTEST_RENEWAL = timedelta(seconds=5)

# Let's Encrypt's last sixth: 15 days of 90, 27 hours of 160. A renewal that is not there by then has failed for long.
_NEAR_EXPIRY = 1 / 6

# A CA's problem documents can be long; this much of one is kept.
_ERROR_CHARACTERS = 2000


class Reason(Enum):
    """
    Why a certificate is needed.
    """

    MISSING = "there is none"
    RENEWAL = "it is due for renewal"
    DIRECTORY = "it came from another ACME directory"


@attrs.frozen
class Ca:
    """
    A CA that is configured; an attempt there may fail one authorization for each of the *challenge_types*, of which
    there may be fewer than the CA's for one attempt.
    """

    directory: str
    challenge_types: int


@attrs.frozen
class Obtain:
    """
    Order a certificate now, because of *reason*, from the first of *cas* that allows it.
    """

    reason: Reason
    cas: tuple[Ca, ...]


@attrs.frozen
class Wait:
    """
    Do nothing before *until*, which is in the future.
    """

    until: datetime


@attrs.frozen
class Failure:
    """
    What a failed attempt left: *error* in words, what it cost at the CA, and how long the CA wants to be left alone.

    The *diagnosis* says what it means. An *outage* is the CA's, every other name would fail in the same way. An
    *unexpected* one is a fault of ours. Where a *limit* asks for the wait, no emergency goes before it.
    """

    error: str
    failed_authorizations: int = 0
    retry_after_seconds: float | None = None
    is_outage: bool = False
    is_unexpected: bool = False
    is_limit: bool = False
    diagnosis: Diagnosis | None = None

    @property
    def kind(self) -> str:
        """
        Give what is coarser than the words, which may have numbers in them: it changes when the cause changes.
        """
        return self.error if self.diagnosis is None else self.diagnosis.code

    @property
    def meaning(self) -> str:
        """
        Give what the log adds to the words.
        """
        found = self.diagnosis
        return "" if found is None else f" ({found.cause}; to act: {found.who.words}; {found.advice})"

    @classmethod
    def of(cls, error: BaseException, challenge_types: int, findings: Sequence[Finding] = ()) -> Failure:
        """
        Judge what ended an attempt; where its cost is not known it counts as all that it can be.

        *findings* are what a look at the name found afterwards.
        """
        return attrs.evolve(cls._judged(error, challenge_types), diagnosis=joined(diagnose(error), findings))

    @classmethod
    def _judged(cls, error: BaseException, challenge_types: int) -> Failure:
        if isinstance(error, IssuanceFailed):
            return cls._known(error.cause, error.failed_authorizations)
        if isinstance(error, SptlsError):
            return cls._known(error, 0)
        if isinstance(error, TimeoutError):
            minutes = LONGEST_ATTEMPT / timedelta(minutes=1)
            return cls(f"no certificate after {minutes:.0f} minutes", challenge_types)
        # Its text may hold anything; it goes to the log with the traceback, not into the store and the status.
        words = f"an unexpected {type(error).__name__}; the log has the traceback"
        return cls(words, challenge_types, is_unexpected=True)

    @classmethod
    def _known(cls, cause: SptlsError, failed_authorizations: int) -> Failure:
        retry_after_seconds = cause.retry_after_seconds if isinstance(cause, AcmeError) else None
        is_rate_limited = isinstance(cause, AcmeProblem) and cause.type == "rateLimited"
        if isinstance(cause, BadCertificate):
            retry_after_seconds = DELAY_AFTER_BAD_CERTIFICATE.total_seconds()
        return cls(
            error=str(cause)[:_ERROR_CHARACTERS],
            failed_authorizations=failed_authorizations,
            retry_after_seconds=retry_after_seconds,
            # A limit of the account's meets every name alike, and the answer does not tell it from the name's own.
            is_outage=isinstance(cause, AcmeUnreachable) or is_rate_limited,
            is_limit=is_rate_limited or isinstance(cause, BadCertificate),
        )


def decide(
    certificate: StoredCertificate | None,
    history: History,
    now: datetime,
    cas: tuple[Ca, ...],
    *,
    is_resuming: bool = False,
) -> Obtain | Wait:
    """
    Tell whether a name is to get a certificate from one of *cas* (in order of preference) now, or when to look again.

    An attempt may try as many challenge types as can all fail within the hour's limit of its CA, and does not start
    where that is none. One that goes on with an order that was cut off (*is_resuming*), which is at the CA of the last
    attempt, goes on at once: it did fit when it started. The *history* is one that `corrected` has seen.
    """
    is_known = certificate is not None and any(certificate.directory == ca.directory for ca in cas)
    if certificate is not None and is_known and certificate.renew_at > now:
        return Wait(certificate.renew_at)
    # Most names have no history; that 100,000 of them start at once hangs on it.
    here = tuple(ca for ca in cas if ca.directory == history.directory) if is_resuming else ()
    if here:
        fitting = max(1, MAX_FAILED_AUTHORIZATIONS - len(_recent(history.failed_authorizations, now)))
        cas = tuple(_limited(ca, fitting) for ca in here)
    elif history is not NO_HISTORY:
        chances = [_chance(ca, history.at(ca.directory), now) for ca in cas]
        cas = tuple(ca for moment, ca in chances if moment <= now)
        if not cas:
            return Wait(min(moment for moment, _ in chances))
    if certificate is None:
        return Obtain(Reason.MISSING, cas)
    return Obtain(Reason.RENEWAL if is_known else Reason.DIRECTORY, cas)


def renewal_moment(not_before: datetime, not_after: datetime, obtained_at: datetime, fraction: float) -> datetime:
    """
    Draw the moment when a certificate obtained at *obtained_at* is due for renewal.

    The lifetime counts from *obtained_at* where the CA backdates, so that no certificate is due when it comes.
    """
    begin = max(not_before, obtained_at)
    lifetime = not_after - begin
    first, last = _SHORT_STRETCH if not_after - not_before < _SHORT_LIFETIME else _LONG_STRETCH
    return max(begin + lifetime * (first + (last - first) * fraction), obtained_at + _SHORTEST_RENEWAL)


def latest_renewal(not_before: datetime, not_after: datetime) -> datetime:
    """
    Give the moment from which a renewal is an emergency: nobody's wish but the CA's limits puts it off further.
    """
    return not_after - (not_after - not_before) * _NEAR_EXPIRY


def is_near_expiry(bundle: CertificateBundle, now: datetime) -> bool:
    """
    Tell whether so little of a certificate's life is left that its renewal goes before all that can wait.
    """
    return latest_renewal(bundle.not_before, bundle.not_after) < now


def started(
    history: History, now: datetime, *, directory: str, challenge_types: int, is_resuming: bool = False
) -> History:
    """
    Give the history with an attempt running since *now*; stored before the CA is asked for anything.

    An earlier attempt of which no end is known (the process was killed) counts as all that it may have cost; where this
    one *is_resuming* it, its end is still to come, and tells what both have cost.
    """
    if is_resuming and history.directory == directory:
        return attrs.evolve(history, attempt_started_at=history.attempt_started_at or now)
    here = attrs.evolve(history.at(directory), directory=directory)
    return attrs.evolve(
        here,
        failed_authorizations=_counted(here, now, challenge_types),
        attempt_started_at=now,
        elsewhere=_worth_keeping(history, directory, now),
    )


def withdrawn(history: History) -> History:
    """
    Give the history after an attempt was given up that had cost nothing: as before it started.
    """
    return attrs.evolve(history, attempt_started_at=None)


def forgiven(history: History) -> History:
    """
    Give the history after an operator asked for an attempt: no back-off, but all that the CA counts.
    """
    elsewhere = tuple(attrs.evolve(one, consecutive_failures=0, next_attempt_at=None) for one in history.elsewhere)
    return attrs.evolve(history, consecutive_failures=0, next_attempt_at=None, elsewhere=elsewhere)


def after_success(history: History, now: datetime, *, failed_authorizations: int = 0) -> History:
    """
    Give the history after a certificate came: clean, but for what the CA (and others) still count.

    *failed_authorizations* are those of the challenge types that failed before one worked.
    """
    elsewhere = (_clean(one, now) for one in history.elsewhere)
    here = _clean(history, now)
    failed = tuple(sorted((*here.failed_authorizations, *[now] * failed_authorizations)))
    return attrs.evolve(
        here,
        failed_authorizations=failed,
        elsewhere=tuple(one for one in elsewhere if one.failed_authorizations),
    )


def after_failure(
    history: History,
    failure: Failure,
    now: datetime,
    *,
    not_after: datetime | None,
    challenge_types: int,
    fraction: float,
) -> History:
    """
    Give the history after a failed attempt, its next attempt drawn; *not_after* is when the name's certificate expires.
    """
    failures = history.consecutive_failures + 1
    recent = _recent(history.failed_authorizations, now)
    failed = tuple(sorted((*recent, *[now] * failure.failed_authorizations)))
    delay = _delay(failures, fraction)
    if failure.is_outage:
        delay = min(delay, _LONGEST_IN_OUTAGE)
    retry_after = min(timedelta(seconds=max(0.0, failure.retry_after_seconds or 0.0)), LONGEST_RETRY_AFTER)
    if not_after is not None and not_after > now:
        # Near expiry a quarter of what is left keeps trying until the end; the CA's limits hold all the same.
        longest = max((not_after - now) / 4, _delay(1, fraction))
        delay = min(delay, longest)
        retry_after = retry_after if failure.is_limit else min(retry_after, longest)
    return History(
        consecutive_failures=failures,
        next_attempt_at=max(now + max(delay, retry_after), _limit_allows(failed, now, challenge_types)),
        failed_authorizations=failed,
        last_error=failure.error,
        directory=history.directory,
        elsewhere=history.elsewhere,
        diagnosis=failure.diagnosis,
    )


def shifted(history: History, step: timedelta) -> History:
    """
    Give the history by a clock that was set by *step* while we watched: what was ten minutes ago still was.
    """

    def moved(one: History) -> History:
        return attrs.evolve(
            one,
            next_attempt_at=None if one.next_attempt_at is None else one.next_attempt_at + step,
            failed_authorizations=tuple(moment + step for moment in one.failed_authorizations),
            attempt_started_at=None if one.attempt_started_at is None else one.attempt_started_at + step,
        )

    return attrs.evolve(moved(history), elsewhere=tuple(moved(one) for one in history.elsewhere))


def corrected(history: History, now: datetime) -> History:
    """
    Give the history with moments that a clock set back has put into the future brought to where they do no harm.

    A failure of the future counts as just happened, a next attempt beyond any delay of ours as due after the usual one.
    """
    if history.elsewhere:
        each = tuple(corrected(one, now) for one in history.each)
        return attrs.evolve(each[0], elsewhere=each[1:])
    failed, next_attempt_at, begun = history.failed_authorizations, history.next_attempt_at, history.attempt_started_at
    if next_attempt_at is not None and next_attempt_at - now > _ABSURD_WAIT:
        next_attempt_at = now + _delay(history.consecutive_failures, 1.0)
    if begun is not None and begun > now:
        begun = now
    # One that was cut off counts as failed at the latest moment it can have been.
    if failed and failed[-1] - now > LONGEST_ATTEMPT:
        failed = tuple(min(moment, now) for moment in failed)
    is_sound = (
        failed is history.failed_authorizations
        and next_attempt_at is history.next_attempt_at
        and begun is history.attempt_started_at
    )
    if is_sound:
        return history
    return attrs.evolve(
        history, failed_authorizations=failed, next_attempt_at=next_attempt_at, attempt_started_at=begun
    )


def _worth_keeping(history: History, directory: str, now: datetime) -> tuple[History, ...]:
    """
    Give what is known of other CAs than *directory*'s and still means something.
    """
    return tuple(one for one in history.each if one.directory not in {directory, ""} and _says_something(one, now))


def _says_something(history: History, now: datetime) -> bool:
    has_failed = history.consecutive_failures > 0 or history.attempt_started_at is not None
    return has_failed or bool(_recent(history.failed_authorizations, now))


def _clean(history: History, now: datetime) -> History:
    return History(failed_authorizations=_recent(history.failed_authorizations, now), directory=history.directory)


def _delay(failures: int, fraction: float) -> timedelta:
    """
    Give the delay after the *failures*-th failure in a row (from 1), with its jitter.
    """
    if failures <= len(_FIRST_DELAYS):
        delay, jitter = _FIRST_DELAYS[max(failures, 1) - 1], _DELAY_JITTER
    else:
        is_hourly = failures <= len(_FIRST_DELAYS) + _HOURLY_DELAYS
        delay, jitter = _HOURLY if is_hourly else _LAST_DELAY, _LONG_DELAY_JITTER
    return delay * (1 - jitter + 2 * jitter * fraction)


def _chance(ca: Ca, history: History, now: datetime) -> tuple[datetime, Ca]:
    """
    Give when the next attempt at *ca* may begin, after *history* there, and as much of *ca* as may be tried now.
    """
    counted = _counted(history, now, ca.challenge_types)
    allowed = _limit_allows(counted, now, ca.challenge_types)
    moment = allowed if history.next_attempt_at is None else max(history.next_attempt_at, allowed)
    return moment, _limited(ca, MAX_FAILED_AUTHORIZATIONS - len(counted))


def _limited(ca: Ca, challenge_types: int) -> Ca:
    """
    Give *ca* with so many challenge types at the most.
    """
    return ca if ca.challenge_types <= challenge_types else attrs.evolve(ca, challenge_types=challenge_types)


def _counted(history: History, now: datetime, challenge_types: int) -> tuple[datetime, ...]:
    """
    Give what the CA counts, with an attempt that has no known end as failed in full, as late as possible.
    """
    failed = history.failed_authorizations
    if history.attempt_started_at is not None:
        failed = tuple(sorted((*failed, *[history.attempt_started_at + LONGEST_ATTEMPT] * challenge_types)))
    return _recent(failed, now)


def _recent(failed: tuple[datetime, ...], now: datetime) -> tuple[datetime, ...]:
    begin = now - LIMIT_WINDOW
    return tuple([moment for moment in failed if moment > begin])


def _limit_allows(recent: tuple[datetime, ...], now: datetime, challenge_types: int) -> datetime:
    """
    Give the first moment, from *now* on, when one more attempt can't break the limit: with one challenge type, or with
    none where nothing is validated.
    """
    cost = min(challenge_types, 1)
    too_many = len(recent) + cost - MAX_FAILED_AUTHORIZATIONS
    return recent[too_many - 1] + LIMIT_WINDOW if too_many > 0 else now
