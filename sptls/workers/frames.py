"""
Messages in a pipe: each behind its length, four bytes, the highest first.

Decides how much one may hold, and nothing of what is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.errors import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

# Half a million names of 32 bytes are 25 MB; certificates come a hundred at a time, 1 MB.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_LENGTH_BYTES: Final = 4


def framed(message: bytes) -> bytes:
    """
    Give *message* as it stands in the pipe.

    Raises:
        MalformedMessage: it is longer than the other side would take.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise MalformedMessage(f"{len(message)} bytes are more than the {MAX_MESSAGE_BYTES} of a message")
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


class Frames:
    """
    Takes what comes out of the pipe, in pieces of any size, and gives the messages that are complete.
    """

    def __init__(self) -> None:
        self._pieces = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Take *data*, and give each message that ends in it; all have to be taken before more is fed.

        Raises:
            MalformedMessage: a message is announced that is too long; the pipe is of no more use.
        """
        self._pieces += data
        taken = 0
        while len(self._pieces) - taken >= _LENGTH_BYTES:
            begin = taken + _LENGTH_BYTES
            length = int.from_bytes(self._pieces[taken:begin], "big")
            if length > MAX_MESSAGE_BYTES:
                raise MalformedMessage(f"a message of {length} bytes is announced")
            if len(self._pieces) < begin + length:
                break
            taken = begin + length
            yield bytes(self._pieces[begin:taken])
        del self._pieces[:taken]
