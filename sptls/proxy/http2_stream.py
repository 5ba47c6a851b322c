"""
The client's side of one HTTP/2 exchange: from the request's head to the answer's last byte and the access-log line.

Passes content both ways no faster than it is taken: a client's window is widened as the upstream takes what came, and
the upstream is paused while the client's window or its connection is full. Ends in one of four ways, each in one log
line: the answer is complete; the client reset the stream, or left; the stream was reset by us, so that nobody takes a
part for the whole. `http2` has the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from zope.interface import implementer

from sptls.deadlines import Waits
from sptls.interfaces import IDownstream
from sptls.proxy.exchange_log import CLIENT_LEFT, note
from sptls.proxy.gateway import BODY_BYTES
from sptls.proxy.head import parse_response
from sptls.proxy.headers import client_fields, error_page, own_response
from sptls.proxy.http2_flow import Inflow, Outflow
from sptls.proxy.http2_frames import ErrorCode, headers, reset, window_update
from sptls.proxy.http2_head import WHITE, are_trailers
from sptls.proxy.route import Answer, Forward, Redirect
from sptls.proxy.trailers import passed_on

if TYPE_CHECKING:
    from sptls.errors import UpstreamError
    from sptls.interfaces import IUpstreamExchange
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead, ResponseHead
    from sptls.proxy.http2_session import Http2Session
    from sptls.proxy.route import Refuse, Site

_CONTINUE: Final = [(b":status", b"100")]


# Of all streams whose request is complete with its head: they receive nothing.
_NOTHING_COMES: Final = Inflow(0)


@implementer(IDownstream)
class Http2Stream(Waits):
    """
    One exchange; *request* is None when the head was malformed, *request_line* is what is known of it.

    *ended*: the client's side is complete.
    """

    __slots__ = (
        "_awaited_bytes",
        "_began_seconds",
        "_body_bytes",
        "_content",
        "_fields",
        "_hsts",
        "_inflow",
        "_is_over",
        "_options",
        "_owed_bytes",
        "_received_bytes",
        "_request",
        "_request_line",
        "_request_paused",
        "_response_paused",
        "_session",
        "_started",
        "_status",
        "_trailers",
        "ended",
        "outflow",
        "upstream",
    )

    def __init__(
        self, session: Http2Session, stream_id: int, request: RequestHead | None, request_line: bytes, *, ended: bool
    ) -> None:
        self._session, self._request, self._request_line, self.ended = session, request, request_line, ended
        self._began_seconds = session.connection.gateway.seconds()
        self.upstream: IUpstreamExchange | None = None
        self.outflow = Outflow(stream_id, session.sender.initial_window_bytes)
        self._inflow = _NOTHING_COMES if ended else Inflow()
        # The answer's head, and content of it, that were not sent yet; *started* whether the head was.
        self._fields: Fields | None = None
        self._hsts: bytes | None = None
        self._options: tuple[bytes, ...] = ()
        self._trailers: Fields = []
        self._content, self._started, self._is_over = b"", False, False
        self._status = self._body_bytes = 0
        # Content that came, and how much of it the client's window must be widened by once the upstream goes on.
        self._received_bytes = self._owed_bytes = 0
        self._awaited_bytes = 0  # what came of it since its deadline was set
        self._request_paused = self._response_paused = False
        self._deadline = None

    # -- the connection's side

    def begin(self, decision: Forward | Answer | Redirect | Refuse) -> None:
        """
        Do what `route` decided.
        """
        if isinstance(decision, Forward):
            self._forward(decision.site)
            return
        gateway, method = self._session.connection.gateway, b"GET" if self._request is None else self._request.method
        if isinstance(decision, Answer):
            self._send_page(
                own_response(
                    decision.status,
                    decision.content_type,
                    decision.content,
                    method,
                    keep_alive=True,
                    date=gateway.date(),
                )
            )
        elif isinstance(decision, Redirect):
            location = decision.location
            self._send_page(
                error_page(decision.status, method, keep_alive=True, date=gateway.date(), location=location)
            )
        else:
            if decision.site is not None and self._request is not None:
                self._hsts = self._session.connection.hsts_for(self._request, decision.site)
            self.refuse(decision.status)

    def receive(self, data: bytes, flow_bytes: int, *, ends: bool) -> ErrorCode | None:
        """
        Take content, which takes *flow_bytes* of the window; give the code when the stream must be reset for it.
        """
        if self.ended:
            return ErrorCode.STREAM_CLOSED
        if not self._inflow.receive(flow_bytes):
            return ErrorCode.FLOW_CONTROL_ERROR
        self.ended = ends
        self._received_bytes += len(data)
        self._awaited_bytes += len(data)
        request, upstream = self._request, self.upstream
        if upstream is None or request is None:
            return None  # the answer is known without it
        expected, limit = request.content_length, self._session.connection.gateway.limits.body_bytes
        received = self._received_bytes
        if expected is not None and (received > expected or (ends and received < expected)):
            return ErrorCode.PROTOCOL_ERROR  # RFC 9113 §8.1.1
        if 0 < limit < received:
            self.refuse(413)
            return None
        if data:
            upstream.send_data(data)
            self._session.connection.holds = True
        if ends:
            if self.upstream is not None:
                upstream.send_end()
        elif not self._is_over:  # it may have failed just now
            self._owed_bytes += flow_bytes
            self._widen()
        self._arm()
        return None

    def receive_trailers(self, fields: Fields, *, ends: bool) -> ErrorCode | None:
        """
        Take the end of the content, and the fields behind it.
        """
        if not ends or not are_trailers(fields):
            return ErrorCode.PROTOCOL_ERROR
        if self.upstream is not None and not self.ended:
            self.upstream.send_trailers([(name, value.strip(WHITE)) for name, value in fields])
        return self.receive(b"", 0, ends=True)

    def refuse(self, status: int) -> None:
        """
        End the exchange with an error page; if an answer has begun already, with the stream.
        """
        self._abandon()
        if self._started:
            self.break_off(ErrorCode.INTERNAL_ERROR)
            return
        gateway, request = self._session.connection.gateway, self._request
        gateway.counters.error_pages += 1
        method = b"GET" if request is None else request.method
        self._send_page(error_page(status, method, keep_alive=True, date=gateway.date()))

    def break_off(self, code: ErrorCode) -> None:
        """
        End the stream before its answer is complete.
        """
        self._session.sender.say(reset(self.outflow.stream_id, code))
        if not self._started:
            self._status = 400
        self._end()
        self._session.connection.flush()

    def client_left(self) -> None:
        """
        Stop: the client wants no more of it, or is gone.
        """
        self._session.connection.gateway.counters.client_left += 1
        if not self._started:
            self._status = CLIENT_LEFT
        self._end()

    def emptied(self) -> None:
        """
        Go on: all that was ready has been sent.
        """
        if self.outflow.is_over:
            self._complete()
            return
        if self._trailers:
            self._send_trailers()
            return
        if self._response_paused:
            self._response_paused = False
            if self.upstream is not None:
                self.upstream.resume_response()
        self._arm()

    def deadline_passed(self) -> None:
        """
        End what took too long, with an answer where one can still be given.
        """
        queue, self._deadline = self._deadline, None
        if queue is self._session.connection.gateway.write:
            self._abandon()
            self.break_off(ErrorCode.CANCEL)
        else:
            self.refuse(408)

    # -- IDownstream

    @property
    def seconds_left(self) -> float:
        """
        Tell how long the client takes for what is held for it.
        """
        connection = self._session.connection
        return connection.gateway.held.seconds_left(connection)

    def response_head(self, head: ResponseHead) -> None:
        """
        Prepare the answer's head; it is sent with the first content.
        """
        self._status, self._fields = head.status, client_fields(head, self._hsts)
        self._options = head.connection_options

    def response_data(self, data: bytes) -> None:
        """
        Add to what is ready to be sent.
        """
        self._body_bytes += len(data)
        self._content = self._content + data if self._content else data

    def response_flush(self) -> None:
        """
        Send what is ready.
        """
        self._send(ends=False)

    def response_trailers(self, fields: Fields) -> None:
        """
        Keep what is to go behind the content.
        """
        self._trailers = [(name.lower(), value) for name, value in passed_on(fields, self._options)]

    def response_end(self) -> None:
        """
        Send the rest.
        """
        self.upstream = None
        if not self._trailers:
            self._send(ends=True)
            return
        self._send(ends=False)
        if not self.outflow.has_to_send and not self._is_over:
            self._send_trailers()
            self._session.connection.flush_soon()

    def response_failed(self, error: UpstreamError) -> None:
        """
        Answer with the error's status, or break off.
        """
        if not self._is_over and not self.outflow.ends:
            self.upstream = None
            self._session.connection.gateway.counters.upstream_errors += 1
            self.refuse(error.status)

    def pause_request(self) -> None:
        """
        Let the client send no more than its window has left.
        """
        self._request_paused = True
        self._arm()

    def resume_request(self) -> None:
        """
        Let it send again.
        """
        self._request_paused = False
        self._widen()
        self._arm()
        self._session.connection.flush()

    # -- within

    def _forward(self, site: Site) -> None:
        """
        Pass the request's head on to *site*'s upstream.
        """
        session, request = self._session, self._request
        if request is None:
            raise AssertionError("a request without a head is only ever refused")
        connection = session.connection
        head_bytes, self._hsts = connection.passed_on(request, site)
        upstream = connection.gateway.upstreams.exchange(site, head_bytes, request, self)
        if self._is_over or self.outflow.ends or self._trailers:
            return  # it failed, or was answered, at once
        self.upstream = upstream
        if session.is_full:
            upstream.read_little(True)
        if request.expects_continue:
            session.sender.say(headers(self.outflow.stream_id, session.encoder.encode(_CONTINUE), ends=False))
        if not self.ended:
            self._arm()

    def _send_page(self, page: bytes) -> None:
        """
        Send a whole answer of our own, made for HTTP/1.
        """
        head = cast("ResponseHead", parse_response(page, len(page)))
        self.response_head(head)
        self._content = page[head.size :]
        self._body_bytes = len(self._content)
        self._send(ends=True)

    def _send(self, *, ends: bool) -> None:
        session, sender, outflow = self._session, self._session.sender, self.outflow
        content, self._content = self._content, b""
        is_all = False
        if self._fields is not None:
            is_all = ends and not content
            block = session.encoder.encode(self._fields)
            sender.say(headers(outflow.stream_id, block, ends=is_all))
            self._fields, self._started = None, True
        # Where the client may be sending yet, it is told to stop, and not before it has the answer.
        if is_all or (ends and self.ended and sender.say_last(outflow, content)):
            outflow.ends = outflow.is_over = True
            self._complete()
            session.connection.flush_soon(gone_streams=1)
            return
        if ends:
            sender.put(outflow, content, ends=True)
            session.connection.flush_soon()
        else:
            if content:
                sender.put(outflow, content, ends=False)
            session.connection.flush()
        if outflow.has_to_send:
            if self.upstream is not None and not self._response_paused:
                self._response_paused = True
                self.upstream.pause_response()
            session.weigh()
            self._arm()

    def _send_trailers(self) -> None:
        """
        End the stream with what goes behind the content, all of which went.
        """
        session, outflow = self._session, self.outflow
        session.sender.say(headers(outflow.stream_id, session.encoder.encode(self._trailers), ends=True))
        outflow.ends = outflow.is_over = True
        self._complete()

    def _complete(self) -> None:
        """
        End the stream whose answer is complete; what the client may be sending yet is not wanted (RFC 9113 §8.1).
        """
        if not self.ended:
            self._session.sender.say(reset(self.outflow.stream_id, ErrorCode.NO_ERROR))
        self._session.answered()
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self.upstream is not None or not self._started:
            self._abandon()
        if self._deadline is not None:
            self._wait_in(None)
        unsent = len(self.outflow.waiting) + len(self._content)
        self._session.stream_over(self)
        note(
            self._session.connection,
            self._request,
            self._request_line,
            self._status,
            self._body_bytes - unsent,
            self._began_seconds,
        )

    def _abandon(self) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        if not self._started:
            self._fields, self._content, self._body_bytes = None, b"", 0

    def _widen(self) -> None:
        """
        Let the client send as much as the upstream has taken.
        """
        if not self._request_paused and not self.ended:
            owed, self._owed_bytes = self._owed_bytes, 0
            increment = self._inflow.take(owed)
            if increment:
                self._session.sender.say(window_update(self.outflow.stream_id, increment))

    def _arm(self) -> None:
        """
        Set the deadline of what is waited for, if it is the client; content counts as progress, if it is enough.
        """
        gateway, outflow = self._session.connection.gateway, self.outflow
        if self._is_over:
            queue = None
        elif outflow.has_to_send:
            queue = gateway.write
        elif not (self.ended or self._request_paused or outflow.ends):
            queue = gateway.body
        else:
            queue = None
        if queue is not self._deadline or (queue is gateway.body and self._awaited_bytes >= BODY_BYTES):
            self._awaited_bytes = 0
            self._wait_in(queue)
