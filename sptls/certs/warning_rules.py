"""
What people are warned of about a name's certificate, once each: a first failure, an expiry, that all is well again.

`judge` is the only place that says so; what people know already (`records.Warned`) comes in and goes out as a value.
Pure. An attempt that fails is no news while they know of a failure; an expiry is one when its renewal was due.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from sptls.certs.records import NOT_WARNED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Diagnosis
    from sptls.certs.records import Warned
    from sptls.certs.standing import NameState
    from sptls.names import HostName

# How many days before its expiry a certificate of 90 days is warned of; a shorter one at the same shares of its life.
DAYS: Final = (1, 7, 21)
_LIFE_DAYS: Final = 90
# A renewal that has become due gets so long, or this share of the certificate's life, before anybody is warned.
_RENEWAL_TAKES: Final = timedelta(minutes=10)
_RENEWAL_SHARE: Final = 1 / 90


class Kind(Enum):
    """
    What a warning is about.
    """

    FAILING = "failing"
    EXPIRING = "expiring"
    RECOVERED = "recovered"


@attrs.frozen
class Subject:
    """
    What is so of *name* now: the certificate that is served, and how its renewal goes.

    *renew_at* is None where nobody renews it: it is the operator's own, or there is none.
    """

    name: HostName
    bundle: CertificateBundle | None
    renew_at: datetime | None = None
    is_failing: bool = False
    is_own: bool = False
    problem: str = ""
    next_attempt_at: datetime | None = None
    diagnosis: Diagnosis | None = None


def subject_of(name: HostName, state: NameState | None, bundle: CertificateBundle | None) -> Subject | None:
    """
    Give what is so of *name*, whose *bundle* is served; with no *state* of an order it is the operator's own.
    """
    if state is None:
        return None if bundle is None else Subject(name, bundle, is_own=True)
    return Subject(
        name,
        bundle,
        state.renew_at,
        is_failing=state.failures > 0 or _is_late(state, bundle),
        problem=state.last_error,
        next_attempt_at=state.next_attempt_at,
        diagnosis=state.diagnosis,
    )


@attrs.frozen
class CertificateWarning:
    """
    What people are told of *subject*; where its certificate expires, in how many *days* (of a life of 90) at the most.
    """

    kind: Kind
    subject: Subject
    days: int = 0

    @property
    def sentence(self) -> str:
        """
        Say it in words.
        """
        subject = self.subject
        name, bundle, problem = subject.name, subject.bundle, subject.problem
        why = f": {problem}" if problem else ""
        until = "" if bundle is None else f"{bundle.not_after:%Y-%m-%d %H:%M} UTC"
        if self.kind is Kind.RECOVERED:
            return f"{name}: all is well again, its certificate is valid until {until}"
        if self.kind is Kind.EXPIRING and subject.is_own:
            return f"{name}: its own certificate is valid until {until}; put a new one in the place of its files"
        again = (
            ""
            if subject.next_attempt_at is None
            else f"; next attempt at {subject.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        if self.kind is Kind.EXPIRING:
            return f"{name}: its certificate is valid until {until} and has not been renewed{why}{again}"
        lacks = "it has no certificate" if bundle is None else f"its certificate, valid until {until}, is not renewed"
        return f"{name}: {lacks}{why}{again}"


def judge(subject: Subject, warned: Warned, now: datetime) -> tuple[tuple[CertificateWarning, ...], Warned]:
    """
    Give the warnings of *subject* that are due *now*, and what people know after them; *warned* is what they knew.
    """
    bundle = subject.bundle
    serial = "" if bundle is None else bundle.serial
    found = []
    if warned != NOT_WARNED and bundle is not None and bundle.not_after > now and serial != warned.serial:
        if not subject.is_failing:
            found.append(CertificateWarning(Kind.RECOVERED, subject))
        warned = NOT_WARNED
    if subject.is_failing and not warned.is_failing:
        found.append(CertificateWarning(Kind.FAILING, subject))
        warned = attrs.evolve(warned, serial=serial, is_failing=True)
    days = 0 if bundle is None else _days_due(bundle, subject.renew_at, now)
    if days and (not warned.days or days < warned.days):
        found.append(CertificateWarning(Kind.EXPIRING, subject, days))
        warned = attrs.evolve(warned, serial=serial, days=days)
    return tuple(found), warned


def payload(warnings: Sequence[CertificateWarning]) -> dict[str, Any]:
    """
    Give what people's programs get, as JSON can hold it; *text* is what chat services show of a webhook's content.
    """
    return {
        "text": "\n".join(warning.sentence for warning in warnings),
        "count": len(warnings),
        "warnings": [_entry(warning) for warning in warnings],
    }


def _entry(warning: CertificateWarning) -> dict[str, Any]:
    subject, diagnosis = warning.subject, warning.subject.diagnosis
    return {
        "name": subject.name.text,
        "kind": warning.kind.value,
        "text": warning.sentence,
        "days": warning.days or None,
        "not_after": None if subject.bundle is None else _moment(subject.bundle.not_after),
        "next_attempt_at": _moment(subject.next_attempt_at),
        "problem": subject.problem or None,
        "code": diagnosis.code if diagnosis else None,
        "cause": diagnosis.cause if diagnosis else None,
        "who": diagnosis.who.value if diagnosis else None,
        "advice": diagnosis.advice if diagnosis else None,
    }


def _is_late(state: NameState, bundle: CertificateBundle | None) -> bool:
    """
    Tell whether the certificate does not last as long as the CA's limits make its successor wait.
    """
    waits_until = state.next_attempt_at if state.state == "waiting" else None
    return bundle is not None and waits_until is not None and bundle.not_after <= waits_until


def _days_due(bundle: CertificateBundle, renew_at: datetime | None, now: datetime) -> int:
    """
    Give the last warning before the expiry that is due by *now*, or 0.
    """
    life = bundle.not_after - bundle.not_before
    if renew_at is not None and now < renew_at + min(_RENEWAL_TAKES, life * _RENEWAL_SHARE):
        return 0
    left = bundle.not_after - now
    return next((days for days in DAYS if left <= min(timedelta(days=days), life * days / _LIFE_DAYS)), 0)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
