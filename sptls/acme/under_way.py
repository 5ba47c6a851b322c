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
    from sptls.acme.attempt import Attempt
    from sptls.acme.messages import Order
    from sptls.clock import WallClock
    from sptls.errors import SptlsError
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

    async def keep(self, account_url: str, order: Order, attempt: Attempt) -> None:
        """
        Keep *attempt*'s new *order*, in the place of what it was working on before.
        """
        now = self.now()
        record = OrderRecord(
            name=attempt.name,
            directory=self.directory,
            account_url=account_url,
            url=order.url,
            key=attempt.key or b"",
            created_at=now,
            expires=order.expires or now + take_up.USUAL_LIFETIME,
            is_replacement=attempt.is_replacement,
            failed_types=tuple(attempt.failed_types),
        )
        attempt.is_taken_up = attempt.is_order_over = False
        attempt.record = record if await self._put(record) else None

    async def leave(self, attempt: Attempt, error: SptlsError) -> None:
        """
        Leave *attempt*'s order to the next attempt, if that may go on with it after *error*; what it has cost, or may
        have, is told now and must not be told again.
        """
        record = attempt.record
        if attempt.is_order_over or take_up.ends_order(error):
            await self.forget(attempt.name)
        elif record is not None and (record.failed_types or attempt.is_being_validated):
            is_counted = record.is_counted or attempt.is_being_validated
            await self._put(attrs.evolve(record, failed_types=(), is_counted=is_counted))

    async def _put(self, record: OrderRecord) -> bool:
        try:
            await self.orders.put_order(record)
        except StoreError as error:
            _log.warn("{name}: a restart would order again: {error}", name=record.name, error=error)
            return False
        return True

    async def forget(self, name: HostName) -> None:
        """
        Forget the order for *name*: it leads nowhere.
        """
        try:
            await self.orders.remove_order(name)
        except StoreError as error:
            _log.warn("{name}: an order that ended is still stored: {error}", name=name, error=error)
