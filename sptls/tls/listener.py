"""
Accepting: from a listening socket to arrivals.

Decides how many connections are taken at a time and when to take none (too many open, no file descriptors left).
What a connection gets is `arrival`'s and `server`'s.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from sptls.tls.sockets import accept

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from socket import socket

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from sptls.tls.lingering import SocketReactor
    from sptls.tls.sockets import AcceptedSocket

_log = Logger()

# Each takes about 0.2 ms of cryptography, so the others wait at most 6 ms.
ACCEPTS_PER_WAKE: Final = 32
# Nothing tells when a descriptor or memory is free again; the backlog keeps the clients meanwhile.
EXHAUSTED_SECONDS: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@implementer(IReadDescriptor)
class TlsListener:
    """
    Hands every connection on the listening socket *sock* to *arrived*, while *has_room*.
    """

    __slots__ = ("_arrived", "_exhausted", "_family", "_has_room", "_reactor", "_reading", "_retry", "_socket")

    def __init__(
        self,
        reactor: SocketReactor,
        sock: socket,
        arrived: Callable[[AcceptedSocket, tuple[Any, ...]], None],
        has_room: Callable[[], bool],
    ) -> None:
        self._reactor, self._socket, self._arrived, self._has_room = reactor, sock, arrived, has_room
        self._family = int(sock.family)
        self._retry: IDelayedCall | None = None
        self._reading = False
        self._exhausted = False  # said already, in this episode

    def start(self) -> None:
        """
        Accept, until `stop`; also again after there was no room.
        """
        if not self._reading and self._retry is None and self._socket.fileno() != -1:
            self._reading = True
            self._reactor.addReader(self)

    def stop(self, shared: Container[socket] = ()) -> None:
        """
        Take what is in the backlog, whose clients are connected as far as they know; then close the socket.

        The backlog of one of the *shared* sockets stays for the other process that has it.
        """
        if self._socket.fileno() == -1:
            return
        while self._reading and self._socket not in shared and self._accept_some():
            pass
        self._pause()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._socket.close()

    def fileno(self) -> int:
        """
        Give the socket's descriptor, -1 when closed.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        Give the name for log lines.
        """
        return "tls"

    def doRead(self) -> None:
        """
        Accept some connections.
        """
        self._accept_some()

    def connectionLost(self, reason: Failure) -> None:
        """
        Close: the reactor is stopping.
        """
        self.stop()

    def _accept_some(self) -> bool:
        """
        Tell whether there may be more now.
        """
        for _ in range(ACCEPTS_PER_WAKE):
            if not self._has_room():
                self._pause()
                return False
            try:
                sock, peer = accept(self._socket, self._family)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error.errno)
                    return False
                continue  # that client left while it waited (ECONNABORTED, or a network error of its own: accept(2))
            self._exhausted = False
            self._arrived(sock, peer)
        return True

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)

    def _rest(self, number: int) -> None:
        """
        Wait for what the system is short of, and say so once.
        """
        if not self._exhausted:
            self._exhausted = True
            _log.warn(
                "no connection can be accepted: {reason}; waiting clients are kept, trying again every second",
                reason=os.strerror(number),
            )
        self._pause()
        self._retry = self._reactor.callLater(EXHAUSTED_SECONDS, self._again)

    def _again(self) -> None:
        self._retry = None
        self.start()
