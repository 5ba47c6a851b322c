"""
Reading one answer off an upstream's connection: interim heads, the final head, the content without its framing.

Decides where the answer ends and whether anything is wrong with it (RFC 9112 §6.3, RFC 9110 §15.2). Interim answers end
here: the client's 100 was ours to give, and nobody waits for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.errors import MalformedBody, UpstreamError
from sptls.proxy.body import NO_BODY, Chunked, ChunkedDecoder, Length, NoBody, UntilClose, response_body
from sptls.proxy.head import Malformed, ResponseHead, parse_response

if TYPE_CHECKING:
    from sptls.proxy.body import ResponseBody
    from sptls.proxy.fields import Fields

# 100, 102 and 103 come once or twice; a stream of them is not an answer.
_MAX_INTERIM: Final = 16


class ResponseReader:
    """
    The state of reading the answer to one request with *method*, whose head has at most *head_bytes*.

    *silent*: no byte came yet. *surplus*: bytes came after the end, which nobody asked for.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_framing",
        "_head_bytes",
        "_interim",
        "_left_bytes",
        "_method",
        "finished",
        "head",
        "silent",
        "surplus",
    )

    def __init__(self, method: bytes, head_bytes: int) -> None:
        self._method, self._head_bytes = method, head_bytes
        self.head: ResponseHead | None = None
        self.silent, self.finished, self.surplus = True, False, False
        self._framing: ResponseBody = NO_BODY
        self._buffer: bytes | bytearray = b""
        self._decoder: ChunkedDecoder | None = None
        self._interim = self._left_bytes = 0

    def read_head(self, data: bytes) -> bytes | None:
        """
        Find the final head, and give what came after it; None while it isn't all there.

        Raises:
            UpstreamError: this is no answer; 502.
        """
        self.silent = False
        received: bytes | bytearray = data
        if self._buffer:
            received = bytearray(self._buffer)
            received += data
        while self._interim <= _MAX_INTERIM:
            head = parse_response(received, self._head_bytes)
            if isinstance(head, Malformed):
                raise UpstreamError(502, head.reason)
            if not isinstance(head, ResponseHead):
                self._buffer = received
                return None
            received = received[head.size :]
            if head.status >= 200:
                self._begin(head)
                return bytes(received)
            self._interim += 1
        raise UpstreamError(502, "too many interim answers")

    def read_content(self, data: bytes) -> bytes:
        """
        Give the content in *data*, framing removed.

        Raises:
            UpstreamError: the framing is broken; 502.
        """
        framing = type(self._framing)
        if framing is Length:
            left_bytes = self._left_bytes = self._left_bytes - len(data)
            self.finished, self.surplus = left_bytes <= 0, left_bytes < 0
            return data[:left_bytes] if left_bytes < 0 else data
        if framing is NoBody:
            self.finished, self.surplus = True, bool(data)
            return b""
        if self._decoder is None:
            return data
        try:
            content = self._decoder.feed(data)
        except MalformedBody:
            raise UpstreamError(502, "the answer's content is malformed") from None
        self.finished, self.surplus = self._decoder.finished, bool(self._decoder.leftover)
        return content

    @property
    def may_end_with_connection(self) -> bool:
        """
        Tell whether a connection that is closed in good order now ends the answer, instead of breaking it off.
        """
        return self.head is not None and type(self._framing) is UntilClose

    @property
    def trailers(self) -> Fields:
        """
        Give the fields behind the content, as they came.
        """
        return [] if self._decoder is None else self._decoder.trailers

    @property
    def is_redirect(self) -> bool:
        """
        Tell whether the answer is a redirect, which says all that matters in its head.
        """
        return self.head is not None and 300 <= self.head.status < 400

    def _begin(self, head: ResponseHead) -> None:
        self.head, self._buffer = head, b""
        framing = self._framing = response_body(head, self._method)
        if type(framing) is Length:
            self._left_bytes = framing.length_bytes
        elif type(framing) is Chunked:
            self._decoder = ChunkedDecoder()
