from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.http2_frames import Http2Error
from sptls.proxy.http2_reader import (
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
from tests.proxy.http2_client import (
    ACK,
    CALM,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    data,
    frame,
    reset,
    settings,
    window_update,
)

BEGIN = PREFACE + settings()


def _read(*raw: bytes) -> list[Event]:
    """
    Read frames after a preface.
    """
    reader = FrameReader(65536)
    return list(reader.feed(BEGIN + b"".join(raw)))[1:]


def _fault(*raw: bytes) -> int:
    """
    Give the code for which *raw*, after a preface, is refused.
    """
    with pytest.raises(Http2Error) as caught:
        _read(*raw)
    return caught.value.code


EACH = [
    (frame(HEADERS, END_HEADERS | END_STREAM, 1, b"block"), Headers(1, b"block", True)),
    (frame(HEADERS, END_HEADERS, 1, b"block"), Headers(1, b"block", False)),
    (frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, b"\x80\0\0\0\x10block"), Headers(1, b"block", False)),
    (frame(HEADERS, END_HEADERS | PADDED, 1, b"\2block\0\0"), Headers(1, b"block", False)),
    (data(1, b"abc"), Data(1, b"abc", 3, False)),
    (data(1, b"abc", ends=True), Data(1, b"abc", 3, True)),
    (frame(DATA, PADDED, 1, b"\2abc\0\0"), Data(1, b"abc", 6, False)),
    (frame(DATA, PADDED, 1, b"\2\0\0"), Data(1, b"", 3, False)),
    (frame(PRIORITY, 0, 7, b"\0\0\0\7\1"), Noise()),
    (reset(1), Reset(1)),
    (settings(_1=0, _4=5, _99=1), Settings(((1, 0), (4, 5), (99, 1)))),
    (frame(SETTINGS, ACK), Noise()),
    (frame(PING, 0, 0, b"12345678"), Ping(b"12345678", False)),
    (frame(PING, ACK, 0, b"12345678"), Ping(b"12345678", True)),
    (frame(GOAWAY, 0, 0, bytes(8) + b"why"), GoAway()),
    (window_update(0, 1), WindowUpdate(0, 1)),
    (window_update(3, 2**31 - 1), WindowUpdate(3, 2**31 - 1)),
    (frame(WINDOW_UPDATE, 0, 3, b"\x80\0\0\1"), WindowUpdate(3, 1)),
    (frame(0x0A, 0, 1, b"alternative service"), Noise()),
    (frame(0xBE, 0xFF, 1, b"grease"), Noise()),
]


@pytest.mark.parametrize(("raw", "event"), EACH)
def test_every_frame(raw: bytes, event: Event) -> None:
    """
    What a client may say is understood; what we have no use for is noise.
    """
    assert [event] == _read(raw)


def test_reserved_bit_is_ignored() -> None:
    """
    The stream's number has 31 bits (RFC 9113 §4.1).
    """
    assert [Data(1, b"a", 1, False)] == _read(b"\0\0\1\0\0\x80\0\0\1a")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS, 0, b"x"), PROTOCOL_ERROR),
        (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
        (frame(RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
        (frame(PING, 0, 1, bytes(8)), PROTOCOL_ERROR),
        (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL_ERROR),
        (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(5)), PROTOCOL_ERROR),
        (frame(CONTINUATION, END_HEADERS, 1, b"x"), PROTOCOL_ERROR),
        (frame(DATA, PADDED, 1), PROTOCOL_ERROR),
        (frame(DATA, PADDED, 1, b"\1"), PROTOCOL_ERROR),
        (frame(DATA, PADDED, 1, b"\4abc"), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\5block"[:5]), PROTOCOL_ERROR),
        (frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, b"\0\0\0\0"), FRAME_SIZE_ERROR),
        (frame(PRIORITY, 0, 1, bytes(4)), FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 1, bytes(5)), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
        (frame(SETTINGS, ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
        (frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (frame(GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
        (window_update(1, 0), PROTOCOL_ERROR),
        (settings(_2=2), PROTOCOL_ERROR),
        (settings(_4=2**31), FLOW_CONTROL_ERROR),
        (settings(_5=16383), PROTOCOL_ERROR),
        (settings(_5=2**24), PROTOCOL_ERROR),
        (frame(DATA, 0, 1, bytes(16385)), FRAME_SIZE_ERROR),
    ],
)
def test_broken_frame_is_refused(raw: bytes, code: int) -> None:
    """
    A frame that is out of place or of a wrong size ends the connection with the RFC's code.
    """
    assert code == _fault(raw)


def test_too_large_a_frame_is_refused_by_its_head() -> None:
    """
    Nothing of it is waited for, nor kept.
    """
    assert FRAME_SIZE_ERROR == _fault(b"\0\x40\1\0\0\0\0\0\1")


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"])
def test_other_protocols_are_refused(first: bytes) -> None:
    """
    A connection that doesn't begin with the preface isn't HTTP/2.
    """
    with pytest.raises(Http2Error):
        list(FrameReader(65536).feed(first))


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), frame(SETTINGS, ACK), frame(0xBE)])
def test_first_frame_must_be_settings(first: bytes) -> None:
    """
    The preface's second half is a SETTINGS frame (RFC 9113 §3.4).
    """
    with pytest.raises(Http2Error):
        list(FrameReader(65536).feed(PREFACE + first))


def test_header_block_is_put_together() -> None:
    """
    CONTINUATION frames belong to the HEADERS before them; padding and priority are the first frame's.
    """
    raw = frame(HEADERS, END_STREAM | PADDED | PRIORITY_FLAG, 3, b"\1" + bytes(5) + b"ab\0")
    raw += frame(CONTINUATION, 0, 3) + frame(CONTINUATION, 0, 3, b"cd") + frame(CONTINUATION, END_HEADERS, 3, b"ef")
    assert [Headers(3, b"abcdef", True)] == _read(raw)


@pytest.mark.parametrize(
    "between", [frame(CONTINUATION, 0, 5, b"x"), data(3, b"x"), frame(0xBE, 0, 3), frame(PING, 0, 0, bytes(8))]
)
def test_header_block_is_not_interrupted(between: bytes) -> None:
    """
    Nothing may come between its frames, not even what would be ignored elsewhere.
    """
    assert PROTOCOL_ERROR == _fault(frame(HEADERS, 0, 3, b"ab"), between)


def test_continuation_flood_is_cut_off() -> None:
    """
    A header block has few frames, and few bytes (CVE-2024-27316).
    """
    assert CALM == _fault(frame(HEADERS, 0, 3, b"ab"), *[frame(CONTINUATION, 0, 3)] * 17)
    assert CALM == _fault(frame(HEADERS, 0, 3, bytes(16384)), *[frame(CONTINUATION, 0, 3, bytes(16384))] * 4)
    assert [] == _read(frame(HEADERS, 0, 3, bytes(16384)), *[frame(CONTINUATION, 0, 3, bytes(16384))] * 3)


def test_what_came_before_a_fault_is_given() -> None:
    """
    Good requests are not lost for a bad frame behind them.
    """
    events = FrameReader(65536).feed(BEGIN + data(1, b"a") + frame(PUSH_PROMISE))
    assert [Settings(()), Data(1, b"a", 1, False)] == [next(events), next(events)]
    with pytest.raises(Http2Error):
        next(events)


@given(cuts=st.sets(st.integers(1, 600)))
def test_any_split_gives_the_same_events(cuts: set[int]) -> None:
    """
    Where reads are cut changes nothing.
    """
    stream = BEGIN + b"".join(raw for raw, _ in EACH)
    reader, at = FrameReader(65536), 0
    events: list[Event] = []
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        events += reader.feed(stream[at:cut])
        at = cut
    assert [Settings(()), *(event for _, event in EACH)] == events


@given(
    raw=st.lists(
        st.builds(frame, st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=12))
        | st.binary(max_size=20),
        max_size=8,
    )
)
def test_any_bytes_give_events_or_the_error(raw: list[bytes]) -> None:
    """
    No frame is broken in a way that nobody thought of.
    """
    reader = FrameReader(65536)
    try:
        for event in reader.feed(BEGIN + b"".join(raw)):
            assert isinstance(event, tuple)
    except Http2Error as error:
        assert error.code  # noqa: PT017 - either is fine


def test_what_is_not_complete_is_known() -> None:
    """
    What came of a frame, and of a header block; nothing between two frames.
    """
    reader = FrameReader(100)
    whole = frame(HEADERS, END_STREAM, 1, b"abc") + frame(CONTINUATION, END_HEADERS, 1, b"de")
    held = []
    for piece in (PREFACE + settings(), whole[:5], whole[5:12], whole[12:]):
        list(reader.feed(piece))
        held.append(reader.held_bytes)
    assert [0, 5, 3, 0] == held
