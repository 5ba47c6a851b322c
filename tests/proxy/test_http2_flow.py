from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.http2_flow import WRITE_BYTES, Inflow, Outflow, Sender
from sptls.proxy.http2_frames import Http2Error
from tests.proxy.http2_client import FLOW_CONTROL_ERROR, data

MOST = 2**31 - 1


def _taken(sender: Sender) -> bytes:
    """
    Give all that can be written now.
    """
    out = b""
    while piece := sender.take()[0]:
        out += piece
    return out


def test_client_may_send_as_much_as_the_window_has() -> None:
    """
    One byte more is too much.
    """
    inflow = Inflow(10)
    assert [True, True, False] == [inflow.receive(4), inflow.receive(6), inflow.receive(1)]


def test_window_is_widened_when_half_of_it_is_taken() -> None:
    """
    Not for every byte; then by all that was taken.
    """
    inflow = Inflow(10)
    inflow.receive(10)
    assert [0, 6, 0, 0] == [inflow.take(4), inflow.take(2), inflow.take(4), inflow.take(0)]
    assert [True, False] == [inflow.receive(6), inflow.receive(1)]


def test_small_content_goes_in_one_frame_behind_what_was_said() -> None:
    """
    Head and content of an answer are one write.
    """
    sender, outflow = Sender(), Outflow(1, 100)
    sender.say(b"head")
    sender.put(outflow, b"a", ends=False)
    sender.put(outflow, b"b", ends=True)
    assert outflow.has_to_send
    assert (b"head" + data(1, b"ab", ends=True), [outflow]) == sender.take()
    assert (b"", []) == sender.take()
    assert (True, False) == (outflow.is_over, outflow.has_to_send)


def test_last_content_of_a_stream_goes_at_once() -> None:
    """
    Behind what was said, also later; nothing is left to be told of it.
    """
    sender, outflow = Sender(), Outflow(1, 100)
    sender.say(b"head")
    assert sender.say_last(outflow, b"a")
    sender.say(b"more")
    assert (True, False) == (outflow.is_over, outflow.has_to_send)
    assert (b"headmore" + data(1, b"a", ends=True), []) == sender.take()
    assert (b"", []) == sender.take()


def test_last_content_waits_where_it_must() -> None:
    """
    For the client, for its own turn and others', for a window, and when it is more than a frame or a write has.
    """
    held = Sender()
    held.held = True
    busy = Sender()
    busy.put(Outflow(3, 0), b"x", ends=True)
    narrow = Sender()
    narrow.widen(-(65535 - 1))
    for sender, outflow, content in (
        (held, Outflow(1, 100), b"ab"),
        (busy, Outflow(1, 100), b"ab"),
        (narrow, Outflow(1, 100), b"ab"),
        (Sender(), Outflow(1, 1), b"ab"),
        (Sender(), Outflow(1, MOST), bytes(16385)),
    ):
        assert not sender.say_last(outflow, content)
    begun, sender = Outflow(1, 0), Sender()
    sender.put(begun, b"a", ends=False)
    sender.take()
    assert not sender.say_last(begun, b"b")


def test_last_content_counts_in_windows_and_write() -> None:
    """
    What others wait with goes out in the next write; and the window is what is left of it.
    """
    sender, outflow = Sender(), Outflow(9, MOST)
    sender.widen(MOST - 65535)
    whole = WRITE_BYTES // 16384
    assert [True] * whole + [False] == [sender.say_last(Outflow(n, MOST), bytes(16384)) for n in range(whole + 1)]
    sender.put(outflow, b"a", ends=True)
    first, emptied = sender.take()
    assert (whole * (9 + 16384), []) == (len(first), emptied)
    assert (data(9, b"a", ends=True), [outflow]) == sender.take()
    assert sender.say_last(Outflow(11, MOST), b"b")


def test_frames_that_wait_are_counted() -> None:
    """
    Content is none of them, as it may have to wait for a window.
    """
    sender = Sender()
    sender.say(b"frame")
    sender.put(Outflow(1, 100), b"content", ends=True)
    assert 1 == sender.frame_count
    sender.take()
    assert 0 == sender.frame_count


def test_end_needs_no_window() -> None:
    """
    An empty frame is allowed when nothing else is, also where settings made the window negative.
    """
    sender, outflow = Sender(), Outflow(1, 1)
    sender.put(outflow, b"a", ends=False)
    sender.take()
    assert sender.widen_stream(outflow, -5)
    sender.put(outflow, b"", ends=True)
    assert (data(1, ends=True), [outflow]) == sender.take()


def test_content_waits_for_its_own_window() -> None:
    """
    What the window has goes, the rest when it is widened; other streams go on meanwhile.
    """
    sender, small, other = Sender(), Outflow(1, 2), Outflow(3, 100)
    sender.put(small, b"abcd", ends=True)
    sender.put(other, b"xyz", ends=True)
    assert data(1, b"ab") + data(3, b"xyz", ends=True) == _taken(sender)
    assert sender.widen_stream(small, 1)
    assert data(1, b"c") == _taken(sender)
    assert sender.widen_stream(small, 1)
    assert data(1, b"d", ends=True) == _taken(sender)


def test_content_waits_for_the_connections_window() -> None:
    """
    All streams share it, and go on in turn when it is widened.
    """
    sender, first, second = Sender(), Outflow(1, MOST), Outflow(3, MOST)
    sender.put(first, bytes(65535), ends=False)
    _taken(sender)
    sender.put(first, b"abc", ends=True)
    sender.put(second, b"xyz", ends=True)
    assert b"" == _taken(sender)
    sender.widen(4)
    assert data(1, b"abc", ends=True) + data(3, b"x") == _taken(sender)
    sender.widen(2)
    assert data(3, b"yz", ends=True) == _taken(sender)


def test_streams_take_turns() -> None:
    """
    A large answer holds a small one up by one frame.
    """
    sender, large, small = Sender(), Outflow(1, MOST), Outflow(3, MOST)
    sender.put(large, bytes(40000), ends=True)
    sender.put(small, b"small", ends=True)
    out, emptied = sender.take()
    whole = data(1, bytes(16384)) + data(3, b"small", ends=True) + data(1, bytes(16384))
    assert (whole + data(1, bytes(40000 - 2 * 16384), ends=True), [small, large]) == (out, emptied)


def test_one_write_is_bounded() -> None:
    """
    The transport gets its say after each.
    """
    sender, outflow = Sender(), Outflow(1, MOST)
    sender.widen(10**6)
    sender.put(outflow, bytes(3 * WRITE_BYTES), ends=True)
    assert WRITE_BYTES < len(sender.take()[0]) < WRITE_BYTES + 100


def test_held_content_stays_and_what_is_said_goes() -> None:
    """
    A client that takes nothing gets its answers' heads and acknowledgements all the same.
    """
    sender, outflow = Sender(), Outflow(1, 100)
    sender.held = True
    sender.put(outflow, b"abc", ends=True)
    sender.say(b"ack")
    assert (b"ack", []) == sender.take()
    sender.held = False
    assert data(1, b"abc", ends=True) == _taken(sender)


@pytest.mark.parametrize("in_turn", [False, True])
def test_dropped_content_is_never_sent(in_turn: bool) -> None:
    """
    A stream that was reset is silent, whether it was waiting for its window or for its turn.
    """
    sender, outflow = Sender(), Outflow(1, 0)
    sender.put(outflow, b"abc", ends=True)
    if not in_turn:
        sender.take()
    sender.drop(outflow)
    sender.widen_stream(outflow, 100)
    assert b"" == _taken(sender)


def test_windows_have_an_upper_end() -> None:
    """
    2**31-1 is allowed, one more is an error: of the connection or of the stream.
    """
    sender, outflow = Sender(), Outflow(1, 1)
    sender.widen(MOST - 65535)
    with pytest.raises(Http2Error) as caught:
        sender.widen(1)
    assert FLOW_CONTROL_ERROR == caught.value.code
    assert [True, False] == [sender.widen_stream(outflow, MOST - 1), sender.widen_stream(outflow, 1)]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "widen", "stream", "take"]), st.integers(0, 2), st.integers(1, 50000)),
        max_size=40,
    )
)
def test_windows_are_never_exceeded_and_nothing_is_lost(steps: list[tuple[str, int, int]]) -> None:
    """
    Whatever is put in comes out in order, as far as the windows go and not further.
    """
    sender, allowed, own = Sender(), 65535, [100, 100, 100]
    outflows = [Outflow(2 * at + 1, 100) for at in range(3)]
    put, got = [b"", b"", b""], [b"", b"", b""]
    for step, at, size in [*steps, ("take", 0, 0)]:
        if step == "put":
            content = bytes([len(put[at]) % 256]) * size
            put[at] += content
            sender.put(outflows[at], content, ends=False)
        elif step == "widen":
            allowed += size
            sender.widen(size)
        elif step == "stream":
            own[at] += size
            sender.widen_stream(outflows[at], size)
        else:
            raw = _taken(sender)
            while raw:
                length, stream = int.from_bytes(raw[:3], "big"), (raw[8] - 1) // 2
                got[stream] += raw[9 : 9 + length]
                raw = raw[9 + length :]
        assert sender.waiting_bytes == sum(len(outflow.waiting) for outflow in outflows)
    assert sum(map(len, got)) <= allowed
    for at in range(3):
        assert put[at].startswith(got[at])
        assert len(got[at]) <= own[at]
        # Whoever waits, waits for a window.
        assert got[at] == put[at] or len(got[at]) == own[at] or sum(map(len, got)) == allowed
        sender.drop(outflows[at])
    assert 0 == sender.waiting_bytes
