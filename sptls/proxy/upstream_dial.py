"""
Making a connection to an upstream: its addresses in turn, until one is connected and, with TLS, verified.

An address that failed, to connect or to answer, is tried after the others for a while, so that one dead address of
several costs one request its share of the time, and not every one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong

from sptls.errors import UpstreamError
from sptls.proxy.upstream_http1 import UpstreamConnection

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from sptls.interfaces import IUpstreamConnector
    from sptls.proxy.resolver import Addresses
    from sptls.proxy.upstream_origin import Origin

# How many of an upstream's addresses one request tries: of upstream_connect_seconds each gets over one second.
_MAX_ATTEMPTS: Final = 4
# How long an address that failed is tried after the others.
_AVOID_SECONDS: Final = 30.0


class Dialler:
    """
    Makes one upstream's connections, each by *connector*.
    """

    __slots__ = ("_avoided", "_clock", "_connector")

    def __init__(self, connector: IUpstreamConnector, clock: IReactorTime) -> None:
        self._connector, self._clock = connector, clock
        self._avoided: dict[str, float] = {}

    async def connect(self, origin: Origin, addresses: Addresses, limit_seconds: float) -> UpstreamConnection:
        """
        Give a connection of *origin*'s that can be used, within *limit_seconds*; each address has its share of them.

        Raises:
            UpstreamError: none of *addresses* could be reached; 502, or 504 if the last one kept silent.
        """
        seconds = self._clock.seconds
        until = seconds() + limit_seconds
        tried = sorted(addresses, key=lambda address: self._avoided.get(address, 0.0) > seconds())[:_MAX_ATTEMPTS]
        failure = UpstreamError(502, "the upstream has no address")
        for at, address in enumerate(tried):
            try:
                left_seconds = max(0.0, until - seconds())  # all may have passed at once, in a standstill of our own
                return await self._attempt(origin, address, left_seconds / (len(tried) - at))
            except TookTooLong:
                failure = UpstreamError(504, "no connection in time")
            except UpstreamError as error:
                failure = error
            self.avoid(address)
        raise failure

    def avoid(self, address: str) -> None:
        """
        Try *address* after the others for a while.
        """
        now = self._clock.seconds()
        self._avoided = {known: until for known, until in self._avoided.items() if until > now}
        self._avoided[address] = now + _AVOID_SECONDS

    async def _attempt(self, origin: Origin, address: str, share_seconds: float) -> UpstreamConnection:
        connection = UpstreamConnection(origin, address)
        connecting = Deferred.fromCoroutine(self._connector.connect(address, connection))
        await connecting.addTimeout(share_seconds, self._clock)
        return connection
