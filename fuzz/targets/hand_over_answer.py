"""
What a running process answers to one that wants to take over: the channel, or why not, and nothing stays open.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from sptls import predecessor
from sptls.errors import StartError

_OK: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%b\r\n{"handing_over": true}\n'
_REFUSED: Final = b'{"error": "an order runs"}'

SEEDS: Final = (
    b"\x01" + _OK % b"Connection: close\r\n",
    b"\x01" + _OK % b"Content-Length: 23\r\n",
    b"\x02" + _OK % b"",
    b"\x05" + _OK % b"",
    b"\x00HTTP/1.1 409 Conflict\r\nContent-Length: 26\r\n\r\n" + _REFUSED,
    b"\x00HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n" + _REFUSED + b"\r\n0\r\n\r\n",
    b"\x00HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    b"\x00HTTP/1.1 404 Not Found\r\n\r\n",
    b"\x00HTTP/1.1 200 OK\r\n\r\n" + b"[" * 2000,
)


def check(data: bytes) -> None:
    """
    See that the answer, with the descriptors that the first byte tells of, is a channel or a sentence.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as file:
        ours.settimeout(1.0)
        number = data[0] if data else 0
        descriptor = file.fileno() if number & 4 else theirs.fileno()
        before = _open_descriptors()
        socket.send_fds(theirs, [data[1:] or b"\n"], [descriptor] * (number & 3))
        theirs.shutdown(socket.SHUT_WR)
        try:
            predecessor._asked(ours).close()  # noqa: SLF001 - the rest of `ask` is the channel
        except StartError as error:
            assert str(error).startswith("the running process ")
        assert before == _open_descriptors()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
