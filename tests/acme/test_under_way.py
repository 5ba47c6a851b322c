from __future__ import annotations

from datetime import timedelta

import pytest
from zope.interface.verify import verifyObject

from sptls.acme.messages import Order
from sptls.acme.take_up import USUAL_LIFETIME
from sptls.acme.under_way import OrdersUnderWay
from sptls.errors import StoreError
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
    outcome(under_way.keep(NAME, ACCOUNT, ORDER, b"key", is_replacement=True))
    record = outcome(under_way.find(NAME, ACCOUNT))
    assert record is not None
    assert (ORDER.url, b"key", True, NOW + USUAL_LIFETIME) == (
        record.url, record.key, record.is_replacement, record.expires,
    )  # fmt: skip
    assert outcome(under_way.find(NAME, f"{ORIGIN}/account/1")) is None
    outcome(under_way.forget(NAME))
    assert outcome(under_way.find(NAME, ACCOUNT)) is None


def test_the_cas_own_expiry_is_kept(under_way: OrdersUnderWay, orders: OrdersInMemory) -> None:
    """
    Where the CA says when an order expires, that counts.
    """
    order = Order(ORDER.url, "pending", (), ORDER.finalize, expires=EXPIRES)
    outcome(under_way.keep(NAME, ACCOUNT, order, b"key", is_replacement=False))
    assert EXPIRES == orders.records[NAME].expires


def test_a_store_that_fails_stops_no_order(under_way: OrdersUnderWay, orders: OrdersInMemory) -> None:
    """
    A full disk costs an order after a restart, and no certificate now.
    """
    orders.fault = StoreError("store.db", "the disk is full")
    outcome(under_way.keep(NAME, ACCOUNT, ORDER, b"key", is_replacement=False))
    assert outcome(under_way.find(NAME, ACCOUNT)) is None
    outcome(under_way.forget(NAME))
