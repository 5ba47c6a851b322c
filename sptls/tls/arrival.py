"""
A connection before its handshake: the ClientHello is peeked, and the connection waits where it must.

OpenSSL sees nothing until it is clear which context it gets, so that a handshake can wait for a certificate.
Peeked bytes stay in the socket and would wake epoll again and again, so the mark SO_RCVLOWAT is set: to the bytes that
the hello takes, or, for a connection that is held, to one more than are there. A wake below the mark means, nearly
always, that the peer left or closed its side. What a hello gets is decided by `server`. Where a PROXY header must come
first, it is peeked in the same way, and then taken from the socket.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from contextlib import suppress
from socket import IPPROTO_TCP, MSG_PEEK, SO_RCVLOWAT, SOL_SOCKET, TCP_INFO
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from sptls import proxy_header
from sptls.proxy_header import NoHeader, ProxyHeader
from sptls.tls.client_hello import MAX_HELLO_BYTES, ClientHello, NeedMore, NotTls, parse, plaintext_alert

if TYPE_CHECKING:
    from socket import SocketType

    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue
    from sptls.names import HostName
    from sptls.tls.lingering import Lingering, SocketReactor
    from sptls.tls.sockets import AcceptedSocket

# Post-quantum hellos take 1.8 KiB; where one takes more, there is a second look.
_FIRST_LOOK_BYTES: Final = 4096
# A hello cut into the smallest records takes about 50 looks; no client takes more.
_MAX_WAKES: Final = 64
# A PROXY header of version 1 does not say how long it is; if it comes byte by byte, it takes 107.
_MAX_HEADER_WAKES: Final = 128
# Short of memory, for this socket (many tiny segments) or for all, the kernel ignores the mark (tcp(7), tcp_mem).
_REST_SECONDS: Final = 0.25
_ESTABLISHED: Final = 1  # tcpi_state, include/net/tcp_states.h


def first_look(sock: SocketType) -> ClientHello | None:
    """
    Give the hello that *sock* has received, without taking it from there; None if there is none, or not all of one.
    """
    try:
        hello = parse(sock.recv(_FIRST_LOOK_BYTES, MSG_PEEK))
    except OSError:
        return None
    return hello if isinstance(hello, ClientHello) else None


def say_no(sock: SocketType, alert: int | None, lingering: Lingering) -> None:
    """
    Send *alert*, if any, and close so that it arrives: what came is read away first, or closing sends RST.
    """
    with suppress(OSError):
        with suppress(BlockingIOError):
            sock.recv(MAX_HELLO_BYTES)
        if alert is not None:
            sock.send(plaintext_alert(alert))
    lingering.close(sock)


class Reception(Protocol):
    """
    Who decides what an arrival gets, and what it needs meanwhile.
    """

    reactor: SocketReactor
    lingering: Lingering
    hello_deadline: DeadlineQueue
    hold_deadline: DeadlineQueue
    waiting: set[Arrival]  # those that the reactor watches

    def greet(self, arrival: Arrival, hello: ClientHello, /) -> None:
        """
        Decide about *arrival*, whose *hello* is there: `hand_over`, `hold` or `refuse` it.
        """

    def may_stay(self, arrival: Arrival, /) -> bool:
        """
        Tell whether *arrival*, whose peer was just announced, may stay.
        """

    def not_tls(self, arrival: Arrival, /) -> None:
        """
        Take note that *arrival* sent no hello; it is being closed.
        """

    def no_header(self, arrival: Arrival, /) -> None:
        """
        Take note that *arrival* sent no PROXY header, and should have; it is being closed.
        """

    def too_late(self, arrival: Arrival, /) -> None:
        """
        Decide about *arrival*, which waited for as long as it may.
        """

    def left(self, arrival: Arrival, /) -> None:
        """
        Take note that *arrival*, held until now, is not any more.
        """


@implementer(IReadDescriptor)
class Arrival:
    """
    The connection on *socket* from *peer*; `look` begins.

    *awaits_header*: a PROXY header must come first; *peer* and *destination* (the address that *peer* connected to,
    None: the socket's own) are then what it says.
    """

    __slots__ = (
        "_deadline",
        "_mark",
        "_reception",
        "_wakes",
        "awaits_header",
        "destination",
        "held_for",
        "hello",
        "peer",
        "socket",
    )

    def __init__(
        self, reception: Reception, sock: AcceptedSocket, peer: tuple[Any, ...], *, awaits_header: bool = False
    ) -> None:
        self._reception, self.socket, self.peer = reception, sock, peer
        self.awaits_header = awaits_header
        self.destination: tuple[str, int] | None = None
        self.hello: ClientHello | None = None
        self.held_for: HostName | None = None
        self._mark = 0  # bytes that must be there before there is news; 0: SO_RCVLOWAT as it was, 1
        self._wakes = 0
        self._deadline: DeadlineQueue | None = None  # set while the reactor watches

    def look(self) -> None:
        """
        See whether the hello is there, without taking it from the socket.
        """
        try:
            data = self.socket.recv(max(_FIRST_LOOK_BYTES, self._mark), MSG_PEEK)
        except BlockingIOError:
            data = b""
        except OSError:
            self.drop()
            return
        if len(data) < self._mark:
            self._no_news()
        elif self.awaits_header:
            self._look_for_header(data)
        else:
            self._look_for_hello(data)

    def _look_for_hello(self, data: bytes) -> None:
        match parse(data):
            case ClientHello() as hello:
                self.hello = hello
                self._reception.greet(self, hello)
            case NeedMore(total_bytes=total_bytes):
                self._wait(total_bytes, self._reception.hello_deadline)
            case NotTls(alert=alert):
                self._reception.not_tls(self)
                self.refuse(alert)

    def _look_for_header(self, data: bytes) -> None:
        match proxy_header.parse(data):
            case ProxyHeader() as header:
                self._take_header(header)
            case proxy_header.NeedMore(total_bytes=total_bytes):
                self._wait(total_bytes, self._reception.hello_deadline)
            case NoHeader():
                self._reception.no_header(self)
                self.drop()

    def _take_header(self, header: ProxyHeader) -> None:
        """
        Read *header* away, believe it, and go on with the hello, which may be there or not; the deadline stays.
        """
        self.socket.recv(header.size)  # it was peeked, so it is there even if the peer is not
        if self._mark:
            self.socket.setsockopt(SOL_SOCKET, SO_RCVLOWAT, 1)
        self.awaits_header, self._mark, self._wakes = False, 0, 0
        if header.source is not None:
            self.peer, self.destination = header.source, header.destination
            if not self._reception.may_stay(self):
                self.drop()
                return
        self.look()

    def hold(self, name: HostName) -> None:
        """
        Wait for *name*'s certificate; whoever decides asks again with `Reception.greet`.
        """
        self.held_for = name
        self._wait_for_leaving()

    def hand_over(self) -> AcceptedSocket:
        """
        Give the socket, as it was accepted, to who does the handshake.
        """
        self._wait_no_more()
        if self._mark:
            # Else OpenSSL, which reads the hello away, would not be told of a Finished smaller than the mark.
            self.socket.setsockopt(SOL_SOCKET, SO_RCVLOWAT, 1)
        return self.socket

    def refuse(self, alert: int | None) -> None:
        """
        Send *alert*, if any, and close so that it arrives.
        """
        self._wait_no_more()
        say_no(self.socket, alert, self._reception.lingering)

    def drop(self) -> None:
        """
        Close without a word, with RST: nobody listens.
        """
        if self.socket.fileno() != -1:
            self._wait_no_more()
            self._reception.lingering.reset(self.socket)

    def fileno(self) -> int:
        """
        Give the socket's descriptor, -1 when closed.
        """
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """
        Give the name for log lines.
        """
        return "tls"

    def doRead(self) -> None:
        """
        Go on: more of the hello is there, or the peer left.
        """
        self._wakes += 1
        if self._wakes > (_MAX_HEADER_WAKES if self.awaits_header else _MAX_WAKES):
            self.drop()
        elif self.hello is None:
            self.look()
        else:
            self._wait_for_leaving()

    def deadline_passed(self) -> None:
        """
        Have it decided: the hello, or the certificate, did not come in time.
        """
        self._reception.too_late(self)

    def connectionLost(self, reason: Failure) -> None:
        """
        Close: the reactor found the connection dead, or is stopping.
        """
        self.drop()

    def _wait_for_leaving(self) -> None:
        """
        Be woken by the next byte only, or by the peer's leaving; a TLS client has nothing to say until it is answered.
        """
        unread_bytes = len(self.socket.recv(MAX_HELLO_BYTES + 1, MSG_PEEK))
        if unread_bytes > MAX_HELLO_BYTES:
            self.drop()
        elif self._deadline is self._reception.hold_deadline and unread_bytes < self._mark:
            self._no_news()
        else:
            self._wait(unread_bytes + 1, self._reception.hold_deadline)

    def _wait(self, mark: int, deadline: DeadlineQueue) -> None:
        self._mark = mark
        self.socket.setsockopt(SOL_SOCKET, SO_RCVLOWAT, mark)
        if self._deadline is deadline:
            return
        if self._deadline is None:
            self._reception.reactor.addReader(self)
            self._reception.waiting.add(self)
        else:
            self._deadline.clear(self)
        self._deadline = deadline
        deadline.set(self)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.clear(self)
            self._deadline = None
            self._reception.reactor.removeReader(self)
            self._reception.waiting.discard(self)
        if self.held_for is not None:
            self._reception.left(self)
            self.held_for = None

    def _no_news(self) -> None:
        """
        Woken below the mark: the peer closed, or else the kernel is short of memory, and would wake us again at once.
        """
        if self.socket.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] != _ESTABLISHED:
            self.drop()
            return
        self._reception.reactor.removeReader(self)
        self._reception.reactor.callLater(_REST_SECONDS, self._watch_again)

    def _watch_again(self) -> None:
        if self._deadline is not None:
            self._reception.reactor.addReader(self)
