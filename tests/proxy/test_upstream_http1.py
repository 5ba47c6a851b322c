from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from zope.interface.verify import verifyObject

from sptls.proxy.upstream_exchange import GATHERED_BYTES
from sptls.proxy.upstream_origin import BODY_SECONDS
from tests.proxy.upstreams import OK, Told, UpstreamStage, lost
from tests.proxy.wire import GET, POST, TlsWire, Wire, logged

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
ENOUGH = b"e" * (GATHERED_BYTES + 1)  # for a connection to be looked for


def test_provides_twisteds_interfaces() -> None:
    """
    A connection is what transports and consumers expect.
    """
    connection, _ = UpstreamStage().kept()
    for interface in (IProtocol, IPushProducer):
        assert verifyObject(interface, connection)


def test_first_answer_does_not_wait_for_a_delayed_acknowledgement() -> None:
    """
    Over TLS, once the first request is written; later ones are acknowledged by what follows.
    """
    stage, wire = UpstreamStage(), TlsWire()
    stage.ask()
    connection, _ = stage.accept(wire=wire)
    assert [1] == wire.acknowledged_from
    connection.dataReceived(OK)
    stage.ask()
    assert ([1], 1) == (wire.acknowledged_from, len(stage.dialled))


# -- what makes a connection last


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (OK, "open"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "open"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "open"),
        (OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), "lost"),
        (OK.replace(b"1.1", b"1.0"), "lost"),
        (OK + b"HTTP/1.1 200 OK\r\n", "lost"),
    ],
)
def test_connection_is_kept_when_nothing_is_in_doubt(answer: bytes, end: str) -> None:
    """
    RFC 9112 §9.3, and never after bytes that nobody asked for.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, wire = stage.accept()
    connection.dataReceived(answer)
    assert ("end", end) == (told.events[-1], wire.end)


def test_early_answer_is_passed_on_and_the_connection_not_kept() -> None:
    """
    An upstream that answers before it has read all is believed, and sent no more.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 100000\r\n\r\n")
    exchange.send_data(ENOUGH)
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    wire.taken()
    exchange.send_data(b"x" * 1000)
    exchange.send_end()
    assert ([200, "end"], "lost", b"") == (told.events, wire.end, wire.value())


def test_answer_may_begin_before_the_request_ends() -> None:
    """
    An upstream that echoes is streamed both ways at once.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    exchange.send_data(ENOUGH)
    connection, wire = stage.accept()
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    exchange.send_data(b"cd")
    exchange.send_end()
    connection.dataReceived(b"cd")
    assert (b"abcd", [200, "end"], "open") == (told.content, told.events, wire.end)


def test_bytes_on_an_idle_connection_end_it() -> None:
    """
    An answer to nothing must not become the answer to the next request.
    """
    stage = UpstreamStage()
    connection, wire = stage.kept()
    connection.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert "aborted" == wire.end
    connection.dataReceived(b"more")
    lost(connection)
    stage.ask()
    assert 2 == len(stage.dialled)


def test_client_that_gives_up_while_it_is_told_is_told_no_more() -> None:
    """
    The client's side may abandon in the middle of any call.
    """
    stage = UpstreamStage()

    class Leaving(Told):
        def response_head(self, head: object) -> None:
            exchange.abandon()

    told, exchange = stage.ask(told=Leaving())
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    assert ([], b"", "aborted") == (told.events, told.content, wire.end)


# -- dead connections


def test_dead_kept_connection_is_replaced_unnoticed() -> None:
    """
    A request on a connection that the upstream had closed is sent once more, on a fresh one.
    """
    stage = UpstreamStage()
    old, _ = stage.kept()
    told, _ = stage.ask()
    lost(old, ConnectionLost())
    connection, wire = stage.accept()
    assert GET == wire.value()
    connection.dataReceived(OK)
    assert ([200, "end"], 1) == (told.events, stage.counters.upstream_retries)


def test_time_out_of_an_idle_connection_is_not_the_answer() -> None:
    """
    A 408 that crosses the request was meant for the silence before it (RFC 9110 §15.5.9); one on the fresh connection
    is passed on.
    """
    stage = UpstreamStage()
    old, old_wire = stage.kept()
    told, _ = stage.ask()
    timed_out = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    old.dataReceived(timed_out[:30])
    old.dataReceived(timed_out[30:])
    lost(old)
    connection, wire = stage.accept()
    assert ([], "aborted", GET) == (told.events, old_wire.end, wire.value())
    connection.dataReceived(timed_out)
    assert ([408, "end"], 1) == (told.events, stage.counters.upstream_retries)


def test_replacement_is_fresh_and_only_one() -> None:
    """
    With several dead ones the second try isn't on another of them, and there is no third.
    """
    stage = UpstreamStage()
    stage.ask()
    stage.ask()
    (first, _), (second, _) = stage.accept(0), stage.accept(1)
    first.dataReceived(OK)
    second.dataReceived(OK)
    told, _ = stage.ask()
    lost(second)
    assert 3 == len(stage.dialled)
    lost(stage.accept()[0])
    assert ["failed 502"] == told.events


def test_fresh_connection_that_dies_is_not_replaced() -> None:
    """
    An upstream that hangs up on the request would do so again.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    lost(stage.accept()[0])
    assert (["failed 502"], 1) == (told.events, len(stage.dialled))


@pytest.mark.parametrize(("head", "dialled"), [(GET, 2), (POST + b"\r\n", 1)])
def test_address_that_hangs_up_on_a_fresh_connection_is_replaced_by_another(head: bytes, dialled: int) -> None:
    """
    Where there is one, and once; never for what may not be repeated.
    """
    stage = UpstreamStage(addresses=("192.0.2.10", "192.0.2.20"))
    told, _ = stage.ask(head)
    lost(stage.accept()[0])
    assert ["192.0.2.10", "192.0.2.20"][:dialled] == stage.dialled
    if dialled == 2:
        lost(stage.accept()[0])
    assert (["failed 502"], dialled) == (told.events, len(stage.dialled))


def test_connection_that_dies_after_a_byte_is_not_replaced() -> None:
    """
    One byte of an answer, interim ones too, and the request was acted on.
    """
    stage = UpstreamStage()
    connection, _ = stage.kept()
    told, _ = stage.ask()
    connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n")
    lost(connection)
    assert ["failed 502"] == told.events


# -- answers that end with their connection


def test_answer_without_length_ends_with_its_connection() -> None:
    """
    Closed in good order, it is complete.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(UNTIL_CLOSE + b"some")
    connection.dataReceived(b"thing")
    lost(connection, ConnectionDone())
    assert (b"something", [200, "end"]) == (told.content, told.events)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (UNTIL_CLOSE + b"some", ConnectionLost()),
        (LENGTH + b"some", ConnectionDone()),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", ConnectionDone()),
    ],
)
def test_answer_that_is_cut_short_fails(answer: bytes, error: Exception) -> None:
    """
    Less than announced, or ended by a reset: never taken for the whole.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(answer)
    lost(connection, error)
    assert [200, "failed 502"] == told.events


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    ],
)
def test_what_is_no_answer_is_a_bad_gateway(answer: bytes) -> None:
    """
    Garbage, too large a head, too many interim ones: 502, and the connection is closed.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, wire = stage.accept()
    connection.dataReceived(answer)
    assert (["failed 502"], "aborted") == (told.events, wire.end)


def test_broken_content_breaks_the_answer_off() -> None:
    """
    Bad chunks after a good head.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, wire = stage.accept()
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert ([200, "failed 502"], "aborted") == (told.events, wire.end)


def test_interim_answers_end_here() -> None:
    """
    100, 102 and 103 are not the client's business.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    for piece in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n", OK):
        connection.dataReceived(piece)
    assert [200, "end"] == told.events


# -- deadlines


def test_head_that_does_not_come_is_a_gateway_timeout() -> None:
    """
    upstream_head_seconds, however the head drips.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, wire = stage.accept()
    for byte in OK[:20]:
        connection.dataReceived(bytes([byte]))
        stage.reactor.advance(1.6)
    assert (["failed 504"], "aborted") == (told.events, wire.end)


def test_head_is_waited_for_from_the_requests_end() -> None:
    """
    A slow upload is the client's time, not the upstream's.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 100000\r\n\r\n")
    exchange.send_data(ENOUGH)
    stage.accept()
    stage.reactor.advance(1000)
    assert [] == told.events
    exchange.send_data(b"abcdef")
    exchange.send_end()
    stage.reactor.advance(stage.limits.upstream_head_seconds - 1)
    assert [] == told.events
    stage.reactor.advance(2)
    assert ["failed 504"] == told.events


def test_content_may_take_long_but_not_stand_still() -> None:
    """
    The deadline is for each next piece.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(LENGTH)
    for _ in range(5):
        stage.reactor.advance(BODY_SECONDS - 1)
        connection.dataReceived(b"x")
    assert [200] == told.events
    stage.reactor.advance(BODY_SECONDS + 1)
    assert [200, "failed 504"] == told.events


def test_request_that_is_not_taken_is_a_gateway_timeout() -> None:
    """
    An upstream that stops reading the content.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 1000000\r\n\r\n")
    exchange.send_data(ENOUGH)
    _, wire = stage.accept()
    wire.full_bytes = 1000
    exchange.send_data(b"x" * 2000)
    stage.reactor.advance(BODY_SECONDS + 1)
    assert ["pause", "failed 504"] == told.events


def test_silence_while_the_client_is_slow_is_nobodys_fault() -> None:
    """
    A paused answer has no deadline here.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(LENGTH)
    exchange.pause_response()
    stage.reactor.advance(10 * BODY_SECONDS)
    assert [200] == told.events
    exchange.resume_response()
    stage.reactor.advance(BODY_SECONDS + 1)
    assert [200, "failed 504"] == told.events


# -- back-pressure


def test_slow_upstream_pauses_the_client() -> None:
    """
    Upwards: the transport's pause and resume reach the client's side.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 1000000\r\n\r\n")
    exchange.send_data(ENOUGH)
    _, wire = stage.accept()
    wire.full_bytes = 1000
    exchange.send_data(b"x" * 2000)
    wire.take_all()
    assert ["pause", "resume"] == told.events


def test_large_opening_keeps_the_client_paused() -> None:
    """
    A client that was paused while there was no connection stays so when the connection is full at once.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 1000000\r\n\r\n")
    exchange.send_data(b"x" * 100_000)
    wire = Wire()
    wire.full_bytes = 1000
    stage.accept(wire=wire)
    assert "resume" not in told.events
    wire.take_all()
    assert "resume" == told.events[-1]


def test_slow_client_pauses_the_upstream() -> None:
    """
    Downwards: the connection isn't read, and is again when it goes back to the others.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    connection, wire = stage.accept()
    connection.dataReceived(LENGTH + b"12345")
    exchange.pause_response()
    assert not wire.reading
    connection.dataReceived(b"67890")
    assert ("end", True, "open") == (told.events[-1], wire.reading, wire.end)


def test_trailers_are_told_before_the_end() -> None:
    """
    As they came; which of them go on is the client's side's to say.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.dataReceived(b"2\r\nok\r\n0\r\nX-Sum: 1\r\nHost: x\r\n\r\n")
    assert ([200, "end"], [(b"X-Sum", b"1"), (b"Host", b"x")]) == (told.events, told.trailers)


def test_pieces_are_flushed_and_a_whole_answer_is_not() -> None:
    """
    The client's side can write a small answer in one piece.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, _ = stage.accept()
    connection.dataReceived(OK)
    assert 0 == told.flushes
    told, _ = stage.ask()
    connection.dataReceived(LENGTH)
    assert ([200], 1) == (told.events, told.flushes)


# -- faults


@pytest.mark.parametrize("part", ["response_head", "response_data", "response_end"])
def test_fault_in_the_clients_side_ends_both(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """
    Whatever goes wrong there, neither side hangs, and it is logged.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    connection, wire = stage.accept()
    monkeypatch.setattr(told, part, None)
    with logged() as events:
        connection.dataReceived(OK)
    assert ("failed 502", "aborted", ["critical"]) == (told.events[-1], wire.end, [level for level, _ in events])
