"""
A client's HTTP/2 connection: whatever comes, what the service gets is one request that HTTP/1 takes, or nothing.
"""

from __future__ import annotations

from typing import Final

from fuzz.forwarded import check_head
from fuzz.pieces import cut
from tests.proxy import http2_client as wire
from tests.proxy.http2_client import Http2Client
from tests.proxy.wire import OK, PlayedExchange, Stage, TlsWire, logged

# GET https://click.example.com/ in the static table's terms.
_HEAD: Final = b"\x82\x87\x84\x01\x11click.example.com"
_GET: Final = wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 1, _HEAD)
_POST: Final = wire.frame(wire.HEADERS, wire.END_HEADERS, 3, b"\x83" + _HEAD[1:])

SEEDS: Final = (
    b"\xff" + _GET + wire.frame(wire.PING, 0, 0, b"12345678"),
    b"\x20" + _POST + wire.data(3, b"hello", ends=True) + wire.window_update(3, 5),
    b"\x01" + _GET + wire.reset(1) + wire.settings(_4=0, _1=0) + wire.frame(wire.SETTINGS, wire.ACK),
    b"\x30" + _POST + wire.data(3, b"x") + wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, 3, b"\0\1x\1y"),
    b"\x10" + wire.frame(wire.HEADERS, wire.END_STREAM, 1, _HEAD[:9]) + wire.frame(wire.CONTINUATION, 4, 1, _HEAD[9:]),
)


def check(data: bytes) -> None:
    """
    See that nothing is left to the connection's last resort, and that whole requests are whole.
    """
    _, pieces = cut(data)
    stage, transport = Stage(), TlsWire()
    stage.tracking = _answers
    with logged() as events:
        client = Http2Client(stage, transport)
        for piece in pieces:
            if transport.end == "open":
                client.send(piece)
                stage.clock.advance(0)
            for exchange in stage.exchanges:
                if exchange.events == ["end"]:
                    exchange.events.append("answered")
                    exchange.answer(OK, b"ok")
    assert events == []
    for exchange in stage.exchanges:
        check_head(exchange.head_bytes, exchange.request)
        if "answered" in exchange.events and exchange.request.content_length is not None:
            assert exchange.request.content_length == len(exchange.content)


def _answers(exchange: PlayedExchange) -> None:
    if not (exchange.request.chunked or exchange.request.content_length):
        exchange.events.append("answered")
        exchange.answer(OK, b"ok")
