"""
A request's content on its way through: where it ends, and whether it gets too large (RFC 9112 §6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sptls.errors import MalformedBody
from sptls.proxy.body import ChunkedDecoder

if TYPE_CHECKING:
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead


@attrs.frozen
class Broken:
    """
    The content is refused with *status*, and the connection can't be used any further.
    """

    status: int


class RequestContent:
    """
    The content that *head* announces; at most *limit_bytes* of it, 0 for no limit. *complete* is true from its end on.
    """

    __slots__ = ("_decoder", "_left_bytes", "_limit_bytes", "_taken_bytes", "complete", "rest")

    def __init__(self, head: RequestHead, limit_bytes: int) -> None:
        self._limit_bytes, self._taken_bytes = limit_bytes, 0
        self._decoder = ChunkedDecoder() if head.chunked else None
        self._left_bytes = head.content_length or 0
        self.complete = self._decoder is None and self._left_bytes == 0
        # What came after the end: the next request's.
        self.rest = b""

    @property
    def trailers(self) -> Fields:
        """
        Give the fields behind the content, as they came.
        """
        return [] if self._decoder is None else self._decoder.trailers

    def feed(self, data: bytes) -> bytes | Broken:
        """
        Give the content in *data*, any chunked coding taken off.
        """
        decoder = self._decoder
        if decoder is None:
            # The head's Content-Length was held against the limit already.
            content, self.rest = data[: self._left_bytes], data[self._left_bytes :]
            self._left_bytes -= len(content)
            self.complete = self._left_bytes == 0
            return content
        try:
            content = decoder.feed(data)
        except MalformedBody:
            return Broken(400)
        self._taken_bytes += len(content)
        if 0 < self._limit_bytes < self._taken_bytes:
            return Broken(413)
        self.complete, self.rest = decoder.finished, decoder.leftover
        return content
