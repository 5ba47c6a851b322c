"""
The chunked coding: content, end and what is left over are the same however it is cut.
"""

from __future__ import annotations

from typing import Final

from fuzz.oracle import check_chunks
from fuzz.pieces import cut
from sptls.errors import MalformedBody
from sptls.proxy.body import LAST_CHUNK, ChunkedDecoder, chunk

SEEDS: Final = (
    b"\x00" + chunk(b"hello") + LAST_CHUNK + b"GET /",
    b'\x035;a="b"\r\nhello\r\n00A \r\n0123456789\r\n0\r\nSig: x\r\nA:\r\n\r\n',
    b"\x01-1\r\n",
    b"\xff5\nhello\n",
)


def check(data: bytes) -> None:
    """
    See that chunks are read alike in pieces, at once, and by h11, and that *data* itself survives the coding.
    """
    whole, pieces = cut(data)
    decoded = _decoded([whole])
    assert decoded == _decoded(pieces)
    if decoded is not None:
        content, finished, leftover = decoded
        check_chunks(content, whole[: len(whole) - len(leftover)], finished=finished)
    encoded = b"".join([*map(chunk, pieces), LAST_CHUNK])
    assert (whole, True, b"") == _decoded([encoded])


def _decoded(pieces: list[bytes]) -> tuple[bytes, bool, bytes] | None:
    decoder = ChunkedDecoder()
    try:
        content = b"".join([decoder.feed(piece) for piece in pieces])
    except MalformedBody:
        return None
    return content, decoder.finished, decoder.leftover
