"""
TLS on a connected socket, as a protocol sees it: Twisted's transport, with back-pressure both ways.

Any Twisted protocol runs on it, as server or client; `descriptor` does the work below. A protocol is called by the
reactor only, never from inside its own call of a method here; of producers, `pauseProducing` is, as in all of
Twisted.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_CORK, TCP_NODELAY, TCP_QUICKACK
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import attrs
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface import implementer

from sptls.tls.descriptor import TlsDescriptor
from sptls.tls.reasons import ABORTED
from sptls.tls.sockets import acknowledged_bytes, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from socket import SocketType

    from OpenSSL import SSL
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IProducer, IProtocol
    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue, Deadlines
    from sptls.tls.contexts import ServerContext
    from sptls.tls.lingering import Lingering, SocketReactor
    from sptls.tls.openssl import TlsConnection

# Unsent plaintext over which a producer is paused; Twisted's own number.
BUFFER_BYTES: Final = 65536
# How long a peer may take nothing of what is left to send when the connection is closing. A mobile link that was
# lost comes back within this or not at all; nginx's send_timeout is 60.
FLUSH_SECONDS: Final = 30.0


class TransportObserver(Protocol):
    """
    Who keeps count of transports: one of the first two is called at most once, the last exactly once.
    """

    def handshake_completed(self, transport: TlsTransport, /) -> None:
        """
        Take note that *transport* has made its protocol, if there is to be one.
        """

    def handshake_failed(self, transport: TlsTransport, /) -> None:
        """
        Take note that *transport* gets no protocol.
        """

    def transport_ended(self, transport: TlsTransport, /) -> None:
        """
        Take note that *transport* gave its socket back, which may linger yet.
        """


@attrs.frozen
class TransportSurroundings:
    """
    What the transports of one kind share: the reactor, their deadlines, how their sockets end.
    """

    reactor: SocketReactor
    handshake_deadline: DeadlineQueue
    flush_deadline: DeadlineQueue
    lingering: Lingering

    @classmethod
    def make(
        cls, reactor: SocketReactor, deadlines: Deadlines, lingering: Lingering, handshake_seconds: float
    ) -> TransportSurroundings:
        """
        Make the queues: a handshake takes at most *handshake_seconds*.
        """
        return cls(reactor, deadlines.queue(handshake_seconds), deadlines.queue(FLUSH_SECONDS), lingering)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class TlsTransport(TlsDescriptor):
    """
    A protocol's transport over TLS on *sock* (non-blocking, connected), which it owns from here on.

    *connection* is on *sock* and in accept or connect state. When the handshake is complete, *protocol_for* is asked
    once for the ALPN name that was agreed (b"": none); None closes. Nothing happens before `start`.
    """

    __slots__ = ("_observer", "_peer", "_protocol_for", "alpn", "certificate")

    def __init__(
        self,
        surroundings: TransportSurroundings,
        sock: SocketType,
        connection: TlsConnection,
        protocol_for: Callable[[bytes], IProtocol | None],
        *,
        peer: tuple[Any, ...] | None = None,
        certificate: ServerContext | None = None,
        observer: TransportObserver | None = None,
    ) -> None:
        super().__init__(surroundings, sock, connection)
        self.alpn = b""
        self.certificate = certificate
        self._protocol_for, self._observer = protocol_for, observer
        self._peer: tuple[Any, ...] = sock.getpeername() if peer is None else peer

    @property
    def connected(self) -> bool:
        """
        Tell whether there is a connection still.
        """
        return self._ended is None

    @property
    def why(self) -> Failure | None:
        """
        Give the reason why there is no connection any more, None while there is.
        """
        return self._ended

    @property
    def unsent_bytes(self) -> int:
        """
        Tell how much is kept until the socket takes it.
        """
        return len(self._out)

    @property
    def taken_bytes(self) -> int:
        """
        Tell how much of what was sent the peer's system has acknowledged, TLS's own included; while connected.
        """
        return acknowledged_bytes(self._socket) if self._ended is None else 0

    def session(self) -> SSL.Session | None:
        """
        Give what a next connection can resume, while connected.
        """
        return None if self._ended is not None else self._connection.get_session()

    @property
    def peer_host(self) -> str:
        """
        Give the other end's IP address, as the system says it.
        """
        host: str = self._peer[0]
        return host

    def getPeer(self) -> IPv4Address | IPv6Address:
        """
        Give the address of the other end, also when it is gone.
        """
        return address_of(self._peer)

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        Give the address of this end, while connected.
        """
        return address_of(self._socket.getsockname())

    def write(self, data: bytes) -> None:
        """
        Send *data*: now what the socket takes, the rest when it takes more.
        """
        if not data or self._write_is_over():
            return
        if self._out:
            self._out += data
        else:
            self._send(data)
        # Mostly all of it is sent, and nothing is to be waited for that was not before.
        if self._out or self._ended is not None:
            if self._streaming and len(self._out) > BUFFER_BYTES:
                self._pause_producer()
            self._changed()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send all of *iovec* as one write, so in as few records as can be.
        """
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """
        Close when everything is sent and no producer is left: close_notify, then the socket.
        """
        self._lose()

    def gather_for_close(self) -> None:
        """
        Let the last write, close_notify and FIN leave in one packet: the caller writes, and closes right after it.
        """
        if self._ended is None:
            self._socket.setsockopt(IPPROTO_TCP, TCP_CORK, True)

    def acknowledge_at_once(self) -> None:
        """
        Let what the peer sends next be acknowledged without delay (RFC 1122 §4.2.3.2), until more is written.
        """
        if self._ended is None:
            self._socket.setsockopt(IPPROTO_TCP, TCP_QUICKACK, True)

    def close_at_once(self) -> bool:
        """
        Close as `loseConnection` does, but only if everything is sent; True when it is done, and no more is told of it.

        Spares a protocol that is done with its connection the call from the reactor, later, that it is lost.
        """
        if self._out or self._write_is_over():
            return False
        producer, self._producer = self._producer, None
        self.disconnecting = True
        self._close()
        if self._ended is None:  # no room for close_notify
            self.disconnecting, self._producer = False, producer
            return False
        self.protocol = None
        return True

    def lose_connection_lingering(self) -> None:
        """
        Close like `loseConnection`, for a peer that may be sending still: it gets the time to read the answer.
        """
        self._linger = True
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """
        Say close_notify when everything is sent; reading goes on (RFC 8446 §6.1).
        """
        if not self._write_is_over():
            self._half_closing = True
            self._changed()

    def abortConnection(self) -> None:
        """
        Close at once, with RST; what is unsent is dropped.
        """
        if self._ended is None:
            self._end(ABORTED, reset=True)
            self._changed()

    def getTcpNoDelay(self) -> bool:
        """
        Tell whether small segments leave at once.
        """
        return bool(self._socket.getsockopt(IPPROTO_TCP, TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Have small segments leave at once, or not.
        """
        self._socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """
        Tell whether an idle peer is probed.
        """
        return bool(self._socket.getsockopt(SOL_SOCKET, SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Have an idle peer probed, or not.
        """
        self._socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, enabled)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """
        Send what *producer* writes; a streaming one is paused while too much is unsent, another asked piece by piece.

        Raises:
            RuntimeError: there is one already.
        """
        if self._ended is not None:
            producer.stopProducing()
            return
        if self._producer is not None:
            raise RuntimeError(f"can't register {producer!r}: {self._producer!r} was never unregistered")
        # A pull producer lacks `pauseProducing` only, which no one calls on it.
        self._producer, self._streaming, self._producer_paused = cast("IPushProducer", producer), streaming, False
        self._changed()

    def unregisterProducer(self) -> None:
        """
        Expect no more from the producer; a close that waited for it goes ahead.
        """
        self._producer, self._streaming, self._producer_paused = None, False, False
        if self._ended is None:
            self._changed()

    def pauseProducing(self) -> None:
        """
        Read no more for now.
        """
        self._paused = True
        if self._ended is None:
            self._changed()

    def resumeProducing(self) -> None:
        """
        Read on.
        """
        self._paused = False
        if self._ended is None:
            self._changed()

    def stopProducing(self) -> None:
        """
        Close: the protocol's consumer wants no more.
        """
        self.loseConnection()

    def _write_is_over(self) -> bool:
        if self._ended is not None or self._half_closing or self._handshaking:
            return True
        return self.disconnecting and self._producer is None

    def _pause_producer(self) -> None:
        producer = self._producer
        if producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._call(producer.pauseProducing)

    def _handshake_completed(self) -> None:
        self.alpn = self._connection.agreed_alpn()
        self.protocol = self._protocol_for(self.alpn)
        if self.protocol is None:
            self._lose()
        else:
            self.protocol.makeConnection(self)
        if self._observer is not None:
            self._observer.handshake_completed(self)

    def _handshake_failed(self) -> None:
        if self._observer is not None:
            self._observer.handshake_failed(self)

    def _socket_given_back(self) -> None:
        if self._observer is not None:
            self._observer.transport_ended(self)
