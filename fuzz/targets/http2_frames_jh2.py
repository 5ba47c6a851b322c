"""
HTTP/2's frames, read by two parsers: what is an event for us, jh2 reads as the same frame.
"""

from __future__ import annotations

from typing import Final

from jh2.hyperframe import frame as other

from sptls.proxy.http2_frames import Http2Error
from sptls.proxy.http2_reader import (
    PREFACE,
    Data,
    Event,
    FrameReader,
    GoAway,
    Headers,
    Noise,
    Ping,
    Reset,
    Settings,
    WindowUpdate,
)
from tests.proxy import http2_client as wire

_BEGIN: Final = PREFACE + wire.settings()
_KINDS: Final = (wire.DATA, wire.HEADERS, 2, 3, wire.SETTINGS, 5, wire.PING, wire.GOAWAY, 8, wire.CONTINUATION, 0x21)

# Kind, flags, stream and payload.
SEEDS: Final = (
    b"\x00\x01\x00\x00\x00\x01hello",
    b"\x00\x09\x00\x00\x00\x01\x02hi\x00\x00",
    b"\x00\x08\x00\x00\x00\x01\x00",
    b"\x01\x2d\x80\x00\x00\x05\x01\x00\x00\x00\x01\x10\x82\x00",
    b"\x01\x25\x00\x00\x00\x05\x80\x00\x00\x01\xff",
    b"\x02\x00\x00\x00\x00\x03\x00\x00\x00\x01\x10",
    b"\x03\x00\x00\x00\x00\x03\x00\x00\x00\x08",
    b"\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff\x00\x99\x00\x00\x00\x01",
    b"\x04\x01\x00\x00\x00\x00",
    b"\x06\x01\x00\x00\x00\x0012345678",
    b"\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00why",
    b"\x08\x00\x00\x00\x00\x00\x80\x00\x00\x05",
    b"\x0a\x00\x00\x00\x00\x00x",
)


def check(data: bytes) -> None:
    """
    See that the frame that *data* says is refused, or is for jh2 what it is for us.
    """
    head, payload = data[:6].ljust(6, b"\0"), data[6:]
    frame = wire.frame(_KINDS[head[0] % len(_KINDS)], head[1], int.from_bytes(head[2:]) & 0x7FFFFFFF, payload)
    reader = FrameReader(65536)
    assert len(list(reader.feed(_BEGIN))) == 1
    try:
        events = list(reader.feed(frame))
    except Http2Error:
        return
    if not events:  # the beginning of a header block
        assert head[0] % len(_KINDS) == 1
        assert not head[1] & wire.END_HEADERS
        return
    (event,) = events
    _check_same(event, frame)


def _check_same(event: Event, frame: bytes) -> None:
    if isinstance(event, Headers) and not event.block:
        return  # of a block that is all padding, which jh2 refuses and RFC 9113 §6.2 does not
    if isinstance(event, WindowUpdate):
        # jh2 does not ignore the reserved bit, which RFC 9113 §6.9 has.
        frame = frame[:9] + bytes((frame[9] & 0x7F,)) + frame[10:]
    theirs, size = other.Frame.parse_frame_header(memoryview(frame)[:9])
    assert size == len(frame) - 9
    theirs.parse_body(memoryview(frame)[9:])
    flags = set(theirs.flags)
    match event:
        case Data(stream_id=stream_id, content=content, flow_bytes=flow_bytes, ends=ends):
            assert isinstance(theirs, other.DataFrame)
            expected = (theirs.stream_id, bytes(theirs.data), theirs.flow_controlled_length, "END_STREAM" in flags)
            assert (stream_id, content, flow_bytes, ends) == expected
        case Headers(stream_id=stream_id, block=block, ends=ends):
            assert isinstance(theirs, other.HeadersFrame)
            assert (stream_id, block, ends) == (theirs.stream_id, bytes(theirs.data), "END_STREAM" in flags)
        case Reset(stream_id=stream_id):
            assert isinstance(theirs, other.RstStreamFrame)
            assert stream_id == theirs.stream_id
        case Settings(values=values):
            assert isinstance(theirs, other.SettingsFrame)
            assert dict(values) == theirs.settings
        case Ping(payload=payload, ack=ack):
            assert isinstance(theirs, other.PingFrame)
            assert (payload, ack) == (bytes(theirs.opaque_data), "ACK" in flags)
        case WindowUpdate(stream_id=stream_id, increment=increment):
            assert isinstance(theirs, other.WindowUpdateFrame)
            assert (stream_id, increment) == (theirs.stream_id, theirs.window_increment)
        case GoAway():
            assert isinstance(theirs, other.GoAwayFrame)
        case Noise():
            assert isinstance(
                theirs, other.PriorityFrame | other.SettingsFrame | other.ExtensionFrame | other.AltSvcFrame
            )
