from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from sptls.acme import take_up
from sptls.acme.messages import Order, OrderStatus
from sptls.certs.records import OrderRecord
from sptls.errors import (
    AcmeProblem,
    AcmeProtocolError,
    AcmeUnreachable,
    BadCertificate,
    ConfigError,
    SptlsError,
    StoreError,
    ValidationFailed,
)
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for

ACCOUNT = "https://ca.example/account/1"
RECORD = OrderRecord(CLICK, CA, ACCOUNT, "https://ca.example/order/1", b"key", NOW, NOW + timedelta(days=7))


@pytest.mark.parametrize(
    ("directory", "account_url", "days", "expected"),
    [
        (CA, ACCOUNT, 6, True),
        (CA, ACCOUNT, 7, False),
        ("https://other.example/directory", ACCOUNT, 0, False),
        (CA, "https://ca.example/account/2", 0, False),
    ],
)
def test_an_order_is_its_accounts_until_it_expires(directory: str, account_url: str, days: int, expected: bool) -> None:
    """
    Another CA or another account can't go on with it.
    """
    assert expected is take_up.may_go_on(RECORD, directory, account_url, NOW + timedelta(days=days))


@pytest.mark.parametrize(
    ("status", "hours", "expected"),
    [
        ("pending", 0, True),
        ("ready", 0, True),
        ("processing", 0.9, True),
        ("processing", 1, False),
        ("pending", 1, False),
        ("valid", 160, True),
        ("invalid", 0, False),
    ],
)
def test_a_certificate_is_fetched_late_but_a_stuck_order_given_up(
    status: OrderStatus, hours: float, expected: bool
) -> None:
    """
    What was made is never ordered twice; what does not come within an hour is ordered anew.
    """
    order = Order(RECORD.url, status, (), "https://ca.example/finalize/1")
    assert expected is take_up.is_worth_it(order, RECORD, NOW + timedelta(hours=hours))


def test_only_a_longer_lived_certificate_is_a_successor() -> None:
    """
    A leftover that leads to the certificate we have is no renewal.
    """
    old = bundle_for(CLICK)
    assert take_up.is_newer(old, None)
    assert not take_up.is_newer(old, old)
    assert take_up.is_newer(bundle_for(CLICK, not_after=old.not_after + timedelta(days=1)), old)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AcmeProblem(404, "malformed"), True),
        (AcmeProblem(400, "badCSR"), True),
        (AcmeProblem(429, "rateLimited"), False),
        (AcmeProblem(400, "accountDoesNotExist"), False),
        (AcmeProblem(403, "userActionRequired"), False),
        (ValidationFailed("click.example.com", ()), True),
        (BadCertificate("for another name"), True),
        (AcmeUnreachable("order", "no answer"), False),
        (AcmeProtocolError("order", "not JSON"), False),
        (StoreError("store.db", "full"), False),
        (ConfigError(()), False),
    ],
)
def test_a_refusal_ends_an_order_and_silence_does_not(error: SptlsError, expected: bool) -> None:
    """
    What passes by itself, or is the account's, leaves the order as it is.
    """
    assert expected is take_up.ends_order(error)


def test_the_key_of_an_order_is_not_shown() -> None:
    """
    A record may end in a log.
    """
    assert "secret" not in repr(attrs.evolve(RECORD, key=b"secret"))
