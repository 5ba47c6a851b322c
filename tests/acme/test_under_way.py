from __future__ import annotations

from datetime import timedelta

import pytest
from zope.interface.verify import verifyObject

from sptls.acme.attempt import Attempt
from sptls.acme.messages import Order
from sptls.acme.take_up import USUAL_LIFETIME
from sptls.acme.under_way import OrdersUnderWay
from sptls.errors import AcmeProblem, StoreError
from sptls.interfaces import IOrders
from sptls.names import HostName
from tests.acme.fake_ca import DIRECTORY, NOW, ORIGIN, OrdersInMemory
from tests.certs.stored import outcome

NAME = HostName("a.test")
ACCOUNT = f"{ORIGIN}/account/0"
ORDER = Order(f"{ORIGIN}/order/0", "pending", (), f"{ORIGIN}/finalize/0")
EXPIRES = NOW + timedelta(days=3)


@pytest.fixture
def under_way(orders: OrdersInMemory) -> OrdersUnderWay:
    """
    Give the orders at the CA.
    """
    return OrdersUnderWay(orders, DIRECTORY, lambda: NOW)


def test_the_double_provides_the_seam(orders: OrdersInMemory) -> None:
    """
    The tests' store keeps to the interface.
    """
    assert verifyObject(IOrders, orders)


def test_what_was_kept_is_found(under_way: OrdersUnderWay) -> None:
    """
    An order is found by its account, with its key, until it is forgotten.
    """
    attempt = Attempt(NAME, 180.0, is_replacement=True, key=b"key", failed_types=["tls-alpn-01"])
    outcome(under_way.keep(ACCOUNT, ORDER, attempt))
    record = outcome(under_way.find(NAME, ACCOUNT))
    assert record is not None
    assert (ORDER.url, b"key", True, NOW + USUAL_LIFETIME, ("tls-alpn-01",)) == (
        record.url, record.key, record.is_replacement, record.expires, record.failed_types,
    )  # fmt: skip
    assert outcome(under_way.find(NAME, f"{ORIGIN}/account/1")) is None
    outcome(under_way.forget(NAME))
    assert outcome(under_way.find(NAME, ACCOUNT)) is None


def test_the_cas_own_expiry_is_kept(under_way: OrdersUnderWay, orders: OrdersInMemory) -> None:
    """
    Where the CA says when an order expires, that counts.
    """
    order = Order(ORDER.url, "pending", (), ORDER.finalize, expires=EXPIRES)
    outcome(under_way.keep(ACCOUNT, order, Attempt(NAME, 180.0)))
    assert EXPIRES == orders.records[NAME].expires


def test_a_store_that_fails_stops_no_order(under_way: OrdersUnderWay, orders: OrdersInMemory) -> None:
    """
    A full disk costs an order after a restart, and no certificate now.
    """
    orders.fault = StoreError("store.db", "the disk is full")
    attempt = Attempt(NAME, 180.0)
    outcome(under_way.keep(ACCOUNT, ORDER, attempt))
    assert attempt.record is None
    assert outcome(under_way.find(NAME, ACCOUNT)) is None
    outcome(under_way.forget(NAME))


LIMIT = AcmeProblem(429, "rateLimited")


@pytest.mark.parametrize(
    ("error", "is_order_over"), [(LIMIT, True), (AcmeProblem(400, "badCSR"), False), (AcmeProblem(400, "badCSR"), True)]
)
def test_an_order_that_leads_nowhere_is_not_left(
    under_way: OrdersUnderWay, orders: OrdersInMemory, error: AcmeProblem, is_order_over: bool
) -> None:
    """
    Because of how the attempt ended, or because its challenge had failed before that.
    """
    attempt = Attempt(NAME, 180.0)
    outcome(under_way.keep(ACCOUNT, ORDER, attempt))
    attempt.is_order_over = is_order_over
    outcome(under_way.leave(attempt, error))
    assert {} == orders.records


@pytest.mark.parametrize("is_being_validated", [False, True])
def test_an_order_that_is_left_has_told_its_cost(
    under_way: OrdersUnderWay, orders: OrdersInMemory, is_being_validated: bool
) -> None:
    """
    The attempt told what had failed before this order, and took an outcome that it did not hear for a failure.
    """
    attempt = Attempt(NAME, 180.0, failed_types=["tls-alpn-01"])
    outcome(under_way.keep(ACCOUNT, ORDER, attempt))
    attempt.is_being_validated = is_being_validated
    outcome(under_way.leave(attempt, LIMIT))
    assert ((), is_being_validated) == (orders.records[NAME].failed_types, orders.records[NAME].is_counted)
    attempt.go_on(orders.records[NAME])
    assert (0, is_being_validated) == (attempt.failed_authorizations, attempt.is_counted)
