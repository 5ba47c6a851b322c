"""
Port 80: Twisted's own TCP connections, accepted by the listener that port 443 has.

Twisted's `Port` would do it, but when no file descriptor is left it accepts and closes whoever waits, with a line in
the log for each (`twisted.internet.tcp._accept`), and who waits when it stops is reset. Here they stay in the backlog.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.tcp import Server
from twisted.logger import Logger

from sptls.tls.listener import TlsListener
from sptls.tls.sockets import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from socket import SocketType, socket

    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IProtocol

    from sptls.tls.lingering import SocketReactor

_log = Logger()

# Its annotations ask for more than it uses: a `Port`, though None is allowed for, and `socket.socket`'s own extras.
_transport: Final[Callable[..., Server]] = Server


class Clients(Protocol):
    """
    Who makes the clients' connections (`proxy.http1_factory.Http1Factory`).
    """

    room_again: Callable[[], None]

    def has_room(self) -> bool:
        """
        Tell whether one more may be made; *room_again* is called when it may again.
        """

    def buildProtocol(self, addr: IPv4Address | IPv6Address, /) -> IProtocol | None:
        """
        Make one; None: this client must not stay.
        """


class PlainPort:
    """
    Serves *clients* on any number of listening sockets; while there is no room, who comes waits in the backlog.
    """

    def __init__(self, reactor: SocketReactor, clients: Clients) -> None:
        self._reactor, self._clients = reactor, clients
        self._listeners: list[TlsListener] = []
        clients.room_again = self._accept_again

    def listen(self, sock: socket) -> None:
        """
        Accept on *sock*, which listens and does not block, from now on.
        """
        listener = TlsListener(self._reactor, sock, self._arrived, self._clients.has_room)
        self._listeners.append(listener)
        listener.start()

    def stop(self, shared: Container[socket] = ()) -> None:
        """
        Close the sockets; who is connected stays so. Who waits at one of the *shared* is left to another process.
        """
        for listener in self._listeners:
            listener.stop(shared)

    def _accept_again(self) -> None:
        for listener in self._listeners:
            listener.start()

    def _arrived(self, sock: SocketType, peer: tuple[Any, ...]) -> None:
        """
        Take an accepted connection; nothing that goes wrong with it reaches the listener.
        """
        try:
            protocol = self._clients.buildProtocol(address_of(peer))
            if protocol is None:
                sock.close()
                return
            transport = _transport(sock, protocol, peer, None, peer[1], self._reactor)
            transport.repstr = f"<plain HTTP from {peer[0]}>"
            protocol.makeConnection(transport)
        except Exception:  # noqa: BLE001 - said and ended here
            _log.failure("a connection was dropped before its first byte")
            sock.close()
