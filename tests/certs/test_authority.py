from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError

from sptls.certs.authority import LONGEST_BLOCK_SECONDS, UNKNOWN_LIMIT_SECONDS, Authority, Moment
from sptls.certs.breaker import FAILURES_THAT_OPEN
from sptls.certs.limits import Bucket, Demand, Ledger, Limits, NotBefore, Priority
from sptls.errors import (
    AcmeProblem,
    AcmeUnreachable,
    ActionRequired,
    Concern,
    IssuanceFailed,
    OrderCancelled,
    PrecheckFailed,
    Scope,
    ValidationFailed,
)

NOW = Moment(1_000_000.0, 50.0)
CLICK, OPEN, OTHER = (Demand(name, Priority.NEW) for name in ("click.a.example", "open.a.example", "click.b.example"))
DOWN = IssuanceFailed(AcmeUnreachable("newOrder", "refused"))


@attrs.frozen
class Issuer:
    """
    As much of an issuer as is needed here.
    """

    directory: str = "https://ca.example/directory"


def authority(limits: Limits | None = None) -> Authority:
    """
    Give a CA with *limits*, or none.
    """
    issuer: Any = Issuer()
    return Authority(issuer, 2, Ledger(limits or Limits(), lambda name: name.partition(".")[2]), lambda: 0.5)


def limited(scope: Scope, *, subject: str = "", retry_at: datetime | None = None, seconds: float | None = None) -> Any:
    """
    Give what an attempt ends in when the CA answers 429.
    """
    concern = Concern(scope, subject, retry_at)
    return IssuanceFailed(AcmeProblem(429, "rateLimited", concern=concern, retry_after_seconds=seconds))


def test_order_may_begin() -> None:
    """
    Nothing stands in the way at first, and the directory is the issuer's.
    """
    ca = authority()
    assert (None, "https://ca.example/directory") == (ca.not_before(CLICK, NOW), ca.directory)


def test_outage_stops_every_name() -> None:
    """
    After some failures in a row nobody's order begins before the pause is over; wall time says when.
    """
    ca = authority()
    for _ in range(FAILURES_THAT_OPEN):
        ca.began(CLICK, NOW)
        ca.failed(CLICK, DOWN, NOW)
    assert NotBefore(NOW.wall + 30, Scope.CA) == ca.not_before(OTHER, NOW)
    later = Moment(NOW.wall + 30, NOW.monotonic + 30)
    assert ca.not_before(OTHER, later) is None
    ca.began(OTHER, later)
    assert ca.not_before(CLICK, later) is not None
    ca.issued(OTHER, 1)
    assert ca.not_before(CLICK, later) is None


def test_wait_for_an_outage_is_never_over_at_once() -> None:
    """
    Wall time is good to a quarter of a microsecond: who waits for less than that does not ask again and again.
    """
    ca = authority()
    for _ in range(FAILURES_THAT_OPEN):
        ca.failed(CLICK, DOWN, NOW)
    just_before = Moment(1.8e9, NOW.monotonic + 30 - 1e-9)
    wait = ca.not_before(CLICK, just_before)
    assert wait is not None
    assert wait.moment > just_before.wall


@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        IssuanceFailed(ActionRequired(AcmeProblem(403, "userActionRequired"), "agree")),
        IssuanceFailed(AcmeProblem(500, "serverInternal", concern=Concern(Scope.CA))),
    ],
)
def test_what_meets_everybody_counts_as_an_outage(error: Exception) -> None:
    """
    A thousand names need not learn one after the other that the account is refused.
    """
    ca = authority()
    for _ in range(FAILURES_THAT_OPEN):
        ca.failed(CLICK, error, NOW)
    assert ca.breaker.is_open


@pytest.mark.parametrize(
    "error",
    [
        IssuanceFailed(ValidationFailed("click.a.example", ())),
        IssuanceFailed(AcmeProblem(400, "rejectedIdentifier")),
        IssuanceFailed(OrderCancelled()),
        IssuanceFailed(PrecheckFailed("a.example", ())),
        ZeroDivisionError(),
    ],
)
def test_what_concerns_a_name_stops_nobody_else(error: Exception) -> None:
    """
    However often it happens.
    """
    ca = authority()
    for _ in range(5 * FAILURES_THAT_OPEN):
        ca.failed(CLICK, error, NOW)
    assert not ca.breaker.is_open


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        (Scope.NAME, [CLICK]),
        (Scope.REGISTERED_DOMAIN, [CLICK, OPEN]),
        (Scope.ACCOUNT, [CLICK, OPEN, OTHER]),
        (Scope.CA, [CLICK, OPEN, OTHER]),
    ],
)
def test_limit_is_obeyed_for_exactly_what_it_concerns(scope: Scope, stopped: list[Demand]) -> None:
    """
    Until the moment that Retry-After gives; and then no more.
    """
    ca = authority()
    ca.failed(CLICK, limited(scope, seconds=90), NOW)
    waits = [demand for demand in (CLICK, OPEN, OTHER) if ca.not_before(demand, NOW) == NotBefore(NOW.wall + 90, scope)]
    assert stopped == waits
    assert all(ca.not_before(demand, Moment(NOW.wall + 90, 140)) is None for demand in (CLICK, OPEN, OTHER))


def test_limit_names_its_subject() -> None:
    """
    The CA may speak of another name than the one that was ordered.
    """
    ca = authority()
    ca.failed(CLICK, limited(Scope.NAME, subject=OTHER.name, seconds=5), NOW)
    assert (None, NotBefore(NOW.wall + 5, Scope.NAME)) == (ca.not_before(CLICK, NOW), ca.not_before(OTHER, NOW))


@pytest.mark.parametrize(
    ("retry_at_seconds", "expected_seconds"),
    [(30.0, 30.0), (None, UNKNOWN_LIMIT_SECONDS), (-500.0, 0.0), (1e8, LONGEST_BLOCK_SECONDS)],
)
def test_limit_lasts_as_long_as_the_ca_says(retry_at_seconds: float | None, expected_seconds: float) -> None:
    """
    A minute where it does not say, a day at the most.
    """
    ca = authority()
    moment = None if retry_at_seconds is None else datetime.fromtimestamp(NOW.wall + retry_at_seconds, UTC)
    ca.failed(CLICK, limited(Scope.NAME, retry_at=moment), NOW)
    expected = NotBefore(NOW.wall + expected_seconds, Scope.NAME) if expected_seconds else None
    assert expected == ca.not_before(CLICK, NOW)


def test_orders_are_counted_and_certificates_that_did_not_come_are_not() -> None:
    """
    What an order cost is gone, what a certificate would have cost is there again.
    """
    ca = authority(Limits(orders=Bucket(1, 60), certificates_per_name=Bucket(1, 600)))
    ca.began(CLICK, NOW)
    assert NotBefore(NOW.wall + 600, Scope.NAME) == ca.not_before(CLICK, NOW)
    ca.failed(CLICK, IssuanceFailed(ValidationFailed("click.a.example", ()), orders=1), NOW)
    assert NotBefore(NOW.wall + 60, Scope.ACCOUNT) == ca.not_before(CLICK, NOW)


@pytest.mark.parametrize(
    ("error", "expected_orders"),
    [
        (None, 1),
        (IssuanceFailed(ValidationFailed("click.a.example", ()), orders=2), 2),
        (IssuanceFailed(AcmeUnreachable("directory", "refused")), 0),
        (CancelledError(), 2),
    ],
)
def test_each_challenge_type_may_cost_an_order(error: BaseException | None, expected_orders: int) -> None:
    """
    While an attempt runs all that it may order is spent, so that it meets no 429 at its second; then what it did order.
    """
    ca = authority(Limits(orders=Bucket(10, 60)))
    ca.began(CLICK, NOW)
    assert {"orders": NOW.wall + 120} == ca.ledger.take_changes()
    if error is None:
        ca.issued(CLICK, 1)
    else:
        ca.failed(CLICK, error, NOW)
    assert NOW.wall + expected_orders * 60 == ca.ledger.entries["orders"]


def test_order_that_was_never_made_is_given_back() -> None:
    """
    A process that ended between its books and the CA leaves them as they were.
    """
    ca = authority(Limits(Bucket(2, 60), Bucket(2, 60), Bucket(2, 60)))
    ca.began(CLICK, NOW)
    ca.withdrew(CLICK)
    assert {NOW.wall} == set(ca.ledger.entries.values())
