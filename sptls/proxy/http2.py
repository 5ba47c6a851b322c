"""
A client's HTTP/2 connection (RFC 9113): many requests at a time, until one side closes.

Offered by ALPN only: neither prior knowledge nor Upgrade makes one on port 80. Reads, writes what streams have ready
in as few pieces as can be, keeps the deadlines, ends in good order. What the client says is `http2_session`'s to
understand.

Bounds: `CONCURRENT_STREAMS` at a time, each with at most one window of content each way in memory and one read of its
upstream, which is a little one where `STREAMS_BYTES` wait already on all streams together; header blocks and lists by
`limits.head_bytes`; while the client takes nothing, no more is read than what makes `WRITE_BYTES` of frames. All of it
is in the account of `held_content`. Every state has a deadline here, or its streams have: while there are streams, half
a frame that isn't completed is their matter, and no reason to take answers from them.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from sptls.proxy.client_connection import ClientConnection
from sptls.proxy.http2_flow import WRITE_BYTES
from sptls.proxy.http2_frames import ErrorCode, Http2Error
from sptls.proxy.http2_session import Http2Session

if TYPE_CHECKING:
    from twisted.internet.interfaces import ITransport
    from twisted.python.failure import Failure

    from sptls.deadlines import DeadlineQueue
    from sptls.proxy.gateway import Gateway
    from sptls.tls.transport import TlsTransport

_log = Logger()

# How many turns of the reactor an answer waits for others, at most: the second has what came while the first lasted.
# With ten streams at a time, a packet has eight answers instead of four; where nothing came, a turn takes 10 µs.
_TURNS: Final = 2


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Http2(ClientConnection):
    """
    One connection. As a producer it is all answers': the transport pauses it when the client takes too little.
    """

    __slots__ = ("_backlog_bytes", "_busy", "_client_paused", "_due_turns", "_is_first_read", "_is_held", "session")

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.session = Http2Session(self)
        # *busy*: frames are being read or written, so nothing else begins to.
        self._busy = self._client_paused = False
        # At the end of how many turns a flush is due, 0 for of none; the opening waits for the first answer.
        self._due_turns, self._is_held = 0, False
        self._is_first_read = True
        # What was written while the client wasn't taking anything.
        self._backlog_bytes = 0

    # -- Twisted's side

    def makeConnection(self, transport: ITransport) -> None:
        """
        Begin to serve on *transport*. Our settings go out with what the client's own are answered with, or later.
        """
        self._begin_on(transport, self)
        self.gateway.opened(self)
        self._wait_in(self.gateway.head)
        if self._finishing:
            self.finish_soon()

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
        self._busy = True
        try:
            self.session.receive(data)
            if self._is_first_read and self._may_hold():
                self._is_held = True
                self.gateway.shortly(self._flush_held)
            else:
                self._write_ready()
        except Http2Error as error:
            self._give_up(error.code)
        except Exception:  # noqa: BLE001 - whatever it is, this connection must not hang for it
            _log.failure("a request could not be handled; its connection is closed")
            self.abort()
        finally:
            self._busy = False
        self._settle()

    def readConnectionLost(self) -> None:
        """
        Take note that the client sends no more; it still gets the answers to what it asked.
        """
        self._read_closed = True
        if self._closing:
            self.transport.loseConnection()
            return
        for stream in list(self.session.streams.values()):
            if not stream.ended:
                stream.refuse(400)
        self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Take note that the client is gone.
        """
        self._is_lost()
        self.gateway.closed(self)
        self.session.leave_streams()

    def pauseProducing(self) -> None:
        """
        Hold content back: the client isn't taking it.
        """
        self._client_paused = self.session.sender.held = True
        if not self._busy:
            self._settle()

    def resumeProducing(self) -> None:
        """
        Go on with it.
        """
        self._client_paused = self.session.sender.held = False
        self._backlog_bytes = 0
        self.flush()

    def stopProducing(self) -> None:
        """
        Do nothing: `connectionLost` comes too.
        """

    # -- the gateway's side

    @property
    def held_bytes(self) -> int:
        """
        Tell how much of the answers waits or is not sent, and how much came that is not passed on or no whole frame.
        """
        session = self.session
        return (
            session.sender.waiting_bytes
            + cast("TlsTransport", self.transport).unsent_bytes
            + session.reader.held_bytes
            + sum(stream.upstream.held_bytes for stream in session.streams.values() if stream.upstream is not None)
        )

    def let_go(self) -> None:
        """
        End, and say why if the client takes anything at all.
        """
        if self._closing or self._client_paused:
            self.abort()
        else:
            self._give_up(ErrorCode.ENHANCE_YOUR_CALM)

    def finish_soon(self) -> None:
        """
        Close as soon as what is under way is answered.

        What was sent into a connection that just closes, nobody sends again.
        """
        self._finishing = True
        self.session.begin_drain()
        self.flush()

    def deadline_passed(self) -> None:
        """
        End what took too long.
        """
        queue, self._deadline = self._deadline, None
        if self._closing or queue is self.gateway.write:
            self.abort()
        elif self.session.is_draining:
            self.session.end_drain()
            self.flush()
        else:
            # A request may be on its way this very moment: it is served, and the next ones go elsewhere.
            self.finish_soon()

    # -- the session's side

    def covers(self, host: bytes) -> bool:
        """
        Tell whether the connection's certificate stands for *host*.
        """
        return self._covers is None or self._covers(host)

    def flush(self) -> None:
        """
        Write what is ready; while frames are being read, it is written after them.
        """
        if self._busy or self._closing:
            return
        self._busy = True
        try:
            self._write_ready()
            if self._read_closed and not self._client_paused:
                self._end_stuck()
        finally:
            self._busy = False
        self._settle()

    def flush_soon(self, *, gone_streams: int = 0) -> None:
        """
        The same, but where other answers are awaited, together with those that come within `_TURNS` of the reactor.

        *gone_streams* are over with what is to be written, and not among the connection's any more.
        """
        if len(self.session.streams) + gone_streams <= 1:
            self.flush()
        elif not (self._busy or self._closing or self._due_turns):
            self._due_turns = _TURNS
            self.gateway.soon(self._flush_due)

    # -- within

    def _flush_due(self) -> None:
        if self._due_turns > 1 and self.session.streams:
            self._due_turns -= 1
            self.gateway.soon(self._flush_due)
        elif self._due_turns:
            self.flush()

    def _flush_held(self) -> None:
        if self._is_held:
            self.flush()

    def _may_hold(self) -> bool:
        """
        Tell, once, whether our settings and the acknowledgement of the client's can go out with the first answer.

        Then a client that asks for one thing costs a write, a packet and a wake less (8 % of a click). It waits for
        neither: what it asked for is under way and complete. RFC 9113 §6.5.3 wants settings acknowledged at once; the
        delay of `SHORTLY_SECONDS` at most is about a packet's way.
        """
        self._is_first_read = False
        return self.session.has_only_opened

    def _write_ready(self) -> None:
        """
        Write all that may be written now; a stream of which nothing is left may have more then.
        """
        session, self._due_turns, self._is_held = self.session, 0, False
        out, emptied = session.sender.take()
        while out:
            if self._client_paused:
                self._backlog_bytes += len(out)
            self.transport.write(out)
            session.wrote(len(out))
            if cast("TlsTransport", self.transport).unsent_bytes:
                self.holds = True
            for outflow in emptied:
                session.emptied(outflow.stream_id)
            out, emptied = session.sender.take()

    def _end_stuck(self) -> None:
        """
        End what waits for a window, which the client won't widen any more, and may have left.
        """
        stuck = [stream for stream in self.session.streams.values() if stream.outflow.has_to_send]
        for stream in stuck:
            stream.break_off(ErrorCode.CANCEL)
        if stuck:
            self._write_ready()

    def _give_up(self, code: ErrorCode) -> None:
        """
        Say why, and close.
        """
        self._busy = True
        if code is ErrorCode.NO_ERROR:
            self.last_write_comes()
        try:
            self.session.give_up(code)
            self._write_ready()
        finally:
            self._busy = False
        still_sending = code is not ErrorCode.NO_ERROR
        if self.tls and not still_sending and cast("TlsTransport", self.transport).close_at_once():
            self.connectionLost()
        else:
            self._close(still_sending=still_sending)

    def _settle(self) -> None:
        """
        Bring reading and deadline in line with what is under way now; close when that is nothing, and no more may come.
        """
        if self._closing:
            return
        session = self.session
        if (self._read_closed or session.is_ending) and not session.streams:
            self._give_up(ErrorCode.NO_ERROR)
            return
        self._read(self._backlog_bytes <= WRITE_BYTES)
        if self.holds or session.sender.waiting_bytes or session.reader.rest or session.reader.block:
            self._weigh()
        self._arm()

    def _arm(self) -> None:
        """
        Set the deadline of what is waited for, unless a stream has it; who has no stream is idle, whatever it says.
        """
        gateway, session = self.gateway, self.session
        queue: DeadlineQueue | None
        if self._client_paused:
            queue = gateway.write
        elif session.is_draining:
            queue = gateway.first
        elif not session.streams:
            queue = gateway.idle if session.was_used else gateway.head
        else:
            queue = None
        if queue is not self._deadline:
            self._wait_in(queue)
