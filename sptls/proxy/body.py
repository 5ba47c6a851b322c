"""
HTTP/1 bodies: how long one is, and the chunked coding (RFC 9112 §6, §7).

Strict: whatever could be read in two ways breaks the connection. Chunk extensions are read and dropped; what becomes of
trailers is `trailers`' to say.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final

import attrs

from sptls.errors import MalformedBody
from sptls.proxy.head import MAX_FIELDS

if TYPE_CHECKING:
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import RequestHead, ResponseHead

LAST_CHUNK: Final = b"0\r\n\r\n"

# 15 hexadecimal digits stay under 2**63, leading zeros included.
_MAX_SIZE_DIGITS = 15
# One chunk-size line with its extensions, or one trailer; nobody uses either beyond a signature's length.
_MAX_LINE_BYTES = 4096
# All extensions and trailers of one body: content of one byte in every chunk must not carry kilobytes unseen.
MAX_TRAILER_BYTES: Final = 16384
# White space behind the size isn't in RFC 9112, but in the answers of servers that leave room for it.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?" % _MAX_SIZE_DIGITS)
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00\x0a-\x0d]*)")


@attrs.frozen
class NoBody:
    """
    The message ends with its head.
    """


@attrs.frozen
class Length:
    """
    Exactly *length_bytes* follow the head; may be 0.
    """

    length_bytes: int


@attrs.frozen
class Chunked:
    """
    Chunks follow, until the last one.
    """


@attrs.frozen
class UntilClose:
    """
    Everything until the connection's end follows (responses only).
    """


RequestBody = NoBody | Length | Chunked
ResponseBody = NoBody | Length | Chunked | UntilClose

NO_BODY: Final = NoBody()
CHUNKED: Final = Chunked()
UNTIL_CLOSE: Final = UntilClose()


def request_body(head: RequestHead) -> RequestBody:
    """
    Tell what follows a request's *head* (RFC 9112 §6.3); Content-Length: 0 is a `Length` too.
    """
    if head.chunked:
        return CHUNKED
    return NO_BODY if head.content_length is None else Length(head.content_length)


def response_body(head: ResponseHead, request_method: bytes) -> ResponseBody:
    """
    Tell what follows a response's *head* (RFC 9112 §6.3).
    """
    status = head.status
    if request_method == b"HEAD" or status in {204, 304} or status < 200:
        return NO_BODY
    if head.chunked:
        return CHUNKED
    return UNTIL_CLOSE if head.content_length is None else Length(head.content_length)


def chunk(content: bytes) -> bytes:
    """
    Give *content* as one chunk; nothing for empty content (an empty chunk would be the last one; see `LAST_CHUNK`).
    """
    return b"%x\r\n%b\r\n" % (len(content), content) if content else b""


def last_chunk(trailers: Fields) -> bytes:
    """
    Give the end of the chunks, with *trailers*.
    """
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])


class _Part(enum.Enum):
    """
    What the decoder reads next.
    """

    SIZE = enum.auto()
    CONTENT = enum.auto()
    CONTENT_END = enum.auto()
    TRAILERS = enum.auto()


class ChunkedDecoder:
    """
    Takes the chunked coding off a stream, however it is cut into pieces.

    *finished* becomes true with the last chunk and its *trailers*; *leftover* then has the bytes after them.
    """

    __slots__ = ("_beside_bytes", "_due_bytes", "_part", "_unread", "finished", "leftover", "trailers")

    def __init__(self) -> None:
        self.finished = False
        self.leftover = b""
        self.trailers: Fields = []
        self._part = _Part.SIZE
        self._due_bytes = 0
        # What came beside the content and its framing.
        self._beside_bytes = 0
        # The start of a line whose end hasn't come.
        self._unread = b""

    def feed(self, data: bytes) -> bytes:
        """
        Give the content that *data* completes; after the end, *data* is added to *leftover*.

        Raises:
            MalformedBody: the coding is broken; nothing more can be read from this connection.
        """
        data = self._unread + data
        view = memoryview(data)
        content: list[memoryview] = []
        at = 0
        while not self.finished:
            if self._part is _Part.CONTENT:
                piece = view[at : at + self._due_bytes]
                content.append(piece)
                at += len(piece)
                self._due_bytes -= len(piece)
                if self._due_bytes:
                    break
                self._part = _Part.CONTENT_END
            end = data.find(b"\r\n", at, at + _MAX_LINE_BYTES)
            if end < 0:
                self._check_unfinished(data[at:])
                break
            self._take_line(data[at:end])
            at = end + 2
        self._keep(data[at:])
        return b"".join(content)

    def _keep(self, rest: bytes) -> None:
        if self.finished:
            self.leftover += rest
            self._unread = b""
        else:
            self._unread = rest

    def _check_unfinished(self, line: bytes) -> None:
        """
        Refuse the start of a line that has no good end.
        """
        if len(line) >= _MAX_LINE_BYTES or b"\n" in line:
            raise MalformedBody("a chunk's line is too long, or ends with a bare LF")
        if self._part is _Part.CONTENT_END and line not in b"\r":
            raise MalformedBody("a chunk is longer than its size says")

    def _take_line(self, line: bytes) -> None:
        if self._part is _Part.SIZE:
            self._take_size(line)
        elif self._part is _Part.CONTENT_END:
            if line:
                raise MalformedBody("a chunk is longer than its size says")
            self._part = _Part.SIZE
        elif not line:
            self.finished = True
        else:
            self._take_trailer(line)

    def _take_trailer(self, line: bytes) -> None:
        match = _TRAILER.fullmatch(line)
        if match is None:
            raise MalformedBody("a trailer is no field")
        self._count(len(line))
        self.trailers.append((match[1], match[2].strip()))
        if len(self.trailers) > MAX_FIELDS:
            raise MalformedBody("too many trailers")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise MalformedBody("a chunk has no size")
        self._count(len(line) - match.end(1))
        self._due_bytes = int(match[1], 16)
        self._part = _Part.CONTENT if self._due_bytes else _Part.TRAILERS

    def _count(self, length_bytes: int) -> None:
        self._beside_bytes += length_bytes
        if self._beside_bytes > MAX_TRAILER_BYTES:
            raise MalformedBody("too much in chunk extensions and trailers")
