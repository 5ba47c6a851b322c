"""
One order at a time asks the CA for what all of them need: the directory, the account, a nonce.

Decides only who waits: parallel orders (32) must not ask 32 times, and those that waited while the one failed share its
failure instead of failing one after the other, each at the end of its own time.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
from twisted.internet import defer
from twisted.internet.defer import DeferredLock

from sptls.errors import AcmeError, AcmeUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twisted.internet.interfaces import IReactorTime


@attrs.define(eq=False)
class Turns:
    """
    The queue before one *operation*.
    """

    operation: str
    clock: IReactorTime
    _lock: DeferredLock = attrs.field(init=False, factory=DeferredLock)
    _failures: int = attrs.field(init=False, default=0)
    _last: AcmeError | None = attrs.field(init=False, default=None)

    @asynccontextmanager
    async def turn(self, until: float) -> AsyncIterator[None]:
        """
        Hold the turn; waits for it until *until*, in the clock's seconds. Look again whether it is still needed.

        Raises:
            AcmeUnreachable: it did not come in time.
            AcmeError: who had the turn meanwhile failed with it.
        """
        failures = self._failures
        try:
            await self._lock.acquire().addTimeout(max(until - self.clock.seconds(), 0.0), self.clock)
        except defer.TimeoutError:
            raise AcmeUnreachable(self.operation, "another order is still asking for it") from None
        try:
            if self._last is not None and self._failures != failures:
                raise self._last
            yield
        except AcmeError as error:
            if error is not self._last:
                self._failures, self._last = self._failures + 1, error
            raise
        finally:
            self._lock.release()
