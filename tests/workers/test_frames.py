"""
Messages in a pipe come out as they went in, however the pipe cuts them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.errors import MalformedMessage
from sptls.workers import frames
from sptls.workers.frames import MAX_MESSAGE_BYTES, Frames, framed

MESSAGES = st.lists(st.binary(max_size=300), max_size=10)


@given(messages=MESSAGES, size=st.integers(1, 50))
def test_messages_come_out_as_they_went_in(messages: list[bytes], size: int) -> None:
    """
    In pieces of any size.
    """
    pipe, taken = b"".join(map(framed, messages)), Frames()
    pieces = [pipe[begin : begin + size] for begin in range(0, len(pipe), size)]
    assert messages == [message for piece in pieces for message in taken.feed(piece)]


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_refused(data: bytes) -> None:
    """
    Nothing else comes of them.
    """
    try:
        given_back = list(Frames().feed(data))
    except MalformedMessage:
        return
    assert sum(4 + len(message) for message in given_back) <= len(data)


def test_what_is_too_long_is_refused_by_who_sends_and_by_who_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As soon as its length is there.
    """
    with pytest.raises(MalformedMessage, match="announced"):
        list(Frames().feed((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")))
    monkeypatch.setattr(frames, "MAX_MESSAGE_BYTES", 3)
    assert b"\x00\x00\x00\x03abc" == framed(b"abc")
    with pytest.raises(MalformedMessage, match="4 bytes are more"):
        framed(b"abcd")
