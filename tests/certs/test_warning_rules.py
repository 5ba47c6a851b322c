from __future__ import annotations

import json
from datetime import datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.bundle import CertificateBundle
from sptls.certs.diagnosis import Diagnosis, Who
from sptls.certs.records import NOT_WARNED, Warned
from sptls.certs.standing import NameState
from sptls.certs.warning_rules import CertificateWarning, Kind, Subject, judge, payload, subject_of
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CLICK

DAY = timedelta(days=1)
FAILING, EXPIRING, RECOVERED = Kind.FAILING, Kind.EXPIRING, Kind.RECOVERED


def bundle(life: timedelta = 90 * DAY, serial: str = "0a", not_before: datetime = NOW) -> CertificateBundle:
    """
    Give a certificate that lives for *life* from *not_before*; its bytes do not matter.
    """
    return CertificateBundle(b"", (b"",), (CLICK,), not_before, not_before + life, "CN=Test", serial)


def subject(
    certificate: CertificateBundle | None, *, is_failing: bool = False, renew_at: datetime | None = NOW
) -> Subject:
    """
    Give a name with *certificate*, whose renewal was due at once.
    """
    return Subject(CLICK, certificate, renew_at, is_failing=is_failing)


def kinds(one: Subject, warned: Warned, now: datetime = NOW) -> tuple[tuple[Kind, ...], Warned]:
    """
    Give what would be told of *one*, and what is known then.
    """
    found, after = judge(one, warned, now)
    return tuple(warning.kind for warning in found), after


@pytest.mark.parametrize("certificate", [None, bundle()])
def test_the_first_failure_is_told_once(certificate: CertificateBundle | None) -> None:
    """
    Not one warning for each attempt.
    """
    failing = subject(certificate, is_failing=True)
    serial = "" if certificate is None else "0a"
    assert ((FAILING,), Warned(serial, 0, True)) == kinds(failing, NOT_WARNED)
    assert ((), Warned(serial, 0, True)) == kinds(failing, Warned(serial, 0, True))


def test_all_well_is_told_when_a_new_certificate_came() -> None:
    """
    That an operator has the failures forgotten mends nothing yet.
    """
    known = Warned("0a", 7, True)
    assert ((), known) == kinds(subject(bundle()), known)
    assert ((RECOVERED,), NOT_WARNED) == kinds(subject(bundle(serial="0b")), known)
    assert ((RECOVERED,), NOT_WARNED) == kinds(subject(bundle()), Warned("", 0, True))


def test_nothing_is_well_with_an_expired_certificate() -> None:
    """
    Nor with none.
    """
    known = Warned("0a", 1, True)
    assert ((), known) == kinds(subject(None), known)
    assert ((), known) == kinds(subject(bundle(serial="0b")), known, NOW + 100 * DAY)


def test_a_successor_that_fails_again_is_a_failure_of_its_own() -> None:
    """
    Between two looks a renewal came, and the next one fails.
    """
    failing = subject(bundle(serial="0b"), is_failing=True)
    assert ((FAILING,), Warned("0b", 0, True)) == kinds(failing, Warned("0a", 7, True))


@pytest.mark.parametrize(
    ("life", "left", "days"),
    [
        (90 * DAY, 22 * DAY, 0),
        (90 * DAY, 21 * DAY, 21),
        (90 * DAY, 7 * DAY, 7),
        (90 * DAY, DAY, 1),
        (90 * DAY, -DAY, 1),
        (365 * DAY, 22 * DAY, 0),
        (365 * DAY, 21 * DAY, 21),
        (9 * DAY, 2.2 * DAY, 0),
        (9 * DAY, 2.1 * DAY, 21),
        (9 * DAY, 0.7 * DAY, 7),
        (9 * DAY, 0.1 * DAY, 1),
    ],
)
def test_an_expiry_is_told_so_many_days_before(life: timedelta, left: timedelta, days: int) -> None:
    """
    At the same shares of a shorter life: whichever is later.
    """
    now = NOW + life - left
    expected = ((EXPIRING,), Warned("0a", days, False)) if days else ((), NOT_WARNED)
    assert expected == kinds(subject(bundle(life)), NOT_WARNED, now)


def test_each_stage_of_an_expiry_is_told_once() -> None:
    """
    Looked at every six hours, there are three warnings in a certificate's life; of stages missed together, the last.
    """
    told, warned = [], NOT_WARNED
    for quarter in range(95 * 4):
        found, warned = judge(subject(bundle()), warned, NOW + quarter * DAY / 4)
        told += [(quarter / 4, warning.days) for warning in found]
    assert [(69.0, 21), (83.0, 7), (89.0, 1)] == told


def test_an_expiry_whose_renewal_is_not_due_is_no_news() -> None:
    """
    A CA may want it late; the renewal gets a while to come then.
    """
    late = subject(bundle(), renew_at=NOW + 74 * DAY)
    assert ((), NOT_WARNED) == kinds(late, NOT_WARNED, NOW + 74 * DAY + timedelta(minutes=9))
    assert (EXPIRING,) == kinds(late, NOT_WARNED, NOW + 74 * DAY + timedelta(minutes=11))[0]


def test_an_own_certificate_is_warned_of_by_its_days_alone() -> None:
    """
    Nobody here renews it.
    """
    own = attrs.evolve(subject(bundle(), renew_at=None), is_own=True)
    (warning,), _ = judge(own, NOT_WARNED, NOW + 70 * DAY)
    assert "click.example.com: its own certificate is valid until 2026-10-30 12:00 UTC; put a new one" in (
        warning.sentence
    )


def test_failure_and_expiry_may_come_together() -> None:
    """
    Two warnings, and both are known then.
    """
    failing = subject(bundle(), is_failing=True)
    assert ((FAILING, EXPIRING), Warned("0a", 7, True)) == kinds(failing, NOT_WARNED, NOW + 85 * DAY)


subjects = st.builds(
    Subject,
    st.just(CLICK),
    st.none() | st.builds(bundle, st.timedeltas(timedelta(seconds=1), 400 * DAY), st.sampled_from(["0a", "0b"])),
    st.none() | st.timedeltas(-400 * DAY, 400 * DAY).map(lambda offset: NOW + offset),
    st.booleans(),
)
known = st.builds(Warned, st.sampled_from(["", "0a", "0b"]), st.sampled_from([0, 1, 7, 21]), st.booleans())


@given(subjects, known, st.timedeltas(-10 * DAY, 500 * DAY))
def test_nothing_is_told_twice(one: Subject, warned: Warned, since: timedelta) -> None:
    """
    Whatever is so, a second look at the same moment has no news, and a warning changes what is known.
    """
    found, after = judge(one, warned, NOW + since)
    assert ((), after) == judge(one, after, NOW + since)
    assert not found or after != warned


def test_what_the_renewer_says_of_a_name_is_what_is_told() -> None:
    """
    A name that it does not know is the operator's own, or not served at all.
    """
    state = NameState("failing", NOW, NOW, "busy", NOW + DAY, failures=2)
    expected = Subject(CLICK, bundle(), NOW, is_failing=True, problem="busy", next_attempt_at=NOW + DAY)
    assert expected == subject_of(CLICK, state, bundle())
    waiting = NameState("waiting", NOW, NOW, "the CA's limits", NOW + DAY)
    assert attrs.evolve(expected, is_failing=False, problem="the CA's limits") == subject_of(CLICK, waiting, bundle())
    assert Subject(CLICK, bundle(), is_own=True) == subject_of(CLICK, None, bundle())
    assert subject_of(CLICK, None, None) is None


@pytest.mark.parametrize(
    ("certificate", "is_told"), [(bundle(DAY), True), (bundle(DAY + timedelta(seconds=1)), False), (None, False)]
)
def test_a_wait_for_a_cas_limits_is_told_where_the_certificate_does_not_last_it_out(
    certificate: CertificateBundle | None, is_told: bool
) -> None:
    """
    A name that never had one is new: its order waits for its turn.
    """
    waiting = NameState("waiting", NOW, NOW, "the CA's limits", NOW + DAY)
    found = subject_of(CLICK, waiting, certificate)
    assert found is not None
    assert is_told == found.is_failing


def test_payload_has_everything_and_reads_well() -> None:
    """
    JSON of plain values, and no key of ours.
    """
    diagnosis = Diagnosis("dns", Who.CUSTOMER, "it leads elsewhere", "mend it")
    failing = Subject(
        HostName("a.example"), None, None, True, problem="no such name", next_attempt_at=NOW, diagnosis=diagnosis
    )
    renewal = attrs.evolve(failing, name=CLICK, bundle=bundle(), problem="", diagnosis=None)
    given = payload(
        [
            CertificateWarning(Kind.FAILING, failing),
            CertificateWarning(Kind.FAILING, renewal),
            CertificateWarning(Kind.EXPIRING, attrs.evolve(renewal, problem="busy"), 7),
            CertificateWarning(Kind.RECOVERED, renewal),
        ]
    )
    assert [
        "a.example: it has no certificate: no such name; next attempt at 2026-08-01 12:00:00 UTC",
        "click.example.com: its certificate, valid until 2026-10-30 12:00 UTC, is not renewed; "
        "next attempt at 2026-08-01 12:00:00 UTC",
        "click.example.com: its certificate is valid until 2026-10-30 12:00 UTC and has not been renewed: busy; "
        "next attempt at 2026-08-01 12:00:00 UTC",
        "click.example.com: all is well again, its certificate is valid until 2026-10-30 12:00 UTC",
    ] == given["text"].splitlines()
    first, second, third, _ = json.loads(json.dumps(given))["warnings"]
    assert {
        "name": "a.example",
        "kind": "failing",
        "text": "a.example: it has no certificate: no such name; next attempt at 2026-08-01 12:00:00 UTC",
        "days": None,
        "not_after": None,
        "next_attempt_at": "2026-08-01T12:00:00Z",
        "problem": "no such name",
        "code": "dns",
        "cause": "it leads elsewhere",
        "who": "customer-dns",
        "advice": "mend it",
    } == first
    assert ("2026-10-30T12:00:00Z", None, 7, 4) == (
        second["not_after"],
        second["problem"],
        third["days"],
        given["count"],
    )
