"""
Messages in the pipe between a worker process and its parent: the same however they are cut, and none is lost.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import cut
from sptls.errors import MalformedMessage
from sptls.workers.frames import Frames, framed

SEEDS: Final = (
    b"\x02" + framed(b'["Serve", {}]') + framed(b'["Alive", {}]'),
    b"\x00" + framed(b"") + framed(b"x"),
    b"\xff" + framed(b"hello")[:-1],
    b"\x10" + framed(b"a") + b"\x04\x00\x00\x01",
)


def check(data: bytes) -> None:
    """
    See that what came is read alike in pieces and at once, and that each message comes out as it went in.
    """
    whole, pieces = cut(data)
    assert _read([whole]) == _read(pieces)
    stream = b"".join(map(framed, pieces))
    size = len(pieces) % 7 + 1
    assert (pieces, True) == _read([stream[at : at + size] for at in range(0, len(stream), size)])


def _read(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """
    Give the messages, and whether the pipe is still of use.
    """
    frames, messages = Frames(), list[bytes]()
    try:
        for piece in pieces:
            messages.extend(frames.feed(piece))
    except MalformedMessage:
        return messages, False
    return messages, True
