"""
The ClientHello: any bytes are one, the beginning of one, or none; more bytes never make good what was wrong.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import prefixes
from sptls.tls.client_hello import ClientHello, NeedMore, NotTls, parse

_BODY: Final = b"\x03\x03" + b"r" * 32 + b"\x00\x00\x02\x13\x01\x01\x00"
_NAME: Final = b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09a.example"
_ALPN: Final = b"\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1"


def _records(extensions: bytes, record_bytes: int) -> bytes:
    body = _BODY + len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    pieces = [message[at : at + record_bytes] for at in range(0, len(message), record_bytes)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


SEEDS: Final = (
    _records(_NAME + _ALPN, 16384),
    _records(_ALPN + _NAME, 40),
    _records(b"", 16384),
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x00",
)


def check(data: bytes) -> None:
    """
    See that every beginning of *data* is read as the whole allows.
    """
    whole = parse(data)
    assert isinstance(whole, ClientHello | NeedMore | NotTls)
    for part in prefixes(data):
        answer = parse(part)
        if isinstance(answer, NeedMore):
            assert answer.total_bytes > len(part)
            assert answer.total_bytes <= len(data) or not isinstance(whole, ClientHello)
        elif isinstance(answer, NotTls):
            assert isinstance(whole, NotTls)  # the alert may differ: one byte doesn't tell which protocol is spoken
        else:
            assert answer == whole
