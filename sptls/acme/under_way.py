"""
Orders under way, kept where a restart finds them; a store that can't be used costs an order, never a certificate.

Decides nothing: whether an order is gone on with is `take_up`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from sptls.acme import take_up
from sptls.certs.records import OrderRecord
from sptls.errors import StoreError

if TYPE_CHECKING:
    from sptls.acme.messages import Order
    from sptls.clock import WallClock
    from sptls.interfaces import IOrders
    from sptls.names import HostName

_log = Logger()


@attrs.frozen
class OrdersUnderWay:
    """
    The orders at the CA at *directory*.
    """

    orders: IOrders
    directory: str
    now: WallClock

    async def find(self, name: HostName, account_url: str) -> OrderRecord | None:
        """
        Give the order for *name* that the account may go on with, or None.
        """
        try:
            record = await self.orders.order(name)
        except StoreError as error:
            _log.warn("{name}: an order under way can't be looked up: {error}", name=name, error=error)
            return None
        if record is None or not take_up.may_go_on(record, self.directory, account_url, self.now()):
            return None
        return record

    async def keep(self, name: HostName, account_url: str, order: Order, key: bytes, *, is_replacement: bool) -> None:
        """
        Keep a new *order*, whose certificate will have *key* (PKCS#8, DER).
        """
        now = self.now()
        record = OrderRecord(
            name=name,
            directory=self.directory,
            account_url=account_url,
            url=order.url,
            key=key,
            created_at=now,
            expires=order.expires or now + take_up.USUAL_LIFETIME,
            is_replacement=is_replacement,
        )
        try:
            await self.orders.put_order(record)
        except StoreError as error:
            _log.warn("{name}: a restart would order again: {error}", name=name, error=error)

    async def forget(self, name: HostName) -> None:
        """
        Forget the order for *name*: it leads nowhere.
        """
        try:
            await self.orders.remove_order(name)
        except StoreError as error:
            _log.warn("{name}: an order that ended is still stored: {error}", name=name, error=error)
