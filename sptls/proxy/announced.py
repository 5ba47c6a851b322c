"""
A connection to port 80 that begins with a PROXY header: read away, believed, then a client's connection as any other.

Stands before the connection only where the peer must send one (`listen.proxy_protocol`); over TLS `tls.arrival` does
that. What is no header, comes too slowly or not at all closes the connection without a word: whoever sent it is a load
balancer that is set up otherwise, and would not understand HTTP's answer as its own.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from sptls.deadlines import Waits
from sptls.proxy_header import NeedMore, ProxyHeader, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import ITransport
    from twisted.python.failure import Failure

    from sptls.proxy.gateway import Gateway
    from sptls.proxy.http1 import Http1
    from sptls.proxy.stream import StreamTransport


@implementer(IProtocol, IHalfCloseableProtocol)
class Announced(Waits):
    """
    Waits for the header, and then passes everything on to what *make* makes, which has the announced client for a peer.

    *make* is given its IP address, or None where it is the peer itself, and makes nothing where the client must not
    stay. *left* is called if the peer is gone before.
    """

    __slots__ = ("_buffer", "_connection", "_gateway", "_left", "_make", "_transport")

    _transport: StreamTransport

    def __init__(self, gateway: Gateway, make: Callable[[str | None], Http1 | None], left: Callable[[], None]) -> None:
        self._gateway, self._make, self._left = gateway, make, left
        self._buffer = b""
        self._connection: Http1 | None = None
        self._deadline = None

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin to wait.
        """
        self._transport = cast("StreamTransport", transport)
        self._gateway.connections.add(self)
        self._wait_in(self._gateway.first if self._gateway.finishing else self._gateway.head)

    def connectionMade(self) -> None:
        """
        Do nothing: all is done in `makeConnection`.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Take what the peer sent.
        """
        if self._connection is not None:
            self._connection.dataReceived(data)
            return
        self._buffer += data
        match parse(self._buffer):
            case ProxyHeader() as header:
                self._begin(header)
            case NeedMore():
                pass
            case _:
                self._fail()

    def readConnectionLost(self) -> None:
        """
        Pass it on that the peer sends no more; before the header is there, nothing is left to wait for.
        """
        if self._connection is None:
            self._transport.loseConnection()
        else:
            self._connection.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """
        Pass it on that the last answer is out.
        """
        if self._connection is not None:
            self._connection.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note that the peer is gone.
        """
        if self._connection is not None:
            self._connection.connectionLost(reason)
            return
        self._wait_in(None)
        self._gateway.closed(self)
        self._left()

    def finish_soon(self) -> None:
        """
        Wait for little more: what is under way is served.
        """
        self._wait_in(self._gateway.first)

    def abort(self) -> None:
        """
        Close now.
        """
        self._wait_in(None)
        self._transport.abortConnection()

    def deadline_passed(self) -> None:
        """
        Close: the header did not come in time.
        """
        self._deadline = None
        self._fail()

    def _begin(self, header: ProxyHeader) -> None:
        """
        Serve the client that *header* announces.
        """
        rest, self._buffer = self._buffer[header.size :], b""
        connection = self._connection = self._make(None if header.source is None else header.source[0])
        if connection is None:
            self.abort()
            return
        self._wait_in(None)
        connection.makeConnection(cast("ITransport", self._transport))
        if header.source is not None:
            connection.came_from(header.source[0])
        self._gateway.closed(self)
        if rest:
            connection.dataReceived(rest)

    def _fail(self) -> None:
        self._gateway.counters.proxy_header_failures += 1
        self.abort()
