"""
What came of a client's HTTP/1.1 connection, to compare it with the same bytes cut otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.proxy.wire import OK, PlayedExchange, Stage

Outcome = tuple[list[tuple[bytes, bytes]], list[bytes]]


def outcome(pieces: Iterable[bytes]) -> Outcome:
    """
    Give what a service got of *pieces* as whole requests, and the statuses that the client got.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    for piece in pieces:
        if wire.end == "open":
            connection.dataReceived(piece)
        for exchange in stage.exchanges:
            if exchange.events == ["end"]:
                exchange.events.append("answered")
                exchange.answer(OK, b"ok")
    whole = [(exchange.head_bytes, exchange.content) for exchange in stage.exchanges if "answered" in exchange.events]
    return whole, re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", wire.value())


def _answers(exchange: PlayedExchange) -> None:
    if not (exchange.request.chunked or exchange.request.content_length):
        exchange.events.append("answered")
        exchange.answer(OK, b"ok")
