"""
HTTP/2's frames (RFC 9113 §4, §6): their numbers, and what we say as bytes. Reading them is `http2_reader`'s.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

# RFC 9113 §4.2: the size that every peer must take, and the only one we take and send: no stream holds others up.
MAX_FRAME_BYTES: Final = 16384
MAX_STREAM_ID: Final = 2**31 - 1
MAX_WINDOW_BYTES: Final = 2**31 - 1
DEFAULT_WINDOW_BYTES: Final = 65535

# Length (high two octets, low one), kind, flags, stream.
HEADER: Final = struct.Struct(">HBBBI")
LONG: Final = struct.Struct(">I")
SETTING: Final = struct.Struct(">HI")
_header: Final = HEADER.pack


class Kind(enum.IntEnum):
    """
    RFC 9113 §6.
    """

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


# Said in every answer: a global is looked up at a tenth of the price of an enum's member.
_DATA: Final = int(Kind.DATA)
_HEADERS: Final = int(Kind.HEADERS)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20


class ErrorCode(enum.IntEnum):
    """
    RFC 9113 §7, as far as we say them.
    """

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class Setting(enum.IntEnum):
    """
    RFC 9113 §6.5.2 and RFC 9218 §2.1.
    """

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    NO_RFC7540_PRIORITIES = 0x9


class Http2Error(Exception):
    """
    The client broke the protocol, and nothing more can be read from it (RFC 9113 §5.4.1); *reason* is a fixed sentence.
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _header(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def headers(stream_id: int, block: bytes, *, ends: bool) -> bytes:
    """
    Give a header block in as many frames as it takes.
    """
    end_stream = END_STREAM if ends else 0
    size = len(block)
    if size <= MAX_FRAME_BYTES:
        return _header(size >> 8, size & 0xFF, _HEADERS, END_HEADERS | end_stream, stream_id) + block
    pieces = [block[at : at + MAX_FRAME_BYTES] for at in range(0, len(block), MAX_FRAME_BYTES)]
    first, *middle, last = pieces
    return b"".join(
        (
            _frame(_HEADERS, end_stream, stream_id, first),
            *(_frame(Kind.CONTINUATION, 0, stream_id, piece) for piece in middle),
            _frame(Kind.CONTINUATION, END_HEADERS, stream_id, last),
        )
    )


def data(stream_id: int, content: bytes, *, ends: bool) -> bytes:
    """
    Give content, of at most `MAX_FRAME_BYTES`.
    """
    size = len(content)
    return _header(size >> 8, size & 0xFF, _DATA, END_STREAM if ends else 0, stream_id) + content


def reset(stream_id: int, code: ErrorCode) -> bytes:
    """
    Give the end of a stream.
    """
    return _frame(Kind.RST_STREAM, 0, stream_id, LONG.pack(code))


def settings(values: tuple[tuple[Setting, int], ...]) -> bytes:
    """
    Give our settings.
    """
    return _frame(Kind.SETTINGS, 0, 0, b"".join(SETTING.pack(name, value) for name, value in values))


def ping(payload: bytes, *, ack: bool) -> bytes:
    """
    Give a question of 8 bytes, or the answer to the client's.
    """
    return _frame(Kind.PING, ACK if ack else 0, 0, payload)


def go_away(last_stream_id: int, code: ErrorCode) -> bytes:
    """
    Give the announcement that streams over *last_stream_id* are not served.
    """
    return _frame(Kind.GOAWAY, 0, 0, LONG.pack(last_stream_id) + LONG.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """
    Give the leave to send *increment* bytes more, on the connection where *stream_id* is 0.
    """
    return _frame(Kind.WINDOW_UPDATE, 0, stream_id, LONG.pack(increment))


SETTINGS_ACK: Final = _frame(Kind.SETTINGS, ACK, 0, b"")
