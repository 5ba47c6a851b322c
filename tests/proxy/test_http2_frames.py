from __future__ import annotations

import pytest
from jh2.hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sptls.proxy import http2_frames
from sptls.proxy.http2_frames import ErrorCode, Http2Error, Setting


def _parsed(raw: bytes) -> list[Frame]:
    """
    Read *raw* with hyperframe, which has no part in making it.
    """
    found = []
    while raw:
        frame, size = Frame.parse_frame_header(memoryview(raw[:9]))
        frame.parse_body(memoryview(raw[9 : 9 + size]))
        found.append(frame)
        raw = raw[9 + size :]
    return found


@pytest.mark.parametrize("ends", [False, True])
def test_headers(ends: bool) -> None:
    """
    A header block that fits is one frame.
    """
    (frame,) = _parsed(http2_frames.headers(5, b"block", ends=ends))
    assert isinstance(frame, HeadersFrame)
    assert (5, b"block", {"END_HEADERS"} | ({"END_STREAM"} if ends else set())) == (
        frame.stream_id,
        bytes(frame.data),
        set(frame.flags),
    )


@pytest.mark.parametrize("size", [16384, 16385, 40000])
def test_long_headers_are_continued(size: int) -> None:
    """
    No frame is larger than a peer must take, and only the last ends the block.
    """
    block = bytes(index % 251 for index in range(size))
    first, *others = _parsed(http2_frames.headers(5, block, ends=True))
    assert isinstance(first, HeadersFrame)
    assert all(isinstance(frame, ContinuationFrame) for frame in others)
    assert block == b"".join(bytes(frame.data) for frame in (first, *others))  # type: ignore[attr-defined]
    ended = [("END_STREAM" in frame.flags, "END_HEADERS" in frame.flags) for frame in (first, *others)]
    count = -(-size // 16384)
    assert [(at == 0, at == count - 1) for at in range(count)] == ended


def test_the_small_ones() -> None:
    """
    Every other frame says what it was made for.
    """
    raw = b"".join(
        (
            http2_frames.data(3, b"abc", ends=True),
            http2_frames.reset(3, ErrorCode.CANCEL),
            http2_frames.settings(((Setting.MAX_CONCURRENT_STREAMS, 7),)),
            http2_frames.SETTINGS_ACK,
            http2_frames.ping(b"12345678", ack=True),
            http2_frames.ping(b"12345678", ack=False),
            http2_frames.go_away(9, ErrorCode.ENHANCE_YOUR_CALM),
            http2_frames.window_update(0, 11),
        )
    )
    content, reset, settings, ack, pong, ping, away, update = _parsed(raw)
    assert isinstance(content, DataFrame)
    assert (3, b"abc", {"END_STREAM"}) == (content.stream_id, bytes(content.data), set(content.flags))
    assert isinstance(reset, RstStreamFrame)
    assert (3, 8) == (reset.stream_id, reset.error_code)
    assert isinstance(settings, SettingsFrame)
    assert {3: 7} == settings.settings
    assert {"ACK"} == set(ack.flags) == set(pong.flags)
    assert isinstance(ping, PingFrame)
    assert (b"12345678", set()) == (ping.opaque_data, set(ping.flags))
    assert isinstance(away, GoAwayFrame)
    assert (9, 11) == (away.last_stream_id, away.error_code)
    assert isinstance(update, WindowUpdateFrame)
    assert (0, 11) == (update.stream_id, update.window_increment)


def test_error_has_its_facts() -> None:
    """
    Who handles it needs the code.
    """
    error = Http2Error(ErrorCode.PROTOCOL_ERROR, "a reason")
    assert (ErrorCode.PROTOCOL_ERROR, "a reason") == (error.code, error.reason)
