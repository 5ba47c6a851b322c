from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sptls.certs import schedule
from sptls.certs.bundle import CertificateBundle
from sptls.certs.diagnose import diagnose
from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.certs.records import NO_HISTORY, History, StoredCertificate
from sptls.certs.schedule import (
    Ca,
    Failure,
    Obtain,
    Reason,
    Wait,
    after_failure,
    after_success,
    corrected,
    decide,
    started,
)
from sptls.errors import (
    AcmeProblem,
    AcmeUnreachable,
    BadCertificate,
    IssuanceFailed,
    SptlsError,
    StoreError,
    ValidationFailed,
)
from sptls.names import HostName

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
NAME = HostName("click.example.com")
CA = "https://ca.example/directory"
HERE = (Ca(CA, 2),)
ELSEWHERE = Ca("https://second.example/directory", 2)
BOTH = (*HERE, ELSEWHERE)

seconds = st.floats(min_value=0, max_value=400 * 86400, allow_nan=False).map(lambda value: timedelta(seconds=value))
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001 - made aware at once
fractions = st.floats(min_value=0, max_value=1, exclude_max=True)
lifetimes = st.one_of(
    st.floats(min_value=20, max_value=3600), st.floats(min_value=3600, max_value=398 * 86400), st.just(864000.0)
).map(lambda value: timedelta(seconds=value))
histories = st.builds(
    History,
    consecutive_failures=st.integers(0, 2000),
    next_attempt_at=st.none() | moments,
    failed_authorizations=st.lists(moments, max_size=8).map(lambda some: tuple(sorted(some))),
    last_error=st.just("it failed"),
    attempt_started_at=st.none() | moments,
    directory=st.sampled_from(["", CA, "https://other.example/"]),
)


def certificate(renew_at: datetime, directory: str = CA) -> StoredCertificate:
    """
    Give a certificate due at *renew_at*; nothing else of it matters to the schedule.
    """
    bundle = CertificateBundle(b"", (b"",), (NAME,), NOW, NOW + timedelta(days=90), "CN=CA", "01")
    return StoredCertificate(NAME, bundle, directory, renew_at)


def decided(
    held: StoredCertificate | None, history: History = NO_HISTORY, now: datetime = NOW, challenge_types: int = 2
) -> Obtain | Wait:
    """
    Decide for the usual directory.
    """
    return decide(held, history, now, (Ca(CA, challenge_types),))


def failed(history: History, failure: Failure, now: datetime = NOW, not_after: datetime | None = None) -> History:
    """
    Give the history after a failure with two challenge types and no jitter.
    """
    return after_failure(history, failure, now, not_after=not_after, challenge_types=2, fraction=0.5)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (None, Obtain(Reason.MISSING, HERE)),
        (certificate(NOW), Obtain(Reason.RENEWAL, HERE)),
        (certificate(NOW + timedelta(days=1), "https://old.example/"), Obtain(Reason.DIRECTORY, HERE)),
        (certificate(NOW + timedelta(days=1)), Wait(NOW + timedelta(days=1))),
    ],
)
def test_decides_by_what_there_is(held: StoredCertificate | None, expected: Obtain | Wait) -> None:
    """
    A certificate is needed when there is none, when it is due, and when it came from another directory.
    """
    assert expected == decided(held)


def test_waits_out_a_failure() -> None:
    """
    A name that failed is not tried before its next attempt, and is then.
    """
    history = History(1, NOW + timedelta(minutes=1), directory=CA)
    assert Wait(NOW + timedelta(minutes=1)) == decided(None, history)
    assert Obtain(Reason.MISSING, HERE) == decided(None, history, NOW + timedelta(minutes=1))


def test_failures_at_another_ca_do_not_count() -> None:
    """
    Whoever goes from the staging directory to the real one is not made to wait for the old one's failures.
    """
    history = History(9, NOW + timedelta(hours=6), (NOW,) * 4, "dead", directory="https://staging.example/")
    assert Obtain(Reason.MISSING, HERE) == decided(None, history)
    begun = started(history, NOW, directory=CA, challenge_types=2)
    assert (History(directory=CA, attempt_started_at=NOW), history) == (begun.at(CA), begun.at(history.directory))


def test_delays_grow_as_documented() -> None:
    """
    1, 5, 15 minutes, hourly for two days, then every six hours.
    """
    history, delays = NO_HISTORY, []
    for _ in range(54):
        history = failed(history, Failure("dead"))
        assert history.next_attempt_at is not None
        delays.append((history.next_attempt_at - NOW) / timedelta(minutes=1))
    assert [1, 5, 15, *[60] * 48, 360, 360, 360] == delays


@given(fractions, st.integers(0, 60))
def test_jitter_stays_within_its_bounds(fraction: float, failures: int) -> None:
    """
    No delay of minutes is more than 10 % off, none of hours more than a quarter.
    """
    before = History(failures, directory=CA)
    exact = failed(before, Failure("dead")).next_attempt_at
    drawn = after_failure(
        before, Failure("dead"), NOW, not_after=None, challenge_types=2, fraction=fraction
    ).next_attempt_at
    assert exact is not None
    assert drawn is not None
    assert abs((drawn - NOW) / (exact - NOW) - 1) <= (0.1 if failures < 3 else 0.25) + 1e-9


@pytest.mark.parametrize(
    ("retry_after_seconds", "expected_minutes"),
    [(None, 1), (-5.0, 1), (30.0, 1), (7200.0, 120), (1e9, 1440)],
)
def test_retry_after_pushes_the_next_attempt(retry_after_seconds: float | None, expected_minutes: int) -> None:
    """
    A CA's Retry-After counts when it is longer than our delay, up to a day.
    """
    history = failed(NO_HISTORY, Failure("busy", retry_after_seconds=retry_after_seconds))
    assert NOW + timedelta(minutes=expected_minutes) == history.next_attempt_at


def test_limit_pushes_the_next_attempt() -> None:
    """
    After four failed authorizations the next attempt waits until one of them counts no more.
    """
    first = failed(NO_HISTORY, Failure("dead", failed_authorizations=2))
    second = failed(first, Failure("dead", failed_authorizations=2), NOW + timedelta(minutes=1))
    assert NOW + schedule.LIMIT_WINDOW == second.next_attempt_at


@pytest.mark.parametrize(
    ("failed_before", "challenge_types", "expected"), [(0, 2, 2), (2, 2, 2), (3, 2, 1), (3, 1, 1), (4, 2, 0), (4, 0, 0)]
)
def test_attempt_is_made_with_as_many_types_as_fit(failed_before: int, challenge_types: int, expected: int) -> None:
    """
    Each may fail an authorization; where none fits, the name waits, unless nothing is validated at all.
    """
    history = History(failed_authorizations=(NOW,) * failed_before, directory=CA)
    decision = decided(None, history, challenge_types=challenge_types)
    if expected or not challenge_types:
        assert Obtain(Reason.MISSING, (Ca(CA, expected),)) == decision
    else:
        assert Wait(NOW + schedule.LIMIT_WINDOW) == decision


def test_cut_off_attempt_goes_on_with_as_many_types_as_fit_beside_it() -> None:
    """
    What it has cost itself is not in the history yet, and it has one at the least: it did fit when it began.
    """
    types = []
    for failed_before in (0, 3, 4):
        history = History(failed_authorizations=(NOW,) * failed_before, directory=CA, attempt_started_at=NOW)
        decision = decide(None, history, NOW, (Ca(CA, 2),), is_resuming=True)
        assert isinstance(decision, Obtain)
        types.append(decision.cas[0].challenge_types)
    assert [2, 1, 1] == types


def test_internal_issuer_has_no_limit() -> None:
    """
    Where nothing is validated, nothing is counted.
    """
    history = started(NO_HISTORY, NOW, directory=CA, challenge_types=0)
    assert Obtain(Reason.MISSING, (Ca(CA, 0),)) == decided(None, history, challenge_types=0)


def test_cut_off_attempt_counts_in_full() -> None:
    """
    After one kill -9 the name is tried again at once, after the second it waits for the CA's limit.
    """
    once = started(NO_HISTORY, NOW, directory=CA, challenge_types=2)
    assert Obtain(Reason.MISSING, HERE) == decided(None, once)
    twice = started(once, NOW + timedelta(seconds=5), directory=CA, challenge_types=2)
    assert Wait(NOW + schedule.LONGEST_ATTEMPT + schedule.LIMIT_WINDOW) == decided(
        None, twice, NOW + timedelta(seconds=10)
    )


def test_attempt_that_was_withdrawn_leaves_nothing() -> None:
    """
    What failed before it still counts, the attempt does not.
    """
    history = History(3, NOW, (NOW,), "dead", None, CA)
    begun = started(history, NOW, directory=CA, challenge_types=2)
    assert begun != history
    assert history == schedule.withdrawn(begun)


def test_success_forgets_failures_but_not_what_the_ca_counts() -> None:
    """
    After a certificate the back-off starts anew; failed authorizations of this hour still count.
    """
    history = History(3, NOW, (NOW - timedelta(hours=2), NOW), "dead", NOW, CA)
    assert History(failed_authorizations=(NOW,), directory=CA) == after_success(history, NOW)


def test_failing_renewal_keeps_trying_towards_expiry() -> None:
    """
    Six hours are too long when a day is left, and one minute stays the least.
    """
    before = History(100, directory=CA)
    for left, expected in [
        (timedelta(days=9), timedelta(hours=6)),
        (timedelta(hours=8), timedelta(hours=2)),
        (timedelta(seconds=20), timedelta(minutes=1)),
        (timedelta(hours=-1), timedelta(hours=6)),
    ]:
        assert NOW + expected == failed(before, Failure("dead"), not_after=NOW + left).next_attempt_at


@pytest.mark.parametrize(("is_limit", "expected"), [(False, timedelta(hours=2)), (True, timedelta(hours=20))])
def test_near_expiry_only_limits_are_waited_out(is_limit: bool, expected: timedelta) -> None:
    """
    A CA that is overloaded is asked more often than it likes; one that counts us is not.
    """
    failure = Failure("busy", retry_after_seconds=72000.0, is_limit=is_limit)
    assert NOW + expected == failed(NO_HISTORY, failure, not_after=NOW + timedelta(hours=8)).next_attempt_at


@pytest.mark.parametrize(("days", "expected"), [(90, timedelta(days=15)), (6, timedelta(days=1))])
def test_a_renewal_is_an_emergency_when_a_sixth_of_the_life_is_left(days: int, expected: timedelta) -> None:
    """
    No wish for a later moment reaches beyond that.
    """
    not_after = NOW + timedelta(days=days)
    assert not_after - expected == schedule.latest_renewal(NOW, not_after)


@given(lifetimes, fractions)
def test_renewal_comes_at_the_documented_part_of_the_lifetime(lifetime: timedelta, fraction: float) -> None:
    """
    At 50 to 66.7 % of the lifetime, 40 to 50 % below ten days: never late, always before expiry.
    """
    moment = schedule.renewal_moment(NOW, NOW + lifetime, NOW, fraction)
    part = (moment - NOW) / lifetime
    first, last = (0.4, 0.5) if lifetime < timedelta(days=10) else (0.5, 2 / 3)
    assert first - 1e-6 <= part <= last + 1e-6


def test_short_lifetime_begins_at_ten_days() -> None:
    """
    A 160-hour certificate is renewed at half of its life, a 90-day one at two thirds, at the latest.
    """
    hours = [
        round((schedule.renewal_moment(NOW, NOW + life, NOW, 1.0) - NOW) / timedelta(hours=1))
        for life in (timedelta(hours=160), timedelta(days=90))
    ]
    assert [80, 1440] == hours


@given(st.floats(min_value=0, max_value=86400), lifetimes, fractions)
def test_backdated_certificate_is_not_due_at_once(backdated: float, lifetime: timedelta, fraction: float) -> None:
    """
    A CA that backdates by any part of the lifetime does not make us order in a circle.
    """
    not_before = NOW - timedelta(seconds=backdated)
    moment = schedule.renewal_moment(not_before, NOW + lifetime, NOW, fraction)
    assert NOW + timedelta(seconds=5) <= moment < NOW + lifetime


def test_lifetime_of_a_second_is_not_ordered_every_second() -> None:
    """
    However short the CA makes its certificates, five seconds lie between two orders.
    """
    assert NOW + timedelta(seconds=5) == schedule.renewal_moment(NOW, NOW + timedelta(seconds=1), NOW, 0.0)


@given(st.none() | seconds.map(lambda value: certificate(NOW + value)), histories, moments, st.integers(0, 2))
def test_no_wait_ends_in_the_past(
    held: StoredCertificate | None, history: History, now: datetime, challenge_types: int
) -> None:
    """
    Whatever is stored and however the clock was set, a wait ends in the future, and never without end.
    """
    decision = decided(held, corrected(history, now), now, challenge_types)
    if isinstance(decision, Wait):
        assert decision.until > now
        if held is None:
            assert decision.until - now <= timedelta(hours=26)


@given(histories, moments, st.integers(0, 2), fractions)
def test_no_failure_is_followed_by_a_moment_in_the_past(
    history: History, now: datetime, challenge_types: int, fraction: float
) -> None:
    """
    The next attempt after a failure lies between a bit under a minute and a bit over a day ahead.
    """
    begun = started(corrected(history, now), now, directory=CA, challenge_types=challenge_types)
    after = after_failure(
        begun, Failure("dead", 2), now, not_after=None, challenge_types=challenge_types, fraction=fraction
    )
    assert after.next_attempt_at is not None
    assert timedelta(seconds=54) <= after.next_attempt_at - now <= timedelta(hours=25)
    assert sorted(after.failed_authorizations) == list(after.failed_authorizations)


def test_clock_set_back_does_not_park_a_name() -> None:
    """
    Moments stored a year ahead come back: the failures count as now, the next attempt is one back-off away.
    """
    ahead = NOW + timedelta(days=365)
    history = History(2, ahead, (ahead, ahead), "dead", ahead, CA)
    expected = attrs.evolve(
        history,
        next_attempt_at=NOW + timedelta(minutes=5.5),
        failed_authorizations=(NOW, NOW),
        attempt_started_at=NOW,
    )
    assert expected == corrected(history, NOW)


@given(histories, moments)
def test_correction_is_final(history: History, now: datetime) -> None:
    """
    A corrected history needs no second correction.
    """
    once = corrected(history, now)
    assert once is corrected(once, now)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            IssuanceFailed(AcmeProblem(429, "rateLimited", "slow down", retry_after_seconds=60.0)),
            Failure("the CA refused with rateLimited: slow down", 0, 60.0, is_outage=True, is_limit=True),
        ),
        (
            IssuanceFailed(AcmeProblem(403, "caa", "forbidden"), failed_authorizations=1),
            Failure("the CA refused with caa: forbidden", 1),
        ),
        (
            IssuanceFailed(ValidationFailed("click.example.com", ()), failed_authorizations=2),
            Failure(str(ValidationFailed("click.example.com", ())), 2),
        ),
        (
            IssuanceFailed(AcmeUnreachable("newOrder", "refused")),
            Failure("the CA could not be reached for newOrder: refused", is_outage=True),
        ),
        (BadCertificate("expired"), Failure("expired", 0, 3600.0, is_limit=True)),
        (StoreError("/s", "full"), Failure("the store /s can't be used: full")),
        (TimeoutError(), Failure("no certificate after 10 minutes", 2)),
        (
            ZeroDivisionError("with a secret"),
            Failure(
                "an unexpected ZeroDivisionError; the log has the traceback",
                2,
                is_unexpected=True,
            ),
        ),
    ],
)
def test_failures_are_judged(error: Exception, expected: Failure) -> None:
    """
    What ended an attempt becomes words, a cost, and the CA's own wish; an unknown cost counts in full.
    """
    assert attrs.evolve(expected, diagnosis=diagnose(error)) == Failure.of(error, challenge_types=2)


def test_what_a_look_at_the_name_found_joins_the_diagnosis() -> None:
    """
    The kind of a failure, on a change of which the log speaks, is the code of what explains it.
    """
    found = Finding(Diagnosis("dns-elsewhere", Who.CUSTOMER, "it leads elsewhere", "mend it"), is_fatal=True)
    failure = Failure.of(AcmeProblem(400, "connection", "Connection refused"), 2, [found])
    assert "dns-elsewhere" == failure.kind
    assert failure.diagnosis == failed(NO_HISTORY, failure).diagnosis
    assert "words alone" == Failure("words alone").kind


def test_long_error_is_cut() -> None:
    """
    A CA's essay does not fill the store.
    """

    class LongError(SptlsError):
        def __str__(self) -> str:
            return "x" * 100000

    assert 2000 == len(Failure.of(LongError(), 2).error)


def dead_name_failures(chance: random.Random, challenge_types: int) -> list[datetime]:
    """
    Give when the CA saw authorizations fail of a name that never validates, over five days with crashes and wishes.
    """
    now, history, seen = NOW, NO_HISTORY, list[datetime]()
    while now < NOW + timedelta(days=5):
        history = corrected(history, now)
        decision = decided(None, history, now, challenge_types)
        if isinstance(decision, Wait):
            assert decision.until > now
            now = decision.until + timedelta(seconds=chance.choice([0, 0, 1, 5000]))
            continue
        history = started(history, now, directory=CA, challenge_types=challenge_types)
        cost = chance.randint(0, decision.cas[0].challenge_types)
        lasts = schedule.LONGEST_ATTEMPT * chance.random()
        seen += [now + lasts * chance.random() for _ in range(cost)]
        if chance.random() < 0.3:  # killed early in it; the CA goes on validating what it was asked to
            now += lasts * chance.random() / 2
            continue
        now += lasts
        failure = Failure("dead", cost, chance.choice([None, 10.0, 5000.0]))
        history = after_failure(
            history, failure, now, not_after=None, challenge_types=challenge_types, fraction=chance.random()
        )
    return sorted(seen)


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("challenge_types", [1, 2])
@given(seed=st.integers(0, 2**32))
def test_dead_name_stays_under_the_limit(challenge_types: int, seed: int) -> None:
    """
    Never more than four failed authorizations in any hour, over crashes, and the name is tried for ever.
    """
    seen = dead_name_failures(random.Random(seed), challenge_types)  # noqa: S311 - a simulation
    assert all(fifth - first > timedelta(hours=1) for first, fifth in zip(seen, seen[4:], strict=False))
    assert all(
        later - earlier < timedelta(days=2) for earlier, later in pairwise([NOW, *seen, NOW + timedelta(days=5)])
    )


def test_forgiven_history_keeps_what_the_ca_counts() -> None:
    """
    An operator's wish ends the back-off; the last error stays to be read until the attempt says more.
    """
    failed = History(3, NOW + timedelta(hours=1), (NOW, NOW), "why", None, CA)
    assert History(0, None, (NOW, NOW), "why", None, CA) == schedule.forgiven(failed)


def failed_at(history: History, ca: Ca, now: datetime = NOW) -> History:
    """
    Give *history* after one more attempt, at *ca*, failed there.
    """
    begun = started(history, now, directory=ca.directory, challenge_types=2)
    failure = Failure("refused", failed_authorizations=1)
    return after_failure(begun, failure, now, not_after=None, challenge_types=2, fraction=0.5)


def test_next_ca_is_asked_while_the_first_one_is_waited_for() -> None:
    """
    A failure at one CA says nothing of another; when both have failed, the one that may be asked first is waited for.
    """
    assert Obtain(Reason.MISSING, BOTH) == decide(None, NO_HISTORY, NOW, BOTH)
    once = failed_at(NO_HISTORY, HERE[0])
    assert Obtain(Reason.MISSING, (ELSEWHERE,)) == decide(None, once, NOW, BOTH)
    twice = failed_at(once, ELSEWHERE, NOW + timedelta(seconds=1))
    assert Wait(NOW + timedelta(minutes=1)) == decide(None, twice, NOW + timedelta(seconds=1), BOTH)
    assert Obtain(Reason.MISSING, HERE) == decide(None, twice, NOW + timedelta(minutes=1), BOTH)


def test_each_ca_has_a_back_off_of_its_own() -> None:
    """
    Failing in turn at two CAs, a name waits longer and longer at each.
    """
    history = NO_HISTORY
    for failures in (1, 2, 3):
        for ca in BOTH:
            history = failed_at(history, ca, NOW + timedelta(hours=3 * failures))
            assert failures == history.at(ca.directory).consecutive_failures
    assert 2 == len(history.each)


def test_certificate_of_any_configured_ca_is_good() -> None:
    """
    It is not due because the first CA was not the one that it came from.
    """
    held = certificate(NOW + timedelta(days=1), ELSEWHERE.directory)
    assert Wait(NOW + timedelta(days=1)) == decide(held, NO_HISTORY, NOW, BOTH)
    assert Obtain(Reason.RENEWAL, BOTH) == decide(held, NO_HISTORY, NOW + timedelta(days=1), BOTH)


def test_success_leaves_what_cas_count() -> None:
    """
    No back-off is left anywhere; failed authorizations within the hour are, for each CA that saw some.
    """
    history = after_success(failed_at(failed_at(NO_HISTORY, HERE[0]), ELSEWHERE), NOW)
    assert [(0, None, (NOW,))] * 2 == [
        (one.consecutive_failures, one.next_attempt_at, one.failed_authorizations) for one in history.each
    ]
    assert () == after_success(history, NOW + timedelta(days=1)).elsewhere


def test_forgiven_and_corrected_at_every_ca() -> None:
    """
    An operator's wish, and a clock that was set, mean all of them.
    """
    history = failed_at(failed_at(NO_HISTORY, HERE[0]), ELSEWHERE)
    assert [(0, None)] * 2 == [
        (one.consecutive_failures, one.next_attempt_at) for one in schedule.forgiven(history).each
    ]
    earlier = NOW - timedelta(days=400)
    assert [(earlier,)] * 2 == [one.failed_authorizations for one in corrected(history, earlier).each]


def test_what_means_nothing_more_at_another_ca_is_dropped() -> None:
    """
    A CA that only ever succeeded leaves nothing behind.
    """
    begun = started(History(directory=HERE[0].directory), NOW, directory=ELSEWHERE.directory, challenge_types=2)
    assert ((), ELSEWHERE.directory) == (begun.elsewhere, begun.directory)


def test_order_that_was_cut_off_is_gone_on_with_however_often() -> None:
    """
    It is one attempt, which fitted into the limit when it started, and to go on with it costs nothing.
    """
    history = failed(History(directory=CA), Failure("dead", 2))
    later = NOW + timedelta(minutes=30)
    history = started(history, later, directory=CA, challenge_types=2)
    for minutes in range(9):
        now = later + timedelta(minutes=minutes)
        assert Obtain(Reason.MISSING, HERE) == decide(None, history, now, BOTH, is_resuming=True)
        history = started(history, now, directory=CA, challenge_types=2, is_resuming=True)
    assert (2, later) == (len(history.failed_authorizations), history.attempt_started_at)


def test_order_at_a_ca_that_is_not_asked_any_more_is_not_taken_up() -> None:
    """
    What was begun there counts there; here it is a first attempt.
    """
    begun = started(NO_HISTORY, NOW, directory=ELSEWHERE.directory, challenge_types=2)
    assert Obtain(Reason.MISSING, HERE) == decide(None, begun, NOW, HERE, is_resuming=True)
    here = started(begun, NOW, directory=CA, challenge_types=2, is_resuming=True).at(CA)
    assert (History(directory=CA, attempt_started_at=NOW)) == here


def test_history_goes_by_a_clock_that_was_set() -> None:
    """
    Every moment of it moves by the step, at every CA; what was never set stays unset.
    """
    step = timedelta(days=365)
    begun = started(failed_at(NO_HISTORY, ELSEWHERE), NOW, directory=CA, challenge_types=2)
    moved = schedule.shifted(begun, step)
    assert (NOW + step, None) == (moved.attempt_started_at, moved.next_attempt_at)
    there = moved.at(ELSEWHERE.directory)
    assert ((NOW + step,), NOW + step + timedelta(minutes=1)) == (there.failed_authorizations, there.next_attempt_at)
    assert begun == schedule.shifted(moved, -step)


def test_outage_makes_no_name_wait_for_hours() -> None:
    """
    However often a name met one, it is ready again when the CA may be: within ten minutes.
    """
    out = Failure("refused", is_outage=True)
    history = after_failure(
        History(consecutive_failures=50), out, NOW, not_after=None, challenge_types=2, fraction=0.999
    )
    assert (51, NOW + timedelta(minutes=10)) == (history.consecutive_failures, history.next_attempt_at)


def test_attempt_that_cost_nothing_leaves_no_trace() -> None:
    """
    It is as if it had not started.
    """
    begun = started(NO_HISTORY, NOW, directory=CA, challenge_types=2)
    assert History(directory=CA) == schedule.withdrawn(begun)
