"""
The upstream's side of one exchange: a request until its answer is complete, or given up.

It may wait for a connection (its content is held back meanwhile), and move to a second one when the first was dead.
Which connection it gets is `upstream_origin`'s to decide; what happens on it, `upstream_http1`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from sptls.errors import UpstreamError
from sptls.interfaces import IUpstreamExchange
from sptls.proxy.body import LAST_CHUNK, chunk, last_chunk
from sptls.proxy.trailers import passed_on

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from sptls.interfaces import IDownstream
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead
    from sptls.proxy.upstream_http1 import UpstreamConnection
    from sptls.proxy.upstream_origin import Origin

# Safe methods (RFC 9110 §9.2.1): repeating one changes nothing. PUT and DELETE may be repeated by the letter, but a
# second DELETE of something that came back in between is nobody's wish.
_REPEATABLE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
# Content up to so much is there as a whole before a connection is looked for, as with nginx (client_body_buffer_size):
# clients that send a byte now and then would take all connections to an upstream. Forms and unsubscribes are smaller.
GATHERED_BYTES: Final = 16384
# What is kept of it while there is no connection yet: one read or two.
_HELD_BYTES: Final = 65536


@implementer(IUpstreamExchange)
class UpstreamExchange:
    """
    One request on its way. Without content it is complete from the start; `send_end` may be left out then.

    *begun*: a connection was asked for; with content it is, here, once there is enough of it.
    """

    __slots__ = (
        "_chunked",
        "_held",
        "_held_up",
        "_last_chunk",
        "_origin",
        "begun",
        "connection",
        "dial",
        "done",
        "downstream",
        "ended",
        "held_bytes",
        "reads_little",
        "repeatable",
        "request",
        "response_paused",
        "retried",
    )

    def __init__(self, origin: Origin, head_bytes: bytes, request: RequestHead, downstream: IDownstream) -> None:
        self._origin, self.request, self.downstream = origin, request, downstream
        self._chunked, self._last_chunk = request.chunked, LAST_CHUNK
        # *ended*: the request is complete; *done*: nothing more is called on *downstream*.
        self.ended = not (request.chunked or request.content_length)
        self.begun = self.done = self.retried = self.response_paused = self.reads_little = False
        self.repeatable = self.ended and request.method in _REPEATABLE
        self.connection: UpstreamConnection | None = None
        self.dial: Deferred[None] | None = None
        # The request's bytes that no connection has taken yet; the head stays first, for a second connection.
        self._held, self.held_bytes, self._held_up = [head_bytes], 0, False

    # -- IUpstreamExchange

    def send_data(self, data: bytes) -> None:
        """
        Send a piece of content; it is dropped when the answer was complete without it.
        """
        if not self.done and not self.ended:
            self._send(chunk(data) if self._chunked else data)
            if not self.begun and self.held_bytes > GATHERED_BYTES:
                self.begin()
            if self.connection is None and self.held_bytes > _HELD_BYTES and not (self._held_up or self.done):
                self._held_up = True
                self.downstream.pause_request()

    def send_trailers(self, fields: Fields) -> None:
        """
        Let the content end with *fields*, if it goes in chunks; where it has a length, there is no place for them.
        """
        self._last_chunk = last_chunk(passed_on(fields, self.request.connection_options))

    def send_end(self) -> None:
        """
        Complete the request.
        """
        if not self.done and not self.ended:
            self.ended = True
            if self._chunked:
                self._send(self._last_chunk)
            if self.connection is not None:
                self.connection.request_ended()
            elif not self.begun:
                self.begin()

    def pause_response(self) -> None:
        """
        Read no more of the answer.
        """
        if not self.done and not self.response_paused:
            self.response_paused = True
            if self.connection is not None:
                self.connection.pause_response()

    def resume_response(self) -> None:
        """
        Read on.
        """
        if not self.done and self.response_paused:
            self.response_paused = False
            if self.connection is not None:
                self.connection.resume_response()

    def read_little(self, little: bool) -> None:
        """
        Read a little of the answer at a time, or as usual again.
        """
        self.reads_little = little
        if self.connection is not None:
            self.connection.read_little(little)

    def abandon(self) -> None:
        """
        Give up; the connection in use can't be used again, as the rest of the answer would come on it.
        """
        if not self.done:
            self.done = True
            if self.connection is not None:
                self.connection.drop()
            else:
                self._origin.forget(self)

    # -- the connection's and the origin's side

    def begin(self) -> None:
        """
        Ask for a connection.
        """
        self.begun = True
        self._origin.begin(self)

    def opening(self) -> bytes:
        """
        Give what a connection must be sent first.
        """
        return self._held[0] if len(self._held) == 1 else b"".join(self._held)

    def taken(self, connection: UpstreamConnection) -> None:
        """
        Take note that *connection* was sent the `opening`.
        """
        del self._held[1:]
        self.held_bytes = 0
        if self._held_up:
            self._held_up = False
            if not connection.request_paused:
                self.downstream.resume_request()

    def fail(self, error: UpstreamError) -> None:
        """
        Tell the client's side that no answer will come.
        """
        if not self.done:
            self.done = True
            self.downstream.response_failed(error)

    def deadline_passed(self) -> None:
        """
        Give up waiting for a connection to be free.
        """
        self._origin.forget(self)
        self.fail(UpstreamError(503, "the upstream has no connection free"))

    def _send(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.transport.write(data)
        else:
            self._held.append(data)
            self.held_bytes += len(data)
