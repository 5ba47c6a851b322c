"""
What a CA's renewal information means (RFC 9773): when it is asked, and which moment in its window a renewal gets. Pure.

Moments of questions are spread by what is stored: a certificate's serial number gives it a place within half a day that
no restart changes, so that ten thousand certificates are not asked about in a burst, and none is put off for ever.
"""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs import schedule
from sptls.certs.records import RenewalAdvice

if TYPE_CHECKING:
    from datetime import datetime

    from sptls.certs.records import RenewalInfo, StoredCertificate

# Twice a day, as Let's Encrypt's integration guide wants it.
HALF_DAY: Final = timedelta(hours=12)
# What fell due while nothing ran is asked for within so long.
CATCH_UP: Final = timedelta(hours=1)
# RFC 9773 §4.3.2: limits to what a Retry-After may ask for.
_SOONEST: Final = timedelta(minutes=1)
_LATEST: Final = timedelta(days=1)

_SAME_PLACE_SECONDS: Final = 1.0
# How old a certificate gets, in days or as a share of its life, whose CA says that it ought never to have been. That is
# a mistake of the CA's, and must not make us order without end.
_OLD_ENOUGH: Final = timedelta(days=1)
_SHARE_OLD_ENOUGH: Final = 0.1


@attrs.frozen
class Judgement:
    """
    What an answer leaves: the *advice* to be kept, the moment *renew_at* of the renewal, whether it *is_new* to us.
    """

    advice: RenewalAdvice
    renew_at: datetime
    is_new: bool


def place_after(serial: str, moment: datetime, stretch: timedelta) -> datetime:
    """
    Give the first moment after *moment* that is the certificate *serial*'s; it comes round once in each *stretch*.
    """
    length = stretch.total_seconds()
    offset = zlib.crc32(serial.encode()) / 2**32 * length
    left = (offset - moment.timestamp()) % length
    # At the place itself sums of epoch seconds are a little off, and whoever was there a moment ago must get the next.
    return moment + timedelta(seconds=left if left > _SAME_PLACE_SECONDS else left + length)


def first_question(serial: str, advice: RenewalAdvice | None, now: datetime) -> datetime:
    """
    Give when to ask about the certificate *serial*, of which *advice* was stored, at a start or when it is new.
    """
    if advice is None or advice.serial != serial:
        return place_after(serial, now, HALF_DAY)
    if advice.ask_again_at <= now:
        return place_after(serial, now, CATCH_UP)
    return min(advice.ask_again_at, now + _LATEST)  # a clock that was ahead may have stored it


def judge(
    info: RenewalInfo, before: RenewalAdvice | None, certificate: StoredCertificate, now: datetime, fraction: float
) -> Judgement:
    """
    Tell what *info* means for *certificate*, of which *before* was known; *fraction* is a random number in [0, 1).

    One uniformly random moment is drawn for each window, once (RFC 9773 §4.2); one in the past means now. None is later
    than `schedule.latest_renewal`, unless the renewal was due later than that already. A window that was over before
    the certificate's life began would have its successor renewed at once too: it waits for `_OLD_ENOUGH`.
    """
    bundle = certificate.bundle
    ask_again = min(max(timedelta(seconds=info.ask_again_seconds), _SOONEST), _LATEST)
    advice = RenewalAdvice(bundle.serial, info.start, info.end, now + ask_again, info.explanation_url)
    window = (bundle.serial, info.start, info.end)
    if before is not None and (before.serial, before.start, before.end) == window:
        return Judgement(advice, certificate.renew_at, is_new=False)
    latest = max(schedule.latest_renewal(bundle.not_before, bundle.not_after), certificate.renew_at)
    drawn = info.start + (info.end - info.start) * fraction
    if info.end <= bundle.not_before:
        drawn = bundle.not_before + min(_OLD_ENOUGH, (bundle.not_after - bundle.not_before) * _SHARE_OLD_ENOUGH)
    return Judgement(advice, min(drawn, latest), is_new=True)


def follows(advice: RenewalAdvice | None, serial: str, now: datetime) -> bool:
    """
    Tell whether a renewal of the certificate *serial* now is one that its CA asked for.
    """
    return advice is not None and advice.serial == serial and advice.start <= now
