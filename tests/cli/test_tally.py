"""
Tests for `sptls.cli.tally`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from sptls.cli.domain import Domain
from sptls.cli.tally import Tally
from sptls.names import HostName

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
VALID = Domain("a.example", "valid", "https://ca.example", "CN=R11", NOW + timedelta(days=89), NOW + timedelta(days=60))
ISSUING = Domain("a.example", "issuing", "https://ca.example")
FAILING = Domain(
    "a.example",
    "failing",
    "https://ca.example",
    next_attempt_at=NOW + timedelta(minutes=5),
    problem="no\x1b[2J such name",
)


def _words(settled: tuple[Any, ...]) -> list[str]:
    return [str(one) for one in settled]


def test_names_are_pending_in_order_and_once() -> None:
    """
    Nobody asks for a name twice.
    """
    tally = Tally(["b.example", "a.example", "b.example"])
    assert (HostName("b.example"), HostName("a.example")) == tally.names


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (VALID, "has a certificate already, nothing is ordered; valid until 2027-02-21 12:00 (89 days left)"),
        (
            attrs.evolve(VALID, source="own"),
            "brings its own certificate, nothing is ordered; valid until 2027-02-21 12:00 (89 days left)",
        ),
        (
            attrs.evolve(VALID, source="own", state="faulty", problem="it is for\nother.example"),
            "brings its own certificate, nothing is ordered; valid until 2027-02-21 12:00 (89 days left); "
            "it is for other.example",
        ),
    ],
)
def test_what_needs_no_order_is_settled_before_any(domain: Domain, expected: str) -> None:
    """
    It is said why, and an own certificate that is faulty counts as failed.
    """
    tally = Tally(["a.example"])
    assert [f"a.example: {expected}"] == _words(tally.begin([domain], NOW))
    assert ((), int(domain.state == "faulty")) == (tally.names, tally.failed)


@pytest.mark.parametrize("domain", [ISSUING, FAILING, attrs.evolve(VALID, renew_at=NOW)])
def test_what_needs_an_order_stays_pending(domain: Domain) -> None:
    """
    Also where it failed before, or is due for renewal.
    """
    tally = Tally(["a.example"])
    assert () == tally.begin([domain], NOW)
    assert (HostName("a.example"),) == tally.names


@pytest.mark.parametrize("state", ["issuing", "renewing", "waiting", "replacing"])
def test_order_under_way_settles_nothing(state: str) -> None:
    """
    The end of it is waited for.
    """
    tally = Tally(["a.example"])
    assert () == tally.take([attrs.evolve(ISSUING, state=state)], NOW)
    assert 1 == len(tally.pending)


def test_names_that_wait_for_their_cas_limits_are_told_with_the_reason_and_until_when() -> None:
    """
    That may be days: nobody is kept waiting for it, nor where a certificate is to be replaced.
    """
    waits = attrs.evolve(FAILING, state="waiting", problem="the CA's limits", serial="0a")
    expected = "a.example: waits: the CA's limits; next: attempt 2026-11-24 12:05 UTC (in 5 minutes)"
    for tally in (Tally(["a.example"]), Tally(["a.example"], replaced={"a.example": "0a"})):
        assert [expected] == _words(tally.take([waits], NOW))
        assert ((), 1) == (tally.names, tally.failed)


def test_issued_names_are_told_with_issuer_and_validity() -> None:
    """
    And are pending no more.
    """
    tally = Tally(["a.example"])
    expected = "a.example: issued by R11; valid until 2027-02-21 12:00 (89 days left)"
    assert [expected] == _words(tally.take([VALID], NOW))
    assert ((), 0) == (tally.names, tally.failed)


@pytest.mark.parametrize(
    ("domain", "reason"),
    [(FAILING, "no [2J such name"), (attrs.evolve(FAILING, problem=""), "no reason is known; see the daemon's log")],
)
def test_failed_names_are_told_with_the_reason_and_the_next_attempt(domain: Domain, reason: str) -> None:
    """
    What the CA said stays on its line.
    """
    tally = Tally(["a.example"])
    expected = f"a.example: failed: {reason}; next: attempt 2026-11-24 12:05 UTC (in 5 minutes)"
    assert [expected] == _words(tally.take([domain], NOW))
    assert ((), 1) == (tally.names, tally.failed)


def test_certificate_that_another_server_does_not_read_yet_is_told_with_both() -> None:
    """
    It was issued; why that was not all counts as failed.
    """
    tally = Tally(["a.example"])
    expected = "a.example: issued by R11; valid until 2027-02-21 12:00 (89 days left); deployment: exit status 1"
    assert [expected] == _words(tally.take([attrs.evolve(VALID, deploy_problem="exit\nstatus 1")], NOW))
    assert 1 == tally.failed


@pytest.mark.parametrize("state", ["valid", "renewing", "waiting"])
def test_certificate_that_is_to_be_replaced_settles_nothing(state: str) -> None:
    """
    Its successor does, and a failure.
    """
    tally = Tally(["a.example"], replaced={"a.example": "0a"})
    old = attrs.evolve(VALID, state=state, serial="0a", deploy_problem="still copying")
    assert () == tally.take([old], NOW)
    assert 1 == len(tally.take([attrs.evolve(VALID, serial="0b")], NOW))
    failed = Tally(["a.example"], replaced={"a.example": "0a"})
    assert 1 == len(failed.take([attrs.evolve(FAILING, serial="0a")], NOW))
    assert (0, 1) == (tally.failed, failed.failed)


def test_own_certificates_are_not_ours_to_replace() -> None:
    """
    They count as failed: it was asked for.
    """
    tally = Tally(["a.example", "b.example"])
    own = attrs.evolve(VALID, source="own")
    assert [
        "a.example: brings its own certificate, which is yours to renew; valid until 2027-02-21 12:00 (89 days left)"
    ] == _words(tally.leave_own([own, attrs.evolve(VALID, name="b.example")], NOW))
    assert ((HostName("b.example"),), 1) == (tally.names, tally.failed)


def test_names_that_nobody_asked_for_are_left_out() -> None:
    """
    Each name settles once, whatever else is told.
    """
    tally = Tally(["a.example"])
    other = attrs.evolve(VALID, name="b.example")
    assert () == tally.begin([other], NOW)
    assert 1 == len(tally.take([VALID, other], NOW))
    assert () == tally.take([VALID, other], NOW)


def test_giving_up_settles_the_rest_as_failed() -> None:
    """
    All but those that are spared.
    """
    tally = Tally(["a.example", "b.example"])
    assert ["b.example: gone"] == _words(tally.give_up("gone", but=[ISSUING]))
    assert ["a.example: no outcome"] == _words(tally.give_up("no outcome"))
    assert ((), 2) == (tally.names, tally.failed)


def test_another_servers_certificate_is_not_ours_to_order_or_replace() -> None:
    """
    Where one is to be there, there is; where another was asked for, there will be none.
    """
    domain = attrs.evolve(ISSUING, state="passed through", source="passthrough")
    words = "a.example: is passed through, nothing is ordered: its certificate is the other server's"
    issue, renew = Tally(["a.example"]), Tally(["a.example"])
    assert ([words], 0) == (_words(issue.begin([domain], NOW)), issue.failed)
    assert ([words], 1) == (_words(renew.leave_own([domain], NOW)), renew.failed)
