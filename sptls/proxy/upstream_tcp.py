"""
Plain TCP to an upstream, for one on the same machine or in the same network: ``upstream.url = "http://..."``.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from contextlib import closing
from socket import AddressFamily
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IReactorFDSet, IReactorSocket, IReactorTime
from twisted.internet.protocol import Factory
from zope.interface import implementer

from sptls.connecting import connected
from sptls.interfaces import IUpstreamConnector

if TYPE_CHECKING:
    from socket import SocketType

    from twisted.internet.interfaces import IAddress, IProtocol, ITransport
    from twisted.internet.protocol import ServerFactory


class SocketAdopter(IReactorSocket, IReactorFDSet, IReactorTime):
    """
    What is needed of the reactor.
    """


@implementer(IUpstreamConnector)
class TcpConnector:
    """
    Connects to *port*, and has Twisted's own transport run on the socket.
    """

    def __init__(self, reactor: SocketAdopter, port: int) -> None:
        self._reactor, self._port = reactor, port

    async def connect(self, address: str, protocol: IProtocol) -> None:
        """
        Connect *protocol* to *address*.

        Raises:
            UpstreamError: nothing answers there; 502.
        """
        sock = await connected(self._reactor, address, self._port)
        with closing(sock):  # the transport has a duplicate
            adopt(self._reactor, sock, protocol)

    def remember(self, transport: ITransport) -> None:
        """
        Do nothing: every connection costs the same.
        """


def adopt(reactor: IReactorSocket, sock: SocketType, protocol: IProtocol) -> None:
    """
    Have Twisted's own transport run *protocol* on a duplicate of *sock*, which is connected.

    Raises:
        OSError: it is not any more.
    """
    sock.getpeername()  # Twisted asks that of its duplicate, and would leave it open
    # Twisted asks for a factory of `Protocol`s, and needs no more of one than an IProtocol.
    factory = cast("ServerFactory[Any]", _Only(protocol))
    reactor.adoptStreamConnection(sock.fileno(), AddressFamily(sock.family), factory)


class _Only(Factory):
    """
    Has one protocol to give.
    """

    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # type: ignore[override]
        """
        Give it: an IProtocol, which need not be a `Protocol`.
        """
        return self._protocol
