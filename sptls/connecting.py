"""
A TCP connection of ours to somebody: begun without blocking, waited for in the reactor.

Names what went wrong in the system's words. What runs on the connection, and how long may be waited for it, is the
caller's.

A socket may have the number of one that was closed in the same turn of the reactor, and be told what epoll had found of
that one: so nothing is believed that the socket itself doesn't say.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import errno
import socket
from os import strerror
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IWriteDescriptor
from zope.interface import implementer

from sptls.errors import UpstreamError

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from sptls.tls.lingering import SocketReactor


def connected(reactor: SocketReactor, address: str, port: int) -> Deferred[socket.socket]:
    """
    Give a socket that is connected to the IP *address*, does not block and sends small segments at once.

    Cancelling closes it. It fails with an `UpstreamError` (502) when there is no way to connect.
    """
    connecting = _Connecting(reactor, address, port)
    connecting.begin()
    return connecting.connected


@implementer(IWriteDescriptor)
class _Connecting:
    """
    A socket until it is connected.
    """

    __slots__ = ("_address", "_is_in_doubt", "_port", "_reactor", "_socket", "connected")

    def __init__(self, reactor: SocketReactor, address: str, port: int) -> None:
        self._reactor, self._address, self._port = reactor, address, port
        self._socket: socket.socket | None = None
        # It was said to be lost, and had no fault: once that may have been another's news.
        self._is_in_doubt = False
        self.connected: Deferred[socket.socket] = Deferred(self._give_up)

    def begin(self) -> None:
        """
        Send the SYN.
        """
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setblocking(False)
            # A request in two writes would wait for the peer's delayed ACK.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self._socket.connect_ex((self._address, self._port))
        except OSError as error:
            number = error.errno or errno.EIO
        if number == errno.EINPROGRESS:
            self._reactor.addWriter(self)
        else:
            self._settle(number)

    def fileno(self) -> int:
        """
        Give the socket's descriptor, -1 when this is over.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """
        Give the name for log lines.
        """
        return "upstream"

    def doRead(self) -> None:
        """
        Do nothing: what there is to be read was another's.
        """

    def doWrite(self) -> None:
        """
        Go on: it is connected, or is not going to be.
        """
        sock = self._socket
        if sock is not None:
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number or _has_peer(sock):
                self._reactor.removeWriter(self)
                self._settle(number)

    def connectionLost(self, reason: Failure) -> None:
        """
        End: it was refused, which epoll reports so, or the reactor is stopping.
        """
        if self._socket is not None:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number and not self._is_in_doubt:
                self._is_in_doubt = True
                self._reactor.addWriter(self)
                return
            self._reactor.removeWriter(self)
            self._settle(number or errno.ECONNABORTED)

    def _settle(self, number: int) -> None:
        """
        Hand the socket over, or say what system error *number* says; 0 is none.
        """
        sock, self._socket = self._socket, None
        if sock is not None and number == 0:
            self.connected.callback(sock)
            return
        if sock is not None:
            sock.close()
        where = f"[{self._address}]" if ":" in self._address else self._address
        self.connected.errback(UpstreamError(502, f"no connection to {where}:{self._port}: {strerror(number)}"))

    def _give_up(self, _: Deferred[socket.socket]) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._reactor.removeWriter(self)
            sock.close()


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
