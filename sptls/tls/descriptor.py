"""
TLS on a connected socket, as the reactor sees it: when to read, when to write, and how it ends.

OpenSSL drives the socket itself (`openssl.TlsConnection`), as server or client; no buffer is between them.
What a protocol sees of it is `transport`. RFC 8446 §6.1 (close_notify).

What OpenSSL asks for is kept in one place each. A write that it could not finish is repeated with the same bytes,
perhaps followed by more, never with fewer: `_out` grows until OpenSSL takes from its front. It may want to read
in order to write, and the other way round: `_write_wants_read`, `_read_wants_write`. After an error it is not called
again: `_end`. Reads are as large as a record can be, so no plaintext stays inside OpenSSL where epoll can't see it;
for the same reason a context must leave read-ahead off.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from contextlib import suppress
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadWriteDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from sptls.tls.openssl import CLOSED, RECORD_BYTES, WANTS_READ, WANTS_WRITE, Blocked
from sptls.tls.reasons import ABORTED, DONE, lost

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import SocketType

    from twisted.internet.interfaces import IProtocol, IPushProducer
    from twisted.python.failure import Failure

    from sptls.tls.openssl import TlsConnection
    from sptls.tls.transport import TransportSurroundings

_log = Logger()

# How many full records one wake reads (64 KiB) or writes (256 KiB) before the other connections get their turn.
READS_PER_WAKE: Final = 4
WRITES_PER_WAKE: Final = 16


@implementer(IReadWriteDescriptor)
class TlsDescriptor(ABC):
    """
    The machine of one connection: handshake, open, perhaps closed one way, ended.

    The reactor's calls begin with `_inside` and end with `_leave`, which does what became due. Calls from elsewhere
    end with `_changed`, which does the same but leaves telling the protocol to the reactor.
    """

    __slots__ = (
        "_connection",
        "_ended",
        "_half_closing",
        "_handshaking",
        "_inside",
        "_linger",
        "_out",
        "_paused",
        "_producer",
        "_producer_paused",
        "_reactor",
        "_read_ended",
        "_read_wants_write",
        "_reading",
        "_socket",
        "_streaming",
        "_surroundings",
        "_write_ended",
        "_write_wants_read",
        "_writing",
        "disconnecting",
        "protocol",
    )

    def __init__(
        self,
        surroundings: TransportSurroundings,
        sock: SocketType,
        connection: TlsConnection,
    ) -> None:
        self.protocol: IProtocol | None = None
        self.disconnecting = False  # `loseConnection` was called; Twisted's protocols look at it
        self._surroundings, self._reactor, self._socket = surroundings, surroundings.reactor, sock
        self._connection = connection
        self._out = bytearray()
        self._producer: IPushProducer | None = None
        self._streaming = self._producer_paused = False
        self._handshaking = True
        self._paused = False  # the protocol wants no more for now
        self._read_ended = self._write_ended = False  # close_notify came; was sent
        self._half_closing = self._linger = False
        self._read_wants_write = self._write_wants_read = False
        self._reading = self._writing = False  # what the reactor was told
        self._inside = False
        self._ended: Failure | None = None  # why, from when the socket is given back

    @abstractmethod
    def _handshake_completed(self) -> None:
        """
        Make the protocol.
        """

    @abstractmethod
    def _handshake_failed(self) -> None:
        """
        Take note that there will be no protocol.
        """

    @abstractmethod
    def _socket_given_back(self) -> None:
        """
        Take note that this is over.
        """

    def start(self) -> None:
        """
        Begin the handshake, with what the peer has sent already.
        """
        self._surroundings.handshake_deadline.set(self)
        self.doRead()

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
        Go on: there is something to read.
        """
        self._inside = True
        if self._write_wants_read:
            self._flush()
        self._advance()
        self._leave()

    def doWrite(self) -> None:
        """
        Go on: there is room to write.
        """
        self._inside = True
        if self._read_wants_write:
            self._advance()
        if not self._handshaking and self._ended is None:
            self._flush()
        self._leave()

    def connectionLost(self, reason: Failure) -> None:
        """
        End: the reactor found the connection dead, or is stopping.
        """
        self._inside = True
        self._end(reason)
        self._leave()

    def deadline_passed(self) -> None:
        """
        End: the handshake took too long, or the peer takes nothing of what is left to send.
        """
        self._inside = True
        if self._handshaking:
            self._handshake_failed()
        self._end(ABORTED, reset=True)
        self._leave()

    # Reading

    def _advance(self) -> None:
        """
        Shake hands, then read: the first request may be there with the end of the handshake.
        """
        self._read_wants_write = False
        if self._handshaking:
            self._shake_hands()
        if not self._handshaking:
            self._read()

    def _shake_hands(self) -> None:
        try:
            blocked = self._connection.shake_hands()
        except SSL.Error as error:
            self._handshake_failed()
            self._end(lost(error))
            return
        except Exception as error:  # noqa: BLE001 - a context's callbacks raise through here
            self._handshake_failed()
            self._failed(error)
            return
        if blocked is not None:
            self._read_wants_write = blocked is WANTS_WRITE
            return
        self._handshaking = False
        self._surroundings.handshake_deadline.clear(self)
        self._call(self._handshake_completed)

    def _read(self) -> None:
        for _ in range(READS_PER_WAKE):
            protocol = self.protocol
            if protocol is None or self._paused or self._read_ended or self.disconnecting or self._ended is not None:
                return
            try:
                data = self._connection.read_some()
            except SSL.Error as error:
                self._end(lost(error))
                return
            if isinstance(data, Blocked):
                self._read_wants_write = data is WANTS_WRITE
                if data is CLOSED:
                    self._peer_closed(protocol)
                return
            try:
                protocol.dataReceived(data)
            except Exception as error:  # noqa: BLE001 - `_call`, for the call that every byte takes
                self._failed(error)
            if len(data) < RECORD_BYTES:
                return  # most likely all there is; if not, epoll says so

    def _peer_closed(self, protocol: IProtocol) -> None:
        """
        The peer sent close_notify: it sends no more, but may read an answer yet (RFC 8446 §6.1).
        """
        self._read_ended = True
        if self._write_ended:
            self._end(DONE)
        elif IHalfCloseableProtocol.providedBy(protocol):
            self._call(protocol.readConnectionLost)
        else:
            self._stop_producer()
            self._lose()

    # Writing

    def _send(self, data: bytes) -> None:
        """
        Send *data* while nothing is unsent: what the socket takes now, and keep the rest.
        """
        try:
            sent = self._connection.write_some(data)
            if sent == len(data):
                return
            rest = memoryview(data)
            while not isinstance(sent, Blocked):  # a record is sent, and there are more
                rest = rest[sent:]
                if not rest:
                    return
                sent = self._connection.write_some_from(rest)
        except SSL.Error as error:
            self._end(lost(error))
            return
        self._out += rest
        self._write_wants_read = sent is WANTS_READ

    def _flush(self) -> None:
        """
        Send of what is unsent what the socket takes; the producer is asked for more when there is nothing left.
        """
        out = self._out
        self._write_wants_read = False
        if self.disconnecting:
            self._surroundings.flush_deadline.set(self)  # there is room: the peer took something
        try:
            for _ in range(WRITES_PER_WAKE):
                if not out:
                    break
                sent = self._connection.write_some_from(out)
                if isinstance(sent, Blocked):
                    self._write_wants_read = sent is WANTS_READ
                    break
                del out[:sent]
        except SSL.Error as error:
            self._end(lost(error))
        if not out and self._producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            self._call(self._producer.resumeProducing)

    # Ending

    def _lose(self) -> None:
        """
        Close as soon as everything is sent; a peer that takes nothing of it has until the deadline.
        """
        if self._ended is not None or self.disconnecting:
            return
        self.disconnecting = True
        self._changed()
        if self._ended is None:
            self._surroundings.flush_deadline.set(self)

    def _close_is_due(self) -> bool:
        """
        Tell whether close_notify was asked for and nothing stands before it any more.
        """
        asked = self.disconnecting or (self._half_closing and not self._write_ended)
        return asked and not self._out and self._producer is None

    def _close(self) -> None:
        """
        Say close_notify; then end, or go on reading.
        """
        if not self._write_ended and not self._say_close_notify():
            return
        if self.disconnecting:
            self._end(DONE)
            return
        self._write_ended = True
        with suppress(OSError):  # the peer is gone: reading will tell
            self._socket.shutdown(SHUT_WR)
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self._call(self.protocol.writeConnectionLost)
        if self._read_ended:
            self._end(DONE)

    def _say_close_notify(self) -> bool:
        """
        Tell whether it is said; if not, the socket has no room for it, or the connection is over.
        """
        try:
            return self._connection.say_close_notify() is None
        except SSL.Error as error:
            self._end(lost(error))
            return False

    def _end(self, reason: Failure, *, reset: bool = False) -> None:
        """
        Give the socket back, once; OpenSSL is not called after this.
        """
        if self._ended is not None:
            return
        self._ended = reason
        if self._reading:
            self._reactor.removeReader(self)
        if self._writing:
            self._reactor.removeWriter(self)
        if self._handshaking:
            self._surroundings.handshake_deadline.clear(self)
        if self.disconnecting:
            self._surroundings.flush_deadline.clear(self)
        self._out = bytearray()
        del self._connection  # 23 KB; the protocol may keep this object for long
        if reset:
            self._surroundings.lingering.reset(self._socket)
        else:
            self._surroundings.lingering.close(self._socket, still_sending=self._linger)
        self._socket_given_back()

    # Calling others

    def _call(self, call: Callable[..., object], *args: Any) -> None:
        """
        Call code that is not ours: what it raises ends this connection and nothing else.
        """
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - said and ended here
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """
        Log where and how a protocol failed, without the error's text, which may quote a request; and end.
        """
        place = "".join(traceback.format_tb(error.__traceback__))
        _log.error(
            "a connection was aborted: its protocol raised {kind}\n{place}", kind=type(error).__name__, place=place
        )
        self._end(ABORTED, reset=True)

    def _stop_producer(self) -> None:
        producer, self._producer, self._streaming = self._producer, None, False
        if producer is not None:
            self._call(producer.stopProducing)

    def _leave(self) -> None:
        """
        Do what became due in a call from the reactor.
        """
        if (self.disconnecting or self._half_closing) and self._ended is None and self._close_is_due():
            self._close()
        self._inside = False
        if self._ended is None:
            self._watch()
        else:
            self._tell()

    def _changed(self) -> None:
        """
        Do what became due in a call from elsewhere; inside one from the reactor, `_leave` does.
        """
        if self._inside:
            return
        if self.disconnecting and self._ended is None and self._close_is_due():
            self._close()
        if self._ended is None:
            self._watch()
        else:
            self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        """
        Tell producer and protocol that it is over; once, and let go of them.
        """
        self._stop_producer()
        protocol, self.protocol = self.protocol, None
        if protocol is not None and self._ended is not None:
            self._call(protocol.connectionLost, self._ended)

    def _watch(self) -> None:
        """
        Tell the reactor what to wait for, where that changed.
        """
        stopped = self._paused or self._read_ended or self.disconnecting
        reading = self._write_wants_read or not (self._read_wants_write or (stopped and not self._handshaking))
        writing = self._read_wants_write or (not self._write_wants_read and self._has_to_write())
        if reading != self._reading:
            self._reading = reading
            (self._reactor.addReader if reading else self._reactor.removeReader)(self)
        if writing != self._writing:
            self._writing = writing
            (self._reactor.addWriter if writing else self._reactor.removeWriter)(self)

    def _has_to_write(self) -> bool:
        """
        Tell whether something is unsent: bytes, a pull producer's next piece, close_notify.
        """
        if self._out:
            return True
        if self._producer is not None:
            return not self._streaming or self._producer_paused
        return self._close_is_due()
