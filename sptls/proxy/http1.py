"""
A client's HTTP/1.1 connection (RFC 9112): requests in, one exchange at a time, until one side closes.

Runs on any Twisted transport: `tls.transport.TlsTransport`, or plain TCP on port 80. Reads heads and content, keeps
the deadlines; where a request goes is `route`'s to decide, the answer is `http1_exchange`'s to send.

Bounds: one exchange runs, the requests behind it wait in at most `PIPELINED_BYTES` and one read, then reading stops;
nothing new is begun while the client isn't taking what it was sent. Every state has a deadline, or the upstream's while
its answer is awaited.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from sptls.proxy.client_connection import ClientConnection
from sptls.proxy.gateway import BODY_BYTES
from sptls.proxy.head import NEED_MORE, Malformed, RequestHead, parse_request
from sptls.proxy.http1_exchange import Http1Exchange
from sptls.proxy.request_content import Broken, RequestContent
from sptls.proxy.route import Answer, Forward, Redirect, decide

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITransport
    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue
    from sptls.proxy.fields import Fields
    from sptls.proxy.gateway import Gateway
    from sptls.proxy.route import Site
    from sptls.tls.transport import TlsTransport

_log = Logger()

# Enough for the pipelining that exists (a handful of heads), and no more than one read on top of it.
PIPELINED_BYTES: Final = 65536
# What Twisted's transport holds when it has paused its producer, at least.
PAUSED_BYTES: Final = 65536
# How much of an unfinished head is kept as request line for the access log.
_KEPT_LINE_BYTES: Final = 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Http1(ClientConnection):
    """
    One connection. As a producer it is the answer's: the transport pauses it when the client takes too little.
    """

    __slots__ = (
        "_buffer",
        "_client_paused",
        "_content",
        "_content_bytes",
        "_pumping",
        "_trailers",
        "_upstream_paused",
        "exchange",
    )

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.exchange: Http1Exchange | None = None
        self._buffer: bytes | bytearray = b""
        # The content that is being read; None when all of the request was.
        self._content: RequestContent | None = None
        self._content_bytes = 0  # of it, since its deadline was set
        self._trailers: Fields = []  # of the content that was read last
        self._client_paused = self._upstream_paused = self._pumping = False

    # -- Twisted's side

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin to serve on *transport*.
        """
        self._begin_on(transport, self)
        self.gateway.opened(self)
        self._wait_in(self.gateway.first if self._finishing else self.gateway.head)

    def connectionMade(self) -> None:
        """
        Do nothing: all is done in `makeConnection`.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Take what the client sent.
        """
        if self._closing:
            self._throw_away(data)
            return
        if not self._buffer:
            self._buffer = data
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        self._pump()

    def readConnectionLost(self) -> None:
        """
        Take note that the client sends no more; it still gets the answers to what it asked.
        """
        self._read_closed = True
        if self._closing:
            self.transport.loseConnection()
        elif self.exchange is None:
            self._pump()
        elif self._content is not None:
            self.exchange.refuse(400)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note that the client is gone.
        """
        self._buffer = b""
        self._is_lost()
        self.gateway.closed(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_left()

    def pauseProducing(self) -> None:
        """
        Hold the answer back: the client isn't taking it.
        """
        self._client_paused = True
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.pause_response()
        if not self._closing:
            self._weigh()
            self._arm()

    def resumeProducing(self) -> None:
        """
        Go on with the answer, or with the next request.
        """
        self._client_paused = False
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.resume_response()
        if not self._closing:
            self._pump()

    def stopProducing(self) -> None:
        """
        Do nothing: `connectionLost` comes too.
        """

    # -- the gateway's side

    @property
    def held_bytes(self) -> int:
        """
        Tell how much came that is not passed on, and what of the answer is not sent; without TLS, the latter about.
        """
        held_bytes = len(self._buffer)
        if self.exchange is not None and self.exchange.upstream is not None:
            held_bytes += self.exchange.upstream.held_bytes
        if self.tls:
            return held_bytes + cast("TlsTransport", self.transport).unsent_bytes
        return held_bytes + (PAUSED_BYTES if self._client_paused else 0)

    def let_go(self) -> None:
        """
        End, with an answer for who is sending a request's content.
        """
        if self.exchange is None or self._content is None or self._client_paused:
            self.abort()
        else:
            self.exchange.refuse(503)

    def finish_soon(self) -> None:
        """
        Close now if nothing is under way, else after the exchange that runs or the request that is being read.

        Who has just connected has a request under way: nobody sends it again when its connection is closed unanswered.
        """
        self._finishing = True
        if self.exchange is None and not self._buffer and not self._closing:
            if self._deadline is self.gateway.head:
                self._wait_in(self.gateway.first)
            else:
                self._close(still_sending=False)

    def deadline_passed(self) -> None:
        """
        End what took too long, with an answer where one can still be given.
        """
        queue, self._deadline = self._deadline, None
        try:
            if self._closing or queue is self.gateway.write:
                self.abort()
            elif self.exchange is not None:
                self.exchange.refuse(408)
            elif queue is self.gateway.head and self._buffer:
                self._refuse_unread(408)
            else:
                self._close(still_sending=False)
        except Exception:  # noqa: BLE001 - no deadline is set any more, so nothing else would ever end this
            _log.failure("a deadline could not be answered; its connection is closed")
            self.abort()

    # -- the exchange's side

    def may_stay(self, request: RequestHead | None) -> bool:
        """
        Tell whether the connection can be kept after the answer to *request* (RFC 9112 §9.3).
        """
        return (
            request is not None
            and request.keep_alive
            and self._content is None
            and not self._finishing
            and not (self._read_closed and not self._buffer)
        )

    def exchange_ended(self, keep_alive: bool) -> None:
        """
        Go on after an answer that is complete.
        """
        self.exchange = None
        if not keep_alive:
            still_sending = self._content is not None or bool(self._buffer)
            if self.tls and not still_sending and cast("TlsTransport", self.transport).close_at_once():
                self.connectionLost()
            else:
                self._close(still_sending=still_sending)
        elif not self._pumping:
            self._pump()

    def pause_content(self) -> None:
        """
        Read no more of the request's content: the upstream isn't taking it.
        """
        self._upstream_paused = True
        if not self._pumping and not self._closing:
            self._settle()

    def resume_content(self) -> None:
        """
        Read on.
        """
        self._upstream_paused = False
        if not self._pumping and not self._closing:
            self._settle()

    # -- requests

    def _pump(self) -> None:
        """
        Handle what was received, as far as it goes; not re-entered, so a thousand requests in one read don't nest.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._buffer and not self._closing and self._step():
                pass
        except Exception:  # noqa: BLE001 - whatever it is, this connection must not hang for it
            _log.failure("a request could not be handled; its connection is closed")
            self.abort()
        finally:
            self._pumping = False
        if not self._closing:
            self._settle()

    def _step(self) -> bool:
        """
        Handle the next content or head; false when what was received has to wait.
        """
        exchange = self.exchange
        if exchange is None:
            return not self._client_paused and self._begin()
        if self._content is None:
            return False
        content = self._take_content(exchange)
        if content is not None:
            self._pass_on(exchange, content)
        return True

    def _begin(self) -> bool:
        """
        Start the next exchange if its head is there.
        """
        gateway = self.gateway
        if self._buffer.startswith(b"\r\n"):
            self._drop_empty_lines()
        head = parse_request(self._buffer, gateway.limits)
        if head is NEED_MORE:
            return False
        self._wait_in(None)
        gateway.counters.requests += 1
        if isinstance(head, Malformed):
            self.exchange = Http1Exchange(self, None, head.request_line)
            self.exchange.refuse(head.status)
            return True
        self._cut(head.size)
        if head.chunked or head.content_length:
            self._content, self._upstream_paused = RequestContent(head, gateway.limits.body_bytes), False
            self._content_bytes = 0
        exchange = self.exchange = Http1Exchange(self, head, head.request_line)
        decision = decide(
            head,
            gateway.sites,
            gateway.tokens,
            self._covers,
            gateway.has_certificate,
            gateway.https_port,
            is_secure=self.proxies is not None and self.client_of(head)[1] == b"https",
        )
        if isinstance(decision, Forward):
            if self._content is None:
                exchange.forward(decision.site)
            else:
                self._forward_with_content(exchange, head, decision.site)
        elif isinstance(decision, Answer):
            exchange.answer(decision)
        elif isinstance(decision, Redirect):
            exchange.redirect(decision)
        else:
            if decision.site is not None:
                exchange.answers_for(decision.site)
            exchange.refuse(decision.status)
        return True

    def _drop_empty_lines(self) -> None:
        """
        Forget line ends before a request: old clients end a POST with one too many (RFC 9112 §2.2).

        That is no request, and nobody to tell; all of them, as how many come in one read is chance.
        """
        start = 0
        while self._buffer.startswith(b"\r\n", start):
            start += 2
        self._cut(start)

    def _cut(self, size: int) -> None:
        """
        Drop the first *size* bytes received.
        """
        buffer = self._buffer
        if size == len(buffer):
            self._buffer = b""
            return
        # A bytearray loses its front without a copy, which matters with a thousand heads behind this one.
        rest = buffer if isinstance(buffer, bytearray) else bytearray(buffer)
        del rest[:size]
        self._buffer = rest

    def _forward_with_content(self, exchange: Http1Exchange, head: RequestHead, site: Site) -> None:
        """
        Pass on a request and what is there of its content; content that is broken already reaches no upstream.
        """
        exchange.answers_for(site)
        waits = head.expects_continue and not self._buffer
        content = self._take_content(exchange)
        if content is not None:
            exchange.forward(site)
            if waits and self.exchange is exchange:
                self.transport.write(_CONTINUE)
            self._pass_on(exchange, content)

    def _take_content(self, exchange: Http1Exchange) -> bytes | None:
        """
        Take content out of what was received; None when it is broken, and *exchange* was refused for that.
        """
        content = self._content
        if content is None:
            return None
        taken = content.feed(bytes(self._buffer))
        if isinstance(taken, Broken):
            exchange.refuse(taken.status)
            return None
        self._buffer = content.rest
        self._content_bytes += len(taken)
        if content.complete:
            self._content, self._trailers = None, content.trailers
        return taken

    def _pass_on(self, exchange: Http1Exchange, content: bytes) -> None:
        upstream = exchange.upstream
        if upstream is not None:
            if content:
                upstream.send_data(content)
                self.holds = True
            if self._content is None:
                if self._trailers:
                    upstream.send_trailers(self._trailers)
                upstream.send_end()

    def _refuse_unread(self, status: int) -> None:
        """
        Answer to a head that was never finished.
        """
        line = bytes(self._buffer[:_KEPT_LINE_BYTES]).split(b"\r\n", 1)[0]
        self.exchange = Http1Exchange(self, None, line)
        self.exchange.refuse(status)

    # -- what is waited for

    def _settle(self) -> None:
        """
        Bring reading and deadline in line with what is under way now.
        """
        if self.exchange is None and not self._client_paused:
            if self._read_closed and self._buffer:
                self._refuse_unread(400)
                return
            if self._read_closed or (self._finishing and not self._buffer):
                self._close(still_sending=False)
                return
        waits = self.exchange is not None or self._client_paused
        full = waits and len(self._buffer) > PIPELINED_BYTES
        self._read(not full and not (self._content is not None and self._upstream_paused))
        if self.holds or self._buffer or getattr(self.transport, "unsent_bytes", 0) > 0:
            self._weigh()
        self._arm()

    def _arm(self) -> None:
        """
        Set the deadline of what is waited for; only content counts as progress, and only enough of it.
        """
        gateway = self.gateway
        if self._client_paused:
            queue: DeadlineQueue | None = gateway.write
        elif self.exchange is None:
            queue = gateway.head if self._buffer or self._deadline is gateway.head else gateway.idle
        elif self._content is not None and not self._upstream_paused:
            queue = gateway.body
        else:
            queue = None
        if queue is not self._deadline:
            self._wait_in(queue)
        elif queue is gateway.body and self._content_bytes >= BODY_BYTES:
            self._content_bytes = 0
            self._wait_in(queue)
