"""
HPACK: a block is decoded or refused as documented; the encoder's blocks give the same fields.
"""

from __future__ import annotations

from typing import Final

from jh2.hpack.hpack import Encoder

from sptls.proxy.http2_frames import Http2Error
from sptls.proxy.http2_hpack import FieldDecoder, FieldEncoder

_FIELDS: Final = [(b":method", b"GET"), (b":path", b"/f/a"), (b"cookie", b"a=b"), (b"x", b"")]
_LIST_BYTES: Final = 65536

SEEDS: Final = (
    Encoder().encode(_FIELDS),
    Encoder().encode(_FIELDS, huffman=False),
    b"\x3f\xe1\x1f\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x20\x40\x01a\x01b\xbe\xbe\x00\x01c\x01d\x10\x01e\x01f\x0f\x2f\x01g",
    b"\x7f\xff\xff\xff\xff\x7f",
)


def check(data: bytes) -> None:
    """
    See that *data* is refused as documented, or that its fields survive being encoded again.
    """
    decoder = FieldDecoder(_LIST_BYTES)
    try:
        fields = decoder.decode(data)
        decoder.decode(data)
    except Http2Error:
        return
    assert sum(len(name) + len(value) for name, value in fields) <= _LIST_BYTES
    assert fields == FieldDecoder(2 * _LIST_BYTES).decode(FieldEncoder().encode(fields))
