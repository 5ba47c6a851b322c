"""
Making a connection to an upstream: its addresses in turn, until one is connected and, with TLS, verified.

An address that failed is tried after the others for a while, so that one dead address of several costs one request its
share of the time, and not every one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import ClientFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from sptls.errors import UpstreamError
from sptls.proxy.upstream_http1 import UpstreamConnection
from sptls.proxy.upstream_tls import tls_cause

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IConnector, IReactorTCP, IReactorTime
    from twisted.python.failure import Failure

    from sptls.proxy.resolver import Addresses
    from sptls.proxy.upstream_origin import Origin
    from sptls.proxy.upstream_tls import ResumingTls

# How many of an upstream's addresses one request tries: of upstream_connect_seconds each gets over one second.
_MAX_ATTEMPTS: Final = 4
# All that can be wrong with one address while the next may be well; anything else is a fault of ours.
_NO_CONNECTION: Final = (ConnectError, ConnectionClosed, OSError, SSL.Error, VerificationError, TookTooLong)
# How long an address that failed is tried after the others.
_AVOID_SECONDS: Final = 30.0


class _Attempt(ClientFactory):
    """
    One try to connect to one address; cancelling *opened* closes what is half open.
    """

    noisy = False

    def __init__(self, origin: Origin, address: str) -> None:
        self.opened: Deferred[UpstreamConnection] = Deferred(self._give_up)
        self._origin, self._address = origin, address
        self._given_up = False
        self._connector: IConnector | None = None
        self._connection: UpstreamConnection | None = None

    def startedConnecting(self, connector: IConnector) -> None:  # noqa: N802 - Twisted's name
        """
        Keep *connector* for giving up.
        """
        self._connector = connector

    def buildProtocol(self, addr: IAddress) -> UpstreamConnection:  # type: ignore[override]  # noqa: N802 - Twisted's name
        """
        Give the connection's protocol, which is an IProtocol without being a `Protocol`.
        """
        self._connection = UpstreamConnection(self._origin, self._address, self.opened)
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """
        Pass the reason on.
        """
        if not self._given_up:
            self.opened.errback(reason)

    def _give_up(self, _: Deferred[UpstreamConnection]) -> None:
        self._given_up = True
        if self._connection is not None:
            self._connection.close_now()
        elif self._connector is not None:
            self._connector.disconnect()


class Dialler:
    """
    Makes one upstream's connections, to *port*, with TLS if *tls* isn't None.
    """

    __slots__ = ("_avoided", "_clock", "_port", "_tcp", "_tls")

    def __init__(self, tcp: IReactorTCP, clock: IReactorTime, port: int, tls: ResumingTls | None) -> None:
        self._tcp, self._clock, self._port, self._tls = tcp, clock, port, tls
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
                return await self._attempt(origin, address, (until - seconds()) / (len(tried) - at))
            except _NO_CONNECTION as error:
                failure = _as_upstream_error(error)
                self._avoid(address)
        raise failure

    async def _attempt(self, origin: Origin, address: str, share_seconds: float) -> UpstreamConnection:
        attempt = _Attempt(origin, address)
        factory: ClientFactory = attempt
        if self._tls is not None:
            tls_factory = TLSMemoryBIOFactory(self._tls, True, attempt, self._clock)
            # Not the buffering kind, which waits for the reactor's next turn: a request is written in one piece.
            tls_factory.protocol = TLSMemoryBIOProtocol
            # Twisted's own connectSSL passes this factory to connectTCP too.
            factory = cast("ClientFactory", tls_factory)
        # The time is kept below, as it is to cover the TLS handshake too.
        self._tcp.connectTCP(address, self._port, factory, timeout=share_seconds)
        return await attempt.opened.addTimeout(share_seconds, self._clock)

    def _avoid(self, address: str) -> None:
        now = self._clock.seconds()
        self._avoided = {known: until for known, until in self._avoided.items() if until > now}
        self._avoided[address] = now + _AVOID_SECONDS
        if self._tls is not None:
            # In case it was the session that wasn't liked.
            self._tls.forget()


def _as_upstream_error(error: Exception) -> UpstreamError:
    """
    Say in the log's words why no connection could be made.
    """
    if isinstance(error, TookTooLong | ConnectTimeout):
        return UpstreamError(504, "no connection in time")
    return UpstreamError(502, tls_cause(error) or f"no connection ({type(error).__name__}: {error})")
