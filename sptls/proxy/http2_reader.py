"""
HTTP/2 frames (RFC 9113 §4, §6): bytes to what a client said.

Decides whether a frame is well made and may come where it comes; what it does to a stream is `http2`'s. A header
block is put together from its frames here, within bounds (CVE-2024-27316). Priorities, extensions and unknown frames
are read and said to be `Noise` (RFC 9113 §5.3.2, §5.5); a client can't push.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from sptls.proxy.http2_frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADER,
    LONG,
    MAX_FRAME_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_BYTES,
    PADDED,
    PRIORITY,
    SETTING,
    ErrorCode,
    Http2Error,
    Kind,
    Setting,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# CONTINUATION frames in one block. Clients fill each to 16 KiB; small ones are only ever sent to wear servers out.
_MAX_CONTINUATIONS: Final = 16
_PRIORITY_BYTES: Final = 5
# Up to ten settings are remembered: each client software always sends the same.
_USUAL_SETTINGS_BYTES: Final = 60
# The least that GOAWAY has: the last stream and the code.
_GOAWAY_BYTES: Final = 8


class Headers(NamedTuple):
    """
    A whole header block; *ends* the client's side of the stream or not.
    """

    stream_id: int
    block: bytes
    ends: bool


class Data(NamedTuple):
    """
    Content; *flow_bytes* is what it takes from the windows, padding included.
    """

    stream_id: int
    content: bytes
    flow_bytes: int
    ends: bool


class Reset(NamedTuple):
    """
    The client wants no more of the stream.
    """

    stream_id: int


class Settings(NamedTuple):
    """
    The client's settings in their order; unknown ones are in it.
    """

    values: tuple[tuple[int, int], ...]


class Ping(NamedTuple):
    """
    A question, or with *ack* the answer to ours.
    """

    payload: bytes
    ack: bool


class GoAway(NamedTuple):
    """
    The client opens no more streams.
    """


class WindowUpdate(NamedTuple):
    """
    The client takes *increment* bytes more, on the connection where *stream_id* is 0.
    """

    stream_id: int
    increment: int


class Noise(NamedTuple):
    """
    A frame that changes nothing.
    """


Event = Headers | Data | Reset | Settings | Ping | GoAway | WindowUpdate | Noise

_NOISE: Final = Noise()
# Asked for every frame: a global is looked up faster than a member of an enum, or of a C library's object.
_HEADERS: Final = int(Kind.HEADERS)
_HEADER_BYTES: Final = HEADER.size
_read_header: Final = HEADER.unpack_from


class FrameReader:
    """
    The client's side of a connection, however it is cut into pieces; header blocks have at most *block_bytes*.

    *rest* is what came of a frame, *block* of a header block, that isn't complete.
    """

    __slots__ = ("_block_bytes", "_ends", "_preface", "_settled", "_stream_id", "block", "rest")

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self.rest = b""
        self._preface, self._settled = PREFACE, False
        # The frames of a header block that isn't complete; None outside of one.
        self.block: list[bytes] | None = None
        self._stream_id, self._ends = 0, False

    @property
    def held_bytes(self) -> int:
        """
        Tell how much came of a frame, and of a header block, that isn't complete.
        """
        return len(self.rest) + sum(map(len, self.block or ()))

    def feed(self, data: bytes) -> Iterator[Event]:
        """
        Give what *data* completes, one by one; all of it must be asked for, unless the connection is given up.

        Raises:
            Http2Error: a frame is broken or out of place; what came before it was given.
        """
        buffer = self.rest + data if self.rest else data
        at = self._skip_preface(buffer) if self._preface else 0
        end = len(buffer)
        while end - at >= _HEADER_BYTES:
            high, low, kind, flags, stream_id = _read_header(buffer, at)
            size = high << 8 | low
            if size > MAX_FRAME_BYTES:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame is too large")
            start = at + _HEADER_BYTES
            stop = start + size
            if stop > end:
                break
            event = self._event(kind, flags, stream_id & MAX_STREAM_ID, buffer[start:stop])
            at = stop
            if event is not None:
                yield event
        self.rest = buffer[at:]

    def _skip_preface(self, buffer: bytes) -> int:
        part = buffer[: len(self._preface)]
        if not self._preface.startswith(part):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the connection doesn't begin with the preface")
        self._preface = self._preface[len(part) :]
        return len(part)

    def _event(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Event | None:
        if self.block is not None:
            return self._continue(self.block, kind, flags, stream_id, payload)
        if not self._settled:
            if kind != Kind.SETTINGS or flags & ACK:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame isn't SETTINGS")
            self._settled = True
        if kind == _HEADERS:
            return self._begin_block(flags, stream_id, payload)
        read = _READERS.get(kind)
        return _NOISE if read is None else read(flags, stream_id, payload)

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> Event | None:
        _check_stream(stream_id)
        block = _unpadded(flags, payload) if flags & PADDED else payload
        if flags & PRIORITY:
            if len(block) < _PRIORITY_BYTES:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame is too short for its priority")
            block = block[_PRIORITY_BYTES:]
        ends = bool(flags & END_STREAM)
        if flags & END_HEADERS:
            return Headers(stream_id, block, ends)
        self.block, self._stream_id, self._ends = [block], stream_id, ends
        return None

    def _continue(self, block: list[bytes], kind: int, flags: int, stream_id: int, payload: bytes) -> Event | None:
        if kind != Kind.CONTINUATION or stream_id != self._stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a header block is interrupted")
        block.append(payload)
        if len(block) > _MAX_CONTINUATIONS + 1 or sum(map(len, block)) > self._block_bytes:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large")
        if not flags & END_HEADERS:
            return None
        self.block = None
        return Headers(stream_id, b"".join(block), self._ends)


def _read_data(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_stream(stream_id)
    return Data(stream_id, _unpadded(flags, payload), len(payload), bool(flags & END_STREAM))


def _read_priority(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_stream(stream_id)
    _check_size(payload, _PRIORITY_BYTES)
    return _NOISE


def _read_reset(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_stream(stream_id)
    _check_size(payload, LONG.size)
    return Reset(stream_id)


def _read_settings(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_no_stream(stream_id)
    if flags & ACK:
        _check_size(payload, 0)
        return _NOISE
    return _settings(payload) if len(payload) > _USUAL_SETTINGS_BYTES else _usual_settings(payload)


def _settings(payload: bytes) -> Settings:
    if len(payload) % SETTING.size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame has a setting in part")
    values = tuple(SETTING.iter_unpack(payload))
    for name, value in values:
        _check_setting(name, value)
    return Settings(values)


_usual_settings: Final = lru_cache(maxsize=64)(_settings)


def _refuse_push(flags: int, stream_id: int, payload: bytes) -> Event:
    raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a client can't push")


def _read_ping(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_no_stream(stream_id)
    _check_size(payload, 8)
    return Ping(payload, bool(flags & ACK))


def _read_go_away(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_no_stream(stream_id)
    if len(payload) < _GOAWAY_BYTES:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY frame is too short")
    return GoAway()


def _read_window_update(flags: int, stream_id: int, payload: bytes) -> Event:
    _check_size(payload, LONG.size)
    increment: int = LONG.unpack(payload)[0] & MAX_WINDOW_BYTES
    if not increment:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window is widened by nothing")
    return WindowUpdate(stream_id, increment)


def _refuse_continuation(flags: int, stream_id: int, payload: bytes) -> Event:
    raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION frame continues nothing")


# HEADERS is not among them: it needs the reader.
_READERS: Final[dict[int, Callable[[int, int, bytes], Event]]] = {
    Kind.DATA: _read_data,
    Kind.PRIORITY: _read_priority,
    Kind.RST_STREAM: _read_reset,
    Kind.SETTINGS: _read_settings,
    Kind.PUSH_PROMISE: _refuse_push,
    Kind.PING: _read_ping,
    Kind.GOAWAY: _read_go_away,
    Kind.WINDOW_UPDATE: _read_window_update,
    Kind.CONTINUATION: _refuse_continuation,
}


def _check_stream(stream_id: int) -> None:
    if not stream_id:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream's frame is on the connection")


def _check_no_stream(stream_id: int) -> None:
    if stream_id:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a connection's frame is on a stream")


def _check_size(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a frame of fixed size has another one")


def _check_setting(name: int, value: int) -> None:
    """
    Refuse a value that RFC 9113 §6.5.2 forbids.
    """
    if name == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW_BYTES:
        raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
    if (name == Setting.ENABLE_PUSH and value > 1) or (
        name == Setting.MAX_FRAME_SIZE and not MAX_FRAME_BYTES <= value < 1 << 24
    ):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a setting has a value that it can't have")


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame has more padding than bytes")
    return payload[1 : len(payload) - payload[0]]
