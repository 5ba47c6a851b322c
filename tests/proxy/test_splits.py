"""
The batteries of `tests.e2e.smuggling` again, however the bytes are cut: reads decide nothing.
"""

from __future__ import annotations

import re

import pytest

from tests.e2e.smuggling import PASSED_ON, REFUSED
from tests.proxy.wire import GET, OK, PlayedExchange, Stage

Outcome = tuple[list[tuple[bytes, bytes]], list[bytes]]


def _answers(exchange: PlayedExchange) -> None:
    if not (exchange.request.chunked or exchange.request.content_length):
        exchange.answer(OK, b"ok")


def _outcome(*pieces: bytes) -> Outcome:
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
    whole = [
        (exchange.head_bytes, exchange.content)
        for exchange in stage.exchanges
        if "abandon" not in exchange.events and (exchange.events or not exchange.request.chunked)
    ]
    return whole, re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", wire.value())


@pytest.mark.parametrize("message", [message for message in REFUSED if len(message) < 1000])
def test_refused_request_is_refused_byte_by_byte(message: bytes) -> None:
    """
    With the same status, and nothing of it is whole for the service.
    """
    stream = message + GET
    whole = _outcome(stream)
    bytewise = _outcome(*(stream[at : at + 1] for at in range(len(stream))))
    assert whole == bytewise
    assert b"200" not in whole[1] or b"421" in whole[1] or b"405" in whole[1]


@pytest.mark.parametrize("message", [message for message, _, _ in PASSED_ON])
def test_request_is_the_same_wherever_it_is_cut(message: bytes) -> None:
    """
    In two pieces, at every byte.
    """
    stream = message + GET
    expected = _outcome(stream)
    assert 2 == len(expected[0])
    for cut in range(1, len(stream)):
        assert expected == _outcome(stream[:cut], stream[cut:])
