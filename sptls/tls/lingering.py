"""
How a socket ends so that what was sent on it arrives (RFC 9112 §9.6).

A socket closed with unread input, or that gets more after it is closed, answers with RST, and RST can destroy an
answer that the peer has not read yet. So input is looked for first: nothing there (the ordinary case) closes at
once; something there sends FIN, reads and drops until the peer stops, within bounds of bytes and time.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import socket
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue, Deadlines

# In all, from our FIN on. nginx waits 5 s for each next byte and 30 s in all; a client that was refused early needs
# one round trip to notice, and a daemon that stops waits ten seconds.
LINGER_SECONDS: Final = 10.0
# What can be in flight when a client that uploads is refused: both socket buffers, at Linux's 6 MB limit, and some.
LINGER_BYTES: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 65536
_READS_PER_WAKE: Final = 16
# Shared by all: what lands here is never looked at.
_SCRATCH: Final = bytearray(_READ_BYTES)
# An int, which ioctl(2) writes into; read before the next call.
_unread_bytes: Final = bytearray(4)
_NONE_UNREAD: Final = bytes(4)
# struct linger: on, zero seconds: close sends RST and drops what is unsent.
_RESET_ON_CLOSE: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class SocketReactor(Protocol):
    """
    The part of a Twisted reactor that sockets need: `IReactorFDSet`, and two calls of `IReactorTime`.
    """

    def addReader(self, reader: IReadDescriptor, /) -> object:
        """
        Have *reader*'s `doRead` called while it is readable.
        """

    def addWriter(self, writer: IWriteDescriptor, /) -> object:
        """
        Have *writer*'s `doWrite` called while it is writable.
        """

    def removeReader(self, reader: IReadDescriptor, /) -> object:
        """
        Call its `doRead` no more.
        """

    def removeWriter(self, writer: IWriteDescriptor, /) -> object:
        """
        Call its `doWrite` no more.
        """

    def seconds(self) -> float:
        """
        Give the time, which goes forward.
        """

    def callLater(self, delay: float, callable: Callable[..., object], /, *args: object) -> IDelayedCall:  # noqa: A002 - Twisted's name
        """
        Call *callable* after *delay* seconds.
        """


class Lingering:
    """
    Ends sockets; knows those that still linger. *closed* is called once for each, when it is really closed.
    """

    __slots__ = ("_closed", "_members", "deadline", "reactor")

    def __init__(self, reactor: SocketReactor, deadlines: Deadlines, closed: Callable[[], None]) -> None:
        self.reactor = reactor
        self.deadline: DeadlineQueue = deadlines.queue(LINGER_SECONDS)
        self._closed = closed
        self._members: set[_Lingerer] = set()

    def close(self, sock: socket.SocketType, *, still_sending: bool = False) -> None:
        """
        Close *sock*, at once if no input is unread; with *still_sending*, more is expected, so linger anyway.
        """
        if _may_come(sock) if still_sending else _has_unread(sock):
            self._linger(sock)
        else:
            sock.close()
            self._closed()

    def reset(self, sock: socket.SocketType) -> None:
        """
        Close *sock* with RST; what is unsent is dropped.
        """
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()
        self._closed()

    def reset_all(self) -> None:
        """
        Wait for none of those that still linger.
        """
        for member in list(self._members):
            member.deadline_passed()

    def __len__(self) -> int:
        return len(self._members)

    def _linger(self, sock: socket.SocketType) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone: nobody is left to wait for
            sock.close()
            self._closed()
            return
        member = _Lingerer(self, sock)
        self._members.add(member)
        self.deadline.set(member)
        self.reactor.addReader(member)

    def forget(self, member: _Lingerer) -> None:
        """
        Take note that *member* closed its socket.
        """
        self._members.discard(member)
        self.deadline.clear(member)
        self._closed()


def _has_unread(sock: socket.SocketType) -> bool:
    """
    Tell whether there is input; `recv` would tell that there is none by an exception, at three times the price.
    """
    ioctl(sock.fileno(), FIONREAD, _unread_bytes)
    return _unread_bytes != _NONE_UNREAD


def _may_come(sock: socket.SocketType) -> bool:
    """
    Tell whether there is input, or may be yet: the peer has not said that it sends no more.
    """
    try:
        return sock.recv_into(_SCRATCH) > 0
    except BlockingIOError:
        return True
    except OSError:
        return False


@implementer(IReadDescriptor)
class _Lingerer:
    """
    One socket that sent its FIN and reads until the peer has sent its own.
    """

    __slots__ = ("_bytes_left", "_lingering", "_socket")

    def __init__(self, lingering: Lingering, sock: socket.SocketType) -> None:
        self._lingering, self._socket = lingering, sock
        self._bytes_left = LINGER_BYTES

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
        Read and drop; close when the peer has closed, or sent too much.
        """
        try:
            for _ in range(_READS_PER_WAKE):
                read = self._socket.recv_into(_SCRATCH)
                self._bytes_left -= read
                if read == 0 or self._bytes_left <= 0:
                    self._close()
                    return
        except BlockingIOError:
            return
        except OSError:
            self._close()

    def deadline_passed(self) -> None:
        """
        Wait no longer.
        """
        self._close()

    def connectionLost(self, reason: Failure) -> None:
        """
        Close: the reactor found the connection dead, or is stopping.
        """
        self._close()

    def _close(self) -> None:
        if self._socket.fileno() != -1:
            self._lingering.reactor.removeReader(self)
            self._socket.close()
            self._lingering.forget(self)
