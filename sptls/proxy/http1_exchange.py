"""
The client's side of one HTTP/1.1 exchange: from the request's head to the answer's last byte and the access-log line.

Frames the answer for the client and writes it: head and content in one piece when they come together. Which fields and
which framing is `headers`' to decide. Ends in one of three ways, and each ends in one log line: the answer is complete;
the client left; the answer broke off, then the connection is aborted so that nobody takes a part for the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from sptls.interfaces import IDownstream
from sptls.proxy.body import LAST_CHUNK, Chunked, UntilClose, chunk, last_chunk, response_body
from sptls.proxy.exchange_log import CLIENT_LEFT, note
from sptls.proxy.headers import client_framing, error_page, for_client, own_response
from sptls.proxy.trailers import passed_on

if TYPE_CHECKING:
    from sptls.errors import UpstreamError
    from sptls.interfaces import IUpstreamExchange
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead, ResponseHead
    from sptls.proxy.http1 import Http1
    from sptls.proxy.route import Answer, Redirect, Site


@implementer(IDownstream)
class Http1Exchange:
    """
    One exchange; *request* is None when the head could not be read, *request_line* is what is known of it.
    """

    __slots__ = (
        "_began_seconds",
        "_body_bytes",
        "_chunked",
        "_connection",
        "_hsts",
        "_keep_alive",
        "_last_chunk",
        "_options",
        "_out",
        "_request",
        "_request_line",
        "_started",
        "_status",
        "upstream",
    )

    def __init__(self, connection: Http1, request: RequestHead | None, request_line: bytes) -> None:
        self._connection, self._request, self._request_line = connection, request, request_line
        self._began_seconds = connection.gateway.seconds()
        self.upstream: IUpstreamExchange | None = None
        # *out* is what is ready to be written; *started* whether anything of the answer was.
        self._out, self._started = b"", False
        self._status, self._body_bytes = 0, 0
        self._keep_alive = self._chunked = False
        self._hsts: bytes | None = None
        # The answer's connection options, and what its chunks end with.
        self._options: tuple[bytes, ...] = ()
        self._last_chunk = LAST_CHUNK

    # -- the connection's side

    def answers_for(self, site: Site) -> None:
        """
        Take note that all answers from now on are *site*'s, our own too.
        """
        self._hsts = self._connection.hsts_for(self._known_request(), site)

    def forward(self, site: Site) -> None:
        """
        Pass the request's head on to *site*'s upstream.
        """
        connection, request = self._connection, self._known_request()
        head_bytes, self._hsts = connection.passed_on(request, site)
        upstream = connection.gateway.upstreams.exchange(site, head_bytes, request, self)
        if connection.exchange is self:
            self.upstream = upstream

    def answer(self, answer: Answer) -> None:
        """
        Answer ourselves.
        """
        request = self._known_request()
        keep_alive = self._keep_alive = self._connection.may_stay(request)
        page = own_response(
            answer.status,
            answer.content_type,
            answer.content,
            request.method,
            keep_alive=keep_alive,
            version=request.version,
            date=self._connection.gateway.date(),
        )
        self._send_page(answer.status, page)

    def redirect(self, redirect: Redirect) -> None:
        """
        Send the client elsewhere.
        """
        request = self._known_request()
        keep_alive = self._keep_alive = self._connection.may_stay(request)
        page = error_page(
            redirect.status,
            request.method,
            keep_alive=keep_alive,
            version=request.version,
            date=self._connection.gateway.date(),
            location=redirect.location,
        )
        self._send_page(redirect.status, page)

    def refuse(self, status: int) -> None:
        """
        End the exchange with an error page; if an answer has begun already, with the connection.
        """
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        if self._started:
            self._break_off()
            return
        request = self._request
        keep_alive = self._keep_alive = self._connection.may_stay(request)
        self._connection.gateway.counters.error_pages += 1
        page = error_page(
            status,
            request.method if request is not None else b"GET",
            keep_alive=keep_alive,
            version=request.version if request is not None else b"1.1",
            date=self._connection.gateway.date(),
            hsts=self._hsts,
        )
        self._send_page(status, page)

    def client_left(self) -> None:
        """
        Stop: the client is gone.
        """
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.abandon()
        self._connection.gateway.counters.client_left += 1
        if not self._started:
            self._status = CLIENT_LEFT
        self._log()

    # -- IDownstream

    @property
    def seconds_left(self) -> float:
        """
        Tell how long the client takes for what is held for it.
        """
        connection = self._connection
        return connection.gateway.held.seconds_left(connection)

    def response_head(self, head: ResponseHead) -> None:
        """
        Prepare the answer's head; it is written with the first content.
        """
        request = self._known_request()
        body = response_body(head, request.method)
        framing = client_framing(request, body)
        self._chunked = type(framing) is Chunked
        keep_alive = self._keep_alive = type(framing) is not UntilClose and self._connection.may_stay(request)
        self._status, self._options = head.status, head.connection_options
        self._out = for_client(head, request, body, keep_alive, self._hsts)

    def response_data(self, data: bytes) -> None:
        """
        Add to what is ready to be written.
        """
        piece = chunk(data) if self._chunked else data
        self._body_bytes += len(piece)
        self._out += piece

    def response_flush(self) -> None:
        """
        Write what is ready.
        """
        out, self._out = self._out, b""
        if out:
            self._started = True
            self._connection.transport.write(out)

    def response_trailers(self, fields: Fields) -> None:
        """
        Prepare the end of the chunks, where there are any.
        """
        self._last_chunk = last_chunk(passed_on(fields, self._options))

    def response_end(self) -> None:
        """
        Write the rest, and let the connection go on.
        """
        if self._chunked:
            self._body_bytes += len(self._last_chunk)
            self._out += self._last_chunk
        if not self._keep_alive:
            self._connection.last_write_comes()
        self.response_flush()
        self.upstream = None
        self._log()
        self._connection.exchange_ended(self._keep_alive)

    def response_failed(self, error: UpstreamError) -> None:
        """
        Answer with the error's status, or break off.
        """
        if self._connection.exchange is self:
            self.upstream, self._out, self._body_bytes = None, b"", 0 if not self._started else self._body_bytes
            self._connection.gateway.counters.upstream_errors += 1
            self.refuse(error.status)

    def pause_request(self) -> None:
        """
        Read no more content from the client.
        """
        self._connection.pause_content()

    def resume_request(self) -> None:
        """
        Read on.
        """
        self._connection.resume_content()

    # -- ends

    def _known_request(self) -> RequestHead:
        if self._request is None:
            raise AssertionError("an exchange without a head is only ever refused")
        return self._request

    def _send_page(self, status: int, page: bytes) -> None:
        self._status = status
        self._body_bytes = len(page) - page.find(b"\r\n\r\n") - 4
        self._connection.transport.write(page)
        self._log()
        self._connection.exchange_ended(self._keep_alive)

    def _break_off(self) -> None:
        self._connection.exchange = None
        self._connection.abort()
        self._log()

    def _log(self) -> None:
        note(self._connection, self._request, self._request_line, self._status, self._body_bytes, self._began_seconds)
