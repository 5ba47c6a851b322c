from __future__ import annotations

from datetime import datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs import schedule
from sptls.certs.records import RenewalAdvice, RenewalInfo
from sptls.certs.renewal_windows import CATCH_UP, HALF_DAY, first_question, follows, judge, place_after
from tests.certs.authority import NOW
from tests.certs.stored import stored

CERTIFICATE = stored()
SERIAL = CERTIFICATE.bundle.serial
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
# Epoch seconds are good to less than that.
TICK = timedelta(microseconds=10)
LATEST = schedule.latest_renewal(CERTIFICATE.bundle.not_before, CERTIFICATE.bundle.not_after)
SPANS = st.timedeltas(-4000 * DAY, 4000 * DAY)
FRACTIONS = st.floats(0, 1, exclude_max=True)
SERIALS = st.text("0123456789abcdef", min_size=2, max_size=40)


def advice(start: datetime = NOW, end: datetime = NOW + DAY, ask_again_at: datetime = NOW + DAY) -> RenewalAdvice:
    """
    Give advice on the tests' certificate.
    """
    return RenewalAdvice(SERIAL, start, end, ask_again_at)


def info(start: datetime, end: datetime, seconds: float = 21600.0) -> RenewalInfo:
    """
    Give what a CA answers.
    """
    return RenewalInfo(start, end, seconds, "https://ca.example/why")


@given(SERIALS, st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)), st.sampled_from([HALF_DAY, CATCH_UP]))  # noqa: DTZ001 - made aware below
def test_a_certificates_place_comes_round_once_in_each_stretch(
    serial: str, moment: datetime, stretch: timedelta
) -> None:
    """
    It is within the next stretch, and a restart at any moment before it finds the same one.
    """
    now = moment.replace(tzinfo=NOW.tzinfo)
    place = place_after(serial, now, stretch)
    assert SECOND <= place - now <= stretch + SECOND + TICK
    before = place - SECOND - TICK
    assert abs(place_after(serial, max(before, now), stretch) - place) <= TICK
    for there in (place - TICK, place, place + TICK):
        assert abs(place_after(serial, there, stretch) - place - stretch) <= 2 * TICK


def test_first_questions_are_spread_over_half_a_day() -> None:
    """
    Ten thousand certificates at a start: no minute has over three times its share.
    """
    minutes: dict[int, int] = {}
    for number in range(10_000):
        minute = int((first_question(f"{number:032x}", None, NOW) - NOW) / timedelta(minutes=1))
        minutes[minute] = minutes.get(minute, 0) + 1
    assert max(minutes) <= 720
    assert max(minutes.values()) <= 3 * 10_000 / 720


@pytest.mark.parametrize(
    ("known", "within"),
    [
        (None, HALF_DAY),
        (attrs.evolve(advice(), serial="another"), HALF_DAY),
        (advice(ask_again_at=NOW), CATCH_UP),
        (advice(ask_again_at=NOW - 9 * DAY), CATCH_UP),
    ],
    ids=["new", "successor", "due", "overdue"],
)
def test_what_is_due_at_a_start_is_asked_soon_but_not_at_once(known: RenewalAdvice | None, within: timedelta) -> None:
    """
    What was due while nothing ran is asked within the hour, a certificate that was never asked about in half a day.
    """
    assert timedelta() < first_question(SERIAL, known, NOW) - NOW <= within


@pytest.mark.parametrize(("wait", "expected"), [(timedelta(hours=5), timedelta(hours=5)), (9 * DAY, DAY)])
def test_a_stored_moment_stays(wait: timedelta, expected: timedelta) -> None:
    """
    A restart asks nothing earlier; a moment that a wrong clock stored is no further off than a day.
    """
    assert NOW + expected == first_question(SERIAL, advice(ask_again_at=NOW + wait), NOW)


def test_one_moment_is_drawn_in_a_window() -> None:
    """
    Uniformly, from its start to its end.
    """
    judgement = judge(info(NOW + 10 * DAY, NOW + 12 * DAY), None, CERTIFICATE, NOW, 0.25)
    assert (NOW + 10.5 * DAY, True) == (judgement.renew_at, judgement.is_new)
    expected = RenewalAdvice(SERIAL, NOW + 10 * DAY, NOW + 12 * DAY, NOW + timedelta(hours=6), "https://ca.example/why")
    assert expected == judgement.advice


def test_the_same_window_keeps_its_moment() -> None:
    """
    Or a certificate would be renewed early by being asked about often.
    """
    drawn = attrs.evolve(CERTIFICATE, renew_at=NOW + 11 * DAY)
    known = advice(NOW + 10 * DAY, NOW + 12 * DAY)
    judgement = judge(info(NOW + 10 * DAY, NOW + 12 * DAY), known, drawn, NOW, 0.0)
    assert (NOW + 11 * DAY, False) == (judgement.renew_at, judgement.is_new)
    assert NOW + timedelta(hours=6) == judgement.advice.ask_again_at


@pytest.mark.parametrize(
    "known", [advice(NOW + 10 * DAY, NOW + 13 * DAY), attrs.evolve(advice(NOW + 10 * DAY, NOW + 12 * DAY), serial="0b")]
)
def test_another_window_gets_another_moment(known: RenewalAdvice) -> None:
    """
    And so does the same one for another certificate.
    """
    judgement = judge(info(NOW + 10 * DAY, NOW + 12 * DAY), known, CERTIFICATE, NOW, 0.5)
    assert (NOW + 11 * DAY, True) == (judgement.renew_at, judgement.is_new)


@given(SPANS, SPANS, FRACTIONS, st.floats(allow_nan=False))
def test_no_window_parks_a_certificate_past_the_emergency(
    start: timedelta, length: timedelta, fraction: float, seconds: float
) -> None:
    """
    Whatever the CA says: a moment within the window or before, never after a sixth of the life is left, asked in a day.
    """
    window = info(NOW + start, NOW + start + abs(length), max(-1e9, min(1e9, seconds)))
    judgement = judge(window, None, CERTIFICATE, NOW, fraction)
    assert judgement.renew_at <= min(LATEST, max(window.end, NOW + DAY))
    assert judgement.renew_at >= min(LATEST, window.start)
    assert judgement.renew_at >= CERTIFICATE.bundle.not_before or window.end > CERTIFICATE.bundle.not_before
    assert timedelta(minutes=1) <= judgement.advice.ask_again_at - NOW <= DAY


@pytest.mark.parametrize(("days", "expected"), [(79, DAY), (5, DAY / 2)])
def test_a_window_before_the_certificate_waits_until_that_is_old_enough(days: int, expected: timedelta) -> None:
    """
    A CA that wants every certificate renewed at once gets one order a day, not one for each of its answers.
    """
    bundle = attrs.evolve(CERTIFICATE.bundle, not_after=CERTIFICATE.bundle.not_before + days * DAY)
    certificate = attrs.evolve(CERTIFICATE, bundle=bundle)
    judgement = judge(info(NOW - 2 * DAY, NOW - DAY), None, certificate, NOW, 0.5)
    assert bundle.not_before + expected == judgement.renew_at


def test_a_moment_that_was_later_already_stays_the_bound() -> None:
    """
    A certificate that came with little life left is not due at once because of a window.
    """
    short = attrs.evolve(CERTIFICATE, renew_at=LATEST + DAY)
    assert LATEST + DAY == judge(info(NOW + 90 * DAY, NOW + 91 * DAY), None, short, NOW, 0.5).renew_at


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        (None, NOW, False),
        (advice(), NOW, True),
        (advice(), NOW + 9 * DAY, True),
        (advice(), NOW - timedelta(seconds=1), False),
        (attrs.evolve(advice(), serial="0b"), NOW, False),
    ],
)
def test_a_renewal_follows_the_ca_once_its_window_has_begun(
    known: RenewalAdvice | None, now: datetime, *, expected: bool
) -> None:
    """
    A window that is over means now; that of another certificate means nothing.
    """
    assert expected == follows(known, SERIAL, now)
