"""
A client's HTTP/1.1 connection: the same requests for the service and the same statuses however it is cut.
"""

from __future__ import annotations

from typing import Final

from fuzz.pieces import cut
from tests.proxy.outcome import outcome
from tests.proxy.wire import GET, POST, logged

SEEDS: Final = (
    b"\x10" + GET + GET,
    b"\x00" + POST + b"Content-Length: 5\r\n\r\nhello\r\n" + GET,
    b"\x05" + POST + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n" + GET,
    b"\x30GET / HTTP/1.0\r\nHost: click.example.com\r\nConnection: keep-alive\r\n\r\n" + GET,
    b"\x02GET / HTTP/1.1\r\nHost: other\r\n\r\n" + POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
)


def check(data: bytes) -> None:
    """
    See that pieces change nothing, and that nothing is left to the connection's last resort.
    """
    whole, pieces = cut(data)
    with logged() as events:
        assert outcome([whole]) == outcome(pieces)
    assert events == []
