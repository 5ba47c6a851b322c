"""
An upstream's answer: head, content and end are the same however it is cut.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import cut
from sptls.errors import UpstreamError
from sptls.proxy.head import ResponseHead
from sptls.proxy.response_reader import ResponseReader

Read = tuple[ResponseHead | None, bytes, bool]

SEEDS: Final = (
    b"\x04HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK",
    b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"\x09HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"\x20HTTP/1.1 204 No Content\r\n\r\nx",
    b"\xffHTTP/1.1 302 Found\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
)


def check(data: bytes) -> None:
    """
    See that an answer that is read in pieces is the answer that is read at once.
    """
    whole, pieces = cut(data)
    for method in (b"GET", b"HEAD"):
        assert _read([whole], method) == _read(pieces, method)


def _read(pieces: list[bytes], method: bytes) -> Read | int:
    """
    Give what was read, or the status of what was refused.
    """
    reader, content = ResponseReader(method, 1024), b""
    try:
        for piece in pieces:
            rest: bytes | None = piece
            if reader.head is None:
                rest = reader.read_head(piece)
            if rest is not None:
                content += reader.read_content(rest)
            if reader.finished:
                break
    except UpstreamError as error:
        return error.status
    return reader.head, content, reader.finished
