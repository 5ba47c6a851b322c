"""
An HTTP/1.1 connection to an upstream, TCP or TLS, which carries one exchange at a time (RFC 9112).

Sends a request's bytes as they are, hands the answer that `response_reader` reads to the exchange, and keeps the
deadlines: for the answer's head, from the request's last byte; between two pieces of its content; for the upstream to
take more of the request. There is none while the client is the one that is waited for: its own deadlines end that.

Whether a connection can be used again is decided in `_finish`; whether a dead one may be replaced unnoticed, in
`_may_be_replaced_for`.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from sptls.deadlines import Waits
from sptls.errors import UpstreamError
from sptls.proxy.response_reader import ResponseReader

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITransport
    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue
    from sptls.proxy.stream import ReadsSized, StreamTransport
    from sptls.proxy.upstream_exchange import UpstreamExchange
    from sptls.proxy.upstream_origin import Origin

_log = Logger()

_REQUEST_TIMEOUT: Final = 408
# What is read of an answer at a time: Twisted's own figure; and while its client has much to take already, of which a
# click's redirect is whole, and a hundred streams' are not much.
READ_BYTES: Final = 65536
LITTLE_BYTES: Final = 4096


@implementer(IProtocol, IPushProducer)
class UpstreamConnection(Waits):
    """
    One connection to *address*. As a producer it is the request's content's.
    """

    __slots__ = (
        "_closing",
        "_exchange",
        "_origin",
        "_reader",
        "_used",
        "address",
        "factory",
        "request_paused",
        "transport",
    )

    transport: StreamTransport

    def __init__(self, origin: Origin, address: str) -> None:
        self._origin, self.address, self.factory = origin, address, None
        self._exchange: UpstreamExchange | None = None
        self._reader: ResponseReader | None = None
        self._deadline = None
        self._closing = self._used = self.request_paused = False

    # -- Twisted's side

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin on *transport*, at whose other end the upstream is known to be.
        """
        self.transport = cast("StreamTransport", transport)
        self.transport.registerProducer(self, True)
        self._origin.opened(self)

    def connectionMade(self) -> None:
        """
        Do nothing: all is done in `makeConnection`.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Take a piece of the answer.
        """
        exchange, reader = self._exchange, self._reader
        if exchange is None or reader is None:
            if not self._closing:
                # Nothing was asked: a time-out's 408, mostly.
                self.close_now()
            return
        try:
            self._received(exchange, reader, data)
        except UpstreamError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001 - whatever it is, neither this connection nor the client's may hang for it
            _log.failure("an upstream's answer could not be handled; its connection is closed")
            self.drop()
            exchange.done = True
            exchange.downstream.response_failed(UpstreamError(502, "the answer could not be handled"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End what was under way; an answer may end with its connection.
        """
        self._closing = True
        reader, exchange = self._reader, self._detach()
        self._wait_in(None)
        self._origin.lost(self)
        if exchange is None or reader is None:
            return
        # Over TLS a close without close_notify may have cut content short (RFC 9112 §9.8); a click's redirect has none
        # to lose, and many servers close like that.
        ended = isinstance(reason.value, ConnectionDone) or reader.is_redirect
        if reader.may_end_with_connection and ended:
            exchange.done = True
            exchange.downstream.response_end()
        elif reader.silent and self._may_be_replaced_for(exchange):
            self._origin.retry(exchange)
        elif reader.silent and self._may_go_elsewhere(exchange):
            self._origin.retry(exchange, avoiding=self.address)
        elif reader.head is None:
            self._origin.failed(
                exchange, UpstreamError(502, "the connection was closed before an answer"), self.address
            )
        else:
            self._origin.failed(exchange, UpstreamError(502, "the answer broke off"), self.address)

    def pauseProducing(self) -> None:
        """
        Hold the request's content back: the upstream isn't taking it.
        """
        self.request_paused = True
        if self._exchange is not None and not self._exchange.ended:
            self._exchange.downstream.pause_request()
        self._arm()

    def resumeProducing(self) -> None:
        """
        Let it come again.
        """
        self.request_paused = False
        if self._exchange is not None and not self._exchange.ended:
            self._exchange.downstream.resume_request()
        self._arm()

    def stopProducing(self) -> None:
        """
        Do nothing: `connectionLost` comes too.
        """

    def deadline_passed(self) -> None:
        """
        End what took too long.
        """
        queue, self._deadline = self._deadline, None
        deadlines = self._origin.deadlines
        if queue is deadlines.idle:
            self.close()
        elif queue is deadlines.head:
            self._fail(UpstreamError(504, "no answer came in time"))
        elif queue is deadlines.stall:
            self._fail(UpstreamError(504, "the request was not taken in time"))
        elif queue is deadlines.body:
            self._fail(UpstreamError(504, "the answer came to a stop"))
        else:
            self.close_now()

    # -- the origin's and the exchange's side

    def take(self, exchange: UpstreamExchange) -> None:
        """
        Send *exchange*'s request.
        """
        self._exchange, exchange.connection = exchange, self
        self._reader = ResponseReader(exchange.request.method, self._origin.head_bytes)
        self.transport.write(exchange.opening())
        if not self._used and hasattr(self.transport, "acknowledge_at_once"):
            # TLS's tickets come before the first answer, and who gathers small packets (RFC 896) holds it back until
            # they are acknowledged: 40 ms for the first click after a pause, and for each POST.
            self.transport.acknowledge_at_once()
        exchange.taken(self)
        if exchange.reads_little:
            self.read_little(True)
        if exchange.response_paused:
            self.pause_response()
        else:
            self._arm()

    def rest(self) -> None:
        """
        Wait for the next exchange, within bounds.
        """
        self._wait_in(self._origin.deadlines.idle)

    def request_ended(self) -> None:
        """
        Take note that the request is complete.
        """
        self._arm()

    def pause_response(self) -> None:
        """
        Stop reading.
        """
        self.transport.pauseProducing()
        self._arm()
        self._origin.held_up(self)

    def resume_response(self) -> None:
        """
        Read on.
        """
        self._origin.flows(self)
        self.transport.resumeProducing()
        self._arm()

    @property
    def seconds_left(self) -> float:
        """
        Tell how long the client takes for what is held for it, whose answer comes here.
        """
        return 0.0 if self._exchange is None else self._exchange.downstream.seconds_left

    def read_little(self, little: bool) -> None:
        """
        Read a little at a time, or as usual again; that takes effect at once, also for what is there to be read.
        """
        if hasattr(self.transport, "bufferSize"):
            cast("ReadsSized", self.transport).bufferSize = LITTLE_BYTES if little else READ_BYTES

    def drop(self) -> None:
        """
        Forget the exchange, and close.
        """
        self._detach()
        self.close_now()

    def give_up(self, error: UpstreamError) -> None:
        """
        Close now; the exchange fails, through no fault of the upstream's.
        """
        exchange = self._detach()
        self.close_now()
        if exchange is not None:
            exchange.fail(error)

    def close(self) -> None:
        """
        Close in good order, within bounds.
        """
        if not self._closing:
            self._closing = True
            self._origin.withdraw(self)
            self._wait_in(self._origin.deadlines.closing)
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def close_now(self) -> None:
        """
        Close without further ado.
        """
        self._closing = True
        self._origin.withdraw(self)
        self._wait_in(None)
        self.transport.abortConnection()

    def stop(self) -> None:
        """
        Close, unless it is closing; an exchange fails.
        """
        if not self._closing:
            self.give_up(UpstreamError(502, "the proxy is stopping"))

    # -- answers

    def _received(self, exchange: UpstreamExchange, reader: ResponseReader, data: bytes) -> None:
        downstream = exchange.downstream
        rest: bytes | None = data
        if reader.head is None:
            rest = reader.read_head(data)
            if rest is None or reader.head is None:
                return
            if reader.head.status == _REQUEST_TIMEOUT and self._may_be_replaced_for(exchange):
                # It was idle for too long, and its farewell crossed the request (RFC 9110 §15.5.9).
                self.drop()
                self._origin.retry(exchange)
                return
            self._origin.answered()
            downstream.response_head(reader.head)
        content = reader.read_content(rest) if rest is not None else b""
        # Each call below may have made the client's side give the exchange up.
        if content and not exchange.done:
            downstream.response_data(content)
        if exchange.done:
            return
        if reader.finished:
            self._finish(exchange, reader)
        else:
            downstream.response_flush()
            self._arm()

    def _may_be_replaced_for(self, exchange: UpstreamExchange) -> bool:
        """
        Tell whether *exchange* may be tried again elsewhere: this connection was kept, so it may be to blame.
        """
        return self._used and exchange.repeatable and not exchange.retried

    def _may_go_elsewhere(self, exchange: UpstreamExchange) -> bool:
        """
        Tell whether *exchange* may be tried again at another address: this one hung up on a fresh connection.
        """
        return exchange.repeatable and not exchange.retried and self._origin.has_alternatives

    def _finish(self, exchange: UpstreamExchange, reader: ResponseReader) -> None:
        """
        End an exchange whose answer is complete, and see whether the connection can be used again.
        """
        keep_alive = reader.head is not None and reader.head.keep_alive and not reader.surplus
        # An answer that came before all of the request was sent leaves the rest of it in doubt (RFC 9112 §9.5).
        reusable = keep_alive and exchange.ended and not self.request_paused
        exchange.done = True
        self._detach()
        if exchange.response_paused:
            self.transport.resumeProducing()
        if not self._used:
            self._used = True
            self._origin.remember(self)
        if not reusable:
            self.close()
        elif not self._closing:
            # First the connection, then the client: its next request may be here already and want a connection.
            self._origin.release(self)
        if reader.trailers:
            exchange.downstream.response_trailers(reader.trailers)
        exchange.downstream.response_end()

    def _fail(self, error: UpstreamError) -> None:
        exchange = self._detach()
        self.close_now()
        if exchange is not None:
            self._origin.failed(exchange, error, self.address)

    def _detach(self) -> UpstreamExchange | None:
        """
        Let go of the exchange, and be as before it.
        """
        exchange, self._exchange, self._reader = self._exchange, None, None
        if exchange is not None:
            if exchange.response_paused:
                self._origin.flows(self)
            if exchange.reads_little:
                self.read_little(False)
            exchange.connection = None
            self._wait_in(None)
        return exchange

    # -- deadlines

    def _arm(self) -> None:
        """
        Set the deadline of what is waited for.
        """
        exchange, reader, deadlines = self._exchange, self._reader, self._origin.deadlines
        if exchange is None or reader is None:
            return
        if exchange.response_paused:
            queue: DeadlineQueue | None = None
        elif reader.head is not None:
            queue = deadlines.body
        elif self.request_paused:
            queue = deadlines.stall
        else:
            queue = deadlines.head if exchange.ended else None
        if queue is not self._deadline or queue is deadlines.body:
            self._wait_in(queue)
