"""
The channel between a running process and its successor: a message with its descriptors, or nothing stays open.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

from sptls.handover import HandedOver, Ready, Refused, packed
from sptls.handover_channel import pair, receive

SEEDS: Final = (
    b"\x00" + packed(Ready()),
    b"\x02" + packed(HandedOver((True, False), is_last=False)),
    b"\x02" + packed(HandedOver((True,), is_last=True)),
    b"\x01" + packed(Refused("no")),
    b"\xf0" + packed(HandedOver((True,) * 239, is_last=True)),
    b"\x01",
)


def check(data: bytes) -> None:
    """
    See that a packet with as many descriptors as the first byte says is a message only where it has its own.
    """
    ours, theirs = pair()
    with ours, theirs:
        before = _open_descriptors()
        with suppress(OSError):  # more than the kernel passes at a time
            socket.send_fds(theirs, [data[1:]], [theirs.fileno()] * (data[0] if data else 0))
        theirs.close()
        message, descriptors = receive(ours, 1.0)
        expected = message.descriptors if isinstance(message, HandedOver) else 0
        assert len(descriptors) == expected
        for descriptor in descriptors:
            os.close(descriptor)
        assert before - 1 == _open_descriptors()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
