"""
HTTP/2's frames: the same events, and the same error at the end, however they are cut.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import cut
from sptls.proxy.http2_frames import Http2Error
from sptls.proxy.http2_reader import PREFACE, FrameReader
from tests.proxy import http2_client as wire

_BEGIN: Final = PREFACE + wire.settings()

SEEDS: Final = (
    b"\x08" + wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, b"\x82\x86\x84") + wire.reset(1),
    b"\x00" + wire.frame(wire.HEADERS, 0, 1, b"\x82") + wire.frame(wire.CONTINUATION, wire.END_HEADERS, 1, b"\x86"),
    b"\x40" + wire.data(1, b"hello", ends=True) + wire.window_update(0, 5) + wire.settings(_4=65535, _3=1),
    b"\x09" + wire.frame(wire.DATA, wire.PADDED, 1, b"\x02hi\0\0") + wire.frame(wire.PING, 0, 0, b"12345678"),
    b"\x10" + wire.frame(wire.PRIORITY, 0, 3, b"\0\0\0\1\x10") + wire.frame(wire.GOAWAY, 0, 0, b"\0" * 8),
    b"\x20" + wire.frame(wire.HEADERS, 0x2D, 5, b"\x01\0\0\0\1\x10\x82\0") + wire.frame(0x21, 0, 0, b"x"),
)


def check(data: bytes) -> None:
    """
    See that frames are read alike in pieces and at once.
    """
    whole, pieces = cut(data)
    assert _events([_BEGIN + whole]) == _events([_BEGIN, *pieces])
    _events(pieces)


def _events(pieces: list[bytes]) -> list[object]:
    reader, events = FrameReader(1024), list[object]()
    try:
        for piece in pieces:
            events.extend(reader.feed(piece))
    except Http2Error as error:
        events.append(error.code)
    return events
