from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface.verify import verifyObject

from sptls.config import LimitsConfig
from sptls.proxy.client_connection import LINGER_BYTES
from sptls.proxy.gateway import BODY_BYTES, BODY_SECONDS, FIRST_SECONDS, LINGER_SECONDS, WRITE_SECONDS
from sptls.proxy.held_content import HeldContent
from sptls.proxy.http1 import PAUSED_BYTES, PIPELINED_BYTES, Http1
from tests.proxy.wire import GET, OK, POST, PlayedExchange, Stage, TlsWire, fails_with, lost

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = OK + b"ok"


def _answers(exchange: PlayedExchange) -> None:
    exchange.answer(OK, b"ok")


# -- heads


def test_keeps_twisteds_interfaces() -> None:
    """
    A connection is what transports and producers' consumers expect.
    """
    connection = Http1(Stage().gateway)
    for interface in (IProtocol, IHalfCloseableProtocol, IPushProducer):
        assert verifyObject(interface, connection)


def test_request_is_forwarded_and_answered_in_one_write() -> None:
    """
    A small answer's head and content leave together.
    """
    stage = Stage()
    connection, wire = stage.connect()
    assert wire.no_delay
    connection.dataReceived(GET)
    assert b"GET /f/a HTTP/1.1\r\n" == stage.exchanges[0].head_bytes[:19]
    stage.exchanges[0].answer(OK, b"ok")
    assert ([ANSWER], "open") == (wire.writes, wire.end)


@given(cuts=st.sets(st.integers(1, 250)))
def test_any_split_of_a_stream_gives_the_same_requests_and_answers(cuts: set[int]) -> None:
    """
    Where reads are cut changes neither what the upstream is sent nor what the client is answered.
    """
    stream = (
        GET
        + POST
        + b"Content-Length: 5\r\n\r\nhello"
        + POST
        + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"
        + b"\r\n"
        + GET
    )
    stage = Stage()
    connection, wire = stage.connect()
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        connection.dataReceived(stream[at:cut])
        at = cut
        for exchange in stage.exchanges:
            if "end" in exchange.events and "answered" not in exchange.events:
                exchange.events.append("answered")
                exchange.answer(OK, b"ok")
            if not exchange.request.content_length and not exchange.request.chunked and not exchange.events:
                exchange.events.append("answered")
                exchange.answer(OK, b"ok")
    for exchange in stage.exchanges:
        if "answered" not in exchange.events:
            exchange.events.append("answered")
            exchange.answer(OK, b"ok")
    assert [b"", b"hello", b"abcde", b""] == [exchange.content for exchange in stage.exchanges]
    assert ANSWER * 4 == wire.value()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: click.example.com\r\nA B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: click.example.com\r\nA: b\r\n c\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: click.example.com\r\n" + b"A: b\r\n" * 6000, 431),
    ],
)
def test_bad_request_is_refused_and_the_connection_lingers(sent: bytes, status: int) -> None:
    """
    What leaves the framing in doubt is answered, the upstream never sees it, and the answer can be read.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(sent + GET)
    assert (b"HTTP/1.1 %d " % status, "half") == (wire.value()[:13], wire.end)
    assert b"Connection: close\r\n" in wire.value()
    assert ([], [status]) == (stage.exchanges, [status for status, _ in stage.logged])


def test_refused_head_is_logged_with_its_request_line() -> None:
    """
    A 400 has in the access log what is known of the request, as nginx has it.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(b"GET /x HTTP/1.1\r\nno field\r\n\r\n")
    assert b"GET /x HTTP/1.1" == stage.log.entries[0].request_line


def test_unknown_host_gets_421_and_keeps_the_connection() -> None:
    """
    A misdirected request is refused without harm to the next one.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"GET / HTTP/1.1\r\nHost: stranger.example\r\n\r\n")
    assert b"HTTP/1.1 421 " == wire.taken()[:13]
    connection.dataReceived(GET)
    assert 1 == len(stage.exchanges)


def test_host_that_the_certificate_does_not_cover_gets_421() -> None:
    """
    Over TLS the certificate decides which hosts a connection is for.
    """
    stage = Stage()
    connection, wire = stage.connect(TlsWire("other.example.com"))
    connection.dataReceived(GET)
    assert (b"HTTP/1.1 421 ", []) == (wire.value()[:13], stage.exchanges)


def test_challenge_is_answered() -> None:
    """
    An open http-01 token is answered here, whatever the Host.
    """
    stage = Stage(tokens={"token": "token.thumbprint"})
    connection, wire = stage.connect()
    connection.dataReceived(b"GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert wire.value().endswith(b"\r\n\r\ntoken.thumbprint")
    assert ("lost", [(200, 16)]) == (wire.end, stage.logged)


def test_upstream_is_told_scheme_and_peer() -> None:
    """
    The peer's address reaches the upstream, an IPv4 one as such.
    """
    stage = Stage()
    connection, _ = stage.connect(TlsWire(peer=IPv6Address("TCP", "::ffff:192.0.2.9", 1)))
    connection.dataReceived(GET)
    assert b"X-Forwarded-For: 192.0.2.9\r\n" in stage.exchanges[0].head_bytes
    assert b"X-Forwarded-Proto: https\r\n" in stage.exchanges[0].head_bytes


# -- persistence and pipelining


def test_ten_thousand_pipelined_requests_are_answered_in_order_in_bounded_memory() -> None:
    """
    A client that pipelines without end is read only as far as it is answered.
    """
    stage = Stage()
    connection, wire = stage.connect()
    unread = [b"GET /%d HTTP/1.1\r\nHost: click.example.com\r\n\r\n" % number for number in range(10_000)]
    answered = 0
    largest = 0
    while answered < 10_000:
        while unread and wire.reading:
            connection.dataReceived(b"".join(unread[:200]))
            del unread[:200]
        largest = max(largest, len(connection._buffer))
        assert answered + 1 == len(stage.exchanges)
        assert b"/%d" % answered == stage.exchanges[answered].request.target
        stage.exchanges[answered].answer(OK, b"ok")
        answered += 1
    assert ANSWER * 10_000 == wire.value()
    assert largest < PIPELINED_BYTES + 16384


def test_answers_at_once_do_not_nest() -> None:
    """
    A thousand requests in one read, each answered at once, are no thousand calls deep.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    connection.dataReceived(GET * 1500)
    assert 1500 == len(stage.exchanges)
    assert ANSWER * 1500 == wire.value()


def test_requests_wait_while_the_client_does_not_read() -> None:
    """
    Nothing new is begun while answers pile up; reading what is there goes on in bounds.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    wire.full_bytes = 100
    connection.dataReceived(GET * 2000)
    assert (3, False) == (len(stage.exchanges), wire.reading)
    for _ in range(1000):
        wire.take_all()
    assert (2000, True) == (len(stage.exchanges), wire.reading)


@pytest.mark.parametrize(
    ("request_head", "connection_field", "end"),
    [
        (b"GET / HTTP/1.1\r\nHost: click.example.com\r\n\r\n", None, "open"),
        (b"GET / HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n\r\n", b"close", "lost"),
        (b"GET / HTTP/1.0\r\nHost: click.example.com\r\n\r\n", b"close", "lost"),
        (b"GET / HTTP/1.0\r\nHost: click.example.com\r\nConnection: keep-alive\r\n\r\n", b"keep-alive", "open"),
    ],
)
def test_connection_persists_as_the_client_wishes(
    request_head: bytes, connection_field: bytes | None, end: str
) -> None:
    """
    RFC 9112 §9.3, for 1.1 and 1.0.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    connection.dataReceived(request_head)
    fields = dict(line.split(b": ", 1) for line in wire.value().split(b"\r\n")[1:3] if b": " in line)
    assert (connection_field, end) == (fields.get(b"Connection"), wire.end)


def test_what_follows_the_last_request_is_thrown_away() -> None:
    """
    After Connection: close nothing is answered, and the client can still read.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    connection.dataReceived(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + GET)
    assert (1, "half") == (len(stage.exchanges), wire.end)


# -- content


def test_content_is_streamed_as_it_comes() -> None:
    """
    A request is forwarded before its content is complete.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 6\r\n\r\nabc")
    exchange = stage.exchanges[0]
    assert (b"abc", []) == (exchange.content, exchange.events)
    connection.dataReceived(b"def")
    assert (b"abcdef", ["end"]) == (exchange.content, exchange.events)


def test_trailers_are_passed_on_with_the_end() -> None:
    """
    Each request's own, in one read or in many.
    """
    stage = Stage()
    connection, _ = stage.connect()
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    connection.dataReceived(head + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    stage.exchanges[0].answer(OK, b"ok")
    for byte in head + b"3\r\nabc\r\n0\r\nx-sum:2\r\n\r\n":
        connection.dataReceived(bytes((byte,)))
    stage.exchanges[1].answer(OK, b"ok")
    connection.dataReceived(head + b"0\r\n\r\n")
    assert [[(b"X-Sum", b"1")], [(b"x-sum", b"2")], []] == [exchange.trailers for exchange in stage.exchanges]
    assert [["end"]] * 3 == [exchange.events for exchange in stage.exchanges]


def test_upgrade_is_dropped_and_the_content_is_not() -> None:
    """
    ``curl --http2`` sends Upgrade with its POST.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc")
    assert b"Upgrade" not in stage.exchanges[0].head_bytes
    assert b"abc" == stage.exchanges[0].content


def test_continue_is_sent_when_the_client_waits_for_it() -> None:
    """
    100 is ours to say once the request is forwarded (RFC 9110 §10.1.1).
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == wire.taken()
    connection.dataReceived(b"abc")
    stage.exchanges[0].answer(OK, b"ok")
    assert ANSWER == wire.value()


@pytest.mark.parametrize(
    ("head", "tracking"),
    [
        (POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", None),
        (POST.replace(b"click", b"other") + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", None),
        (POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", fails_with(503)),
    ],
    ids=["content is there", "refused", "upstream failed at once"],
)
def test_continue_is_not_sent_in_vain(head: bytes, tracking: Callable[[PlayedExchange], None] | None) -> None:
    """
    No 100 when the content came along, or when it isn't wanted.
    """
    stage = Stage()
    stage.tracking = tracking
    connection, wire = stage.connect()
    connection.dataReceived(head)
    assert b" 100 " not in wire.value()


@pytest.mark.parametrize("body", [b"zz\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"-1\r\n\r\n", b"F" * 17 + b"\r\n"])
def test_bad_chunks_in_the_first_read_reach_no_upstream(body: bytes) -> None:
    """
    A broken chunk that is there with the head is refused before the upstream hears of the request.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + GET)
    assert (b"HTTP/1.1 400 ", "half", []) == (wire.value()[:13], wire.end, stage.exchanges)


def test_bad_chunks_later_end_the_exchange() -> None:
    """
    A broken chunk that comes later takes the upstream's request back and is refused.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    connection.dataReceived(b"zz\r\n" + GET)
    assert (["abandon"], 1) == (stage.exchanges[0].events, len(stage.exchanges))
    assert (b"HTTP/1.1 400 ", "half") == (wire.value()[:13], wire.end)


def test_chunked_content_over_the_limit_gets_413() -> None:
    """
    body_bytes holds for content whose length isn't known ahead.
    """
    stage = Stage(LimitsConfig(body_bytes=4))
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    connection.dataReceived(b"2\r\nde\r\n")
    assert (["abandon"], b"HTTP/1.1 413 ") == (stage.exchanges[0].events, wire.value()[:13])


def test_announced_content_over_the_limit_gets_413() -> None:
    """
    body_bytes is checked before anything is forwarded.
    """
    stage = Stage(LimitsConfig(body_bytes=4))
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 5\r\n\r\n")
    assert ([], b"HTTP/1.1 413 ") == (stage.exchanges, wire.value()[:13])


def test_slow_upstream_stops_the_reading_of_content() -> None:
    """
    Back-pressure upwards: what the upstream doesn't take isn't read.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 1000)
    stage.exchanges[0].downstream.pause_request()
    assert not wire.reading
    stage.exchanges[0].downstream.resume_request()
    assert wire.reading


def test_upstream_that_never_resumed_does_not_hold_the_next_request() -> None:
    """
    A pause belongs to its exchange.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 3\r\n\r\nab")
    stage.exchanges[0].downstream.pause_request()
    connection.dataReceived(b"c")
    stage.exchanges[0].answer(OK, b"ok")
    assert wire.reading
    connection.dataReceived(POST + b"Content-Length: 3\r\n\r\nab")
    assert wire.reading


def test_slow_client_stops_the_reading_of_the_answer() -> None:
    """
    Back-pressure downwards: what the client doesn't take isn't read from the upstream.
    """
    stage = Stage()
    connection, wire = stage.connect()
    wire.full_bytes = 1000
    connection.dataReceived(GET)
    exchange = stage.exchanges[0]
    exchange.begin(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x" * 2000)
    assert ["pause"] == exchange.events
    wire.take_all()
    assert ["pause", "resume"] == exchange.events


# -- early answers and lingering


def test_early_answer_closes_for_writing_and_reads_on() -> None:
    """
    An answer before the end of the content is the last one, and the rest of the content is thrown away.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
    stage.exchanges[0].downstream.pause_request()
    stage.exchanges[0].answer(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n", b"no")
    assert b"Connection: close\r\n" in wire.value()
    assert ("half", True) == (wire.end, wire.reading)
    connection.dataReceived(b"x" * 100_000)
    connection.readConnectionLost()
    assert "lost" == wire.end


def test_lingering_is_bounded_in_bytes() -> None:
    """
    A client that sends for ever after its answer is cut off.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"broken\r\n\r\n")
    for _ in range(LINGER_BYTES // 65536 + 1):
        connection.dataReceived(b"x" * 65536)
    assert "aborted" == wire.end


def test_lingering_is_bounded_in_time() -> None:
    """
    A client that never closes is cut off, counted from when the answer was out.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"broken\r\n\r\n")
    stage.clock.advance(LINGER_SECONDS + 1)
    assert "half" == wire.end
    connection.writeConnectionLost()
    stage.clock.advance(LINGER_SECONDS + 1)
    assert "aborted" == wire.end


def test_lingering_over_tls_is_the_transports() -> None:
    """
    What is thrown away need not be decrypted.
    """
    stage = Stage()
    wire = TlsWire()
    connection, _ = stage.connect(wire)
    connection.dataReceived(b"broken\r\n\r\n")
    assert (True, "lost") == (wire.lingers, wire.end)


# -- failures


@pytest.mark.parametrize("status", [502, 503, 504])
def test_failed_upstream_gives_its_status_and_keeps_the_connection(status: int) -> None:
    """
    The client's framing isn't in doubt when the upstream failed.
    """
    stage = Stage()
    stage.tracking = fails_with(status)
    connection, wire = stage.connect()
    connection.dataReceived(GET + GET)
    assert 2 == wire.value().count(b"HTTP/1.1 %d " % status)
    assert ("open", 2) == (wire.end, stage.counters.upstream_errors)
    assert b"sptls" not in wire.value().lower()


def test_answer_that_breaks_off_aborts_the_connection() -> None:
    """
    A part of an answer is never passed off as the whole.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].begin(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"12345")
    fails_with(502)(stage.exchanges[0])
    assert ("aborted", [(200, 5)]) == (wire.end, stage.logged)


def test_client_that_leaves_is_logged_as_499_and_the_upstream_told() -> None:
    """
    Nobody waits for an answer that nobody wants.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(GET)
    lost(connection)
    assert (["abandon"], [(499, 0)]) == (stage.exchanges[0].events, stage.logged)
    assert set() == stage.gateway.connections


def test_client_that_leaves_in_the_middle_is_logged_with_what_it_got() -> None:
    """
    Once an answer was begun its status stands.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].begin(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"12345")
    lost(connection)
    assert [(200, 5)] == stage.logged


def test_half_closed_client_gets_its_answers() -> None:
    """
    A client that sends FIN after its requests is answered, all of them.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET + GET)
    connection.readConnectionLost()
    stage.exchanges[0].answer(OK, b"ok")
    stage.exchanges[1].answer(OK, b"ok")
    assert ANSWER + OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"ok" == wire.value()
    assert "lost" == wire.end


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b""), (b"GET / HT", b"HTTP/1.1 400 "), (POST + b"Content-Length: 3\r\n\r\na", b"HTTP/1.1 400 ")],
)
def test_half_closed_client_with_half_a_request_is_refused(sent: bytes, answer: bytes) -> None:
    """
    What ends too early is no request.
    """
    stage = Stage()
    connection, wire = stage.connect()
    if sent:
        connection.dataReceived(sent)
    connection.readConnectionLost()
    assert (answer, "lost") == (wire.value()[:13], wire.end)


def test_fault_in_handling_a_request_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever goes wrong in here, the client isn't left hanging.
    """
    stage = Stage()
    connection, wire = stage.connect()
    monkeypatch.setattr(stage.gateway, "upstreams", None)
    connection.dataReceived(GET)
    assert "aborted" == wire.end


def test_fault_at_a_deadline_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No deadline is left then that could end it.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"GET / HT")
    monkeypatch.setattr(stage.gateway, "counters", None)
    stage.clock.advance(30)
    assert "aborted" == wire.end


# -- deadlines


@pytest.mark.parametrize(
    ("sent", "seconds", "answer"),
    [
        (b"", 20, b""),
        (b"GET / HT", 20, b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 3\r\n\r\na", BODY_SECONDS, b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "half a head", "half the content"],
)
def test_slow_client_meets_its_deadline(sent: bytes, seconds: float, answer: bytes) -> None:
    """
    Each thing that a client is waited for has its time, and not less.
    """
    stage = Stage()
    connection, wire = stage.connect()
    if sent:
        connection.dataReceived(sent)
    stage.clock.advance(seconds - 1)
    assert "open" == wire.end
    stage.clock.advance(2)
    assert answer == wire.value()[:13]
    assert wire.end in {"lost", "half"}


def test_dripping_head_is_no_progress() -> None:
    """
    The head's deadline counts from the connection's start, however many bytes come.
    """
    stage = Stage()
    connection, wire = stage.connect()
    for byte in GET[:30]:
        connection.dataReceived(bytes([byte]))
        stage.clock.advance(0.7)
    assert b"HTTP/1.1 408 " == wire.value()[:13]


def test_slow_content_is_progress() -> None:
    """
    Content may take as long as enough of it keeps coming.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 1000000\r\n\r\n")
    for _ in range(5):
        stage.clock.advance(BODY_SECONDS - 1)
        connection.dataReceived(b"a" * BODY_BYTES)
    assert "open" == wire.end


def test_dripping_content_is_no_progress() -> None:
    """
    A byte now and then keeps nobody's connection, nor the upstream's.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 1000\r\n\r\n")
    for _ in range(int(BODY_SECONDS) + 1):
        stage.clock.advance(1)
        connection.dataReceived(b"a")
    assert (b"HTTP/1.1 408 ", "abandon") == (wire.value()[:13], stage.exchanges[0].events[-1])


def test_idle_connection_meets_its_deadline() -> None:
    """
    A kept connection is closed without a word after idle_seconds, counted from the last answer.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    for _ in range(3):
        connection.dataReceived(GET)
        stage.clock.advance(59)
    assert "open" == wire.end
    wire.taken()
    stage.clock.advance(2)
    assert (b"", "lost") == (wire.taken(), wire.end)


def test_line_end_too_many_begins_no_request() -> None:
    """
    A client that ends its request with an empty line more (RFC 9112 §2.2) is idle then; it is owed no 408 and no 400.
    """
    stage = Stage()
    stage.tracking = _answers
    (waits, wire), (leaves, other_wire) = stage.connect(), stage.connect()
    for connection in (waits, leaves):
        connection.dataReceived(GET + b"\r\n")
    answers = wire.taken(), other_wire.taken()
    leaves.readConnectionLost()
    stage.clock.advance(59)
    assert "open" == wire.end
    stage.clock.advance(2)
    assert (2, b"", b"") == (len(stage.exchanges), wire.taken(), other_wire.taken())
    assert (answers[0], "lost", "lost") == (answers[1], wire.end, other_wire.end)
    assert [200, 200] == [status for status, _ in stage.logged]


def test_waiting_for_the_upstream_has_no_deadline_here() -> None:
    """
    The upstream's own deadlines end that.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    stage.clock.advance(10_000)
    assert "open" == wire.end


def test_client_that_takes_nothing_meets_its_deadline() -> None:
    """
    An answer that isn't read for too long is given up.
    """
    stage = Stage()
    connection, wire = stage.connect()
    wire.full_bytes = 100
    connection.dataReceived(GET)
    stage.exchanges[0].begin(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x" * 2000)
    stage.clock.advance(WRITE_SECONDS + 1)
    assert "aborted" == wire.end
    lost(connection)
    assert ["pause", "abandon"] == stage.exchanges[0].events


def test_closing_is_bounded_too() -> None:
    """
    A client that doesn't take its last answer isn't waited for without end.
    """
    stage = Stage()
    stage.tracking = _answers
    connection, wire = stage.connect()
    connection.dataReceived(GET.replace(b"1.1", b"1.0", 1))
    assert "lost" == wire.end
    stage.clock.advance(WRITE_SECONDS + 1)
    assert "aborted" == wire.end


# -- the end of the daemon


def test_finishing_closes_idle_connections_and_lets_exchanges_end() -> None:
    """
    finish_soon is now for who is idle, and after the answer for the others.
    """
    stage = Stage()
    (idle, idle_wire), (busy, busy_wire) = stage.connect(), stage.connect()
    idle.dataReceived(GET)
    stage.exchanges.pop().answer(OK, b"ok")
    busy.dataReceived(GET)
    idle.finish_soon()
    busy.finish_soon()
    assert ("lost", "open") == (idle_wire.end, busy_wire.end)
    stage.exchanges[0].answer(OK, b"ok")
    assert b"Connection: close\r\n" in busy_wire.value()
    assert "lost" == busy_wire.end


def test_finishing_waits_for_the_first_request_that_is_on_its_way() -> None:
    """
    A client that has just connected gets one answer, also one that connects later; one that says nothing is closed.
    """
    stage = Stage()
    stage.tracking = _answers
    (click, click_wire), (silent, silent_wire) = stage.connect(), stage.connect()
    stage.gateway.finishing = True
    click.finish_soon()
    silent.finish_soon()
    late, late_wire = stage.connect()
    assert ("open", "open") == (click_wire.end, silent_wire.end)
    for connection in (click, late):
        connection.dataReceived(GET[:10])
        connection.dataReceived(GET[10:])
    stage.clock.advance(FIRST_SECONDS + 1)
    assert ("lost", "lost", "lost") == (click_wire.end, late_wire.end, silent_wire.end)
    assert (b"HTTP/1.1 200 ", b"HTTP/1.1 200 ", b"") == (
        click_wire.value()[:13],
        late_wire.value()[:13],
        silent_wire.value(),
    )


def test_finishing_after_the_head_closes_after_the_answer() -> None:
    """
    An answer that has said keep-alive already is still the last.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].begin(OK)
    connection.finish_soon()
    stage.exchanges[0].downstream.response_data(b"ok")
    stage.exchanges[0].downstream.response_end()
    assert (ANSWER, "lost") == (wire.value(), wire.end)


@pytest.mark.parametrize("at_once", [True, False])
def test_close_after_the_last_answer(at_once: bool) -> None:
    """
    Over TLS a connection whose answer is out is over at once; one whose answer is not keeps its deadline until it is.
    """
    stage = Stage()
    wire = TlsWire()
    wire.closes_at_once = at_once
    connection, _ = stage.connect(wire)
    connection.dataReceived(GET[:-2] + b"Connection: close\r\n\r\n")
    stage.exchanges[0].answer(OK, b"ok")
    assert (True, at_once) == (wire.disconnecting, not stage.gateway.connections)


# -- what is held


def test_what_a_client_has_in_memory_is_in_the_account() -> None:
    """
    A head that isn't complete, requests that wait, an answer that isn't taken; nothing where all goes its way.
    """
    stage = Stage()
    held = stage.gateway.held
    connection, wire = stage.connect(TlsWire())
    connection.dataReceived(GET[:10])
    sizes = [held.total_bytes]
    connection.dataReceived(GET[10:])
    sizes.append(held.total_bytes)
    connection.dataReceived(GET)
    sizes.append(held.total_bytes)
    wire.full_bytes = 1000
    stage.exchanges[0].begin(OK, bytes(2000))
    sizes.append(held.total_bytes - wire.unsent_bytes)
    assert [10, 0, len(GET), len(GET)] == sizes
    stage.exchanges[0].downstream.response_end()
    wire.take_all()
    assert 0 == held.total_bytes


def test_answer_that_is_not_taken_is_in_the_account_without_tls_too() -> None:
    """
    Twisted's transport doesn't say how much it holds: at least so much when it has paused the answer.
    """
    stage = Stage()
    connection, wire = stage.connect()
    wire.full_bytes = 1000
    connection.dataReceived(GET)
    stage.exchanges[0].begin(OK, bytes(2000))
    before = stage.gateway.held.total_bytes
    wire.take_all()
    assert (PAUSED_BYTES, 0) == (before, stage.gateway.held.total_bytes)


def test_client_for_whom_too_much_is_held_is_cut_off() -> None:
    """
    Its upstream's connection is free, and the other clients' answers are theirs.
    """
    stage = Stage()
    stage.gateway.held = HeldContent(stage.clock.callLater, stage.clock.seconds, stage.counters, 3 * PAUSED_BYTES)
    wires = []
    for _ in range(4):
        connection, wire = stage.connect()
        wire.full_bytes = 1000
        connection.dataReceived(GET)
        stage.exchanges[-1].begin(OK, bytes(2000))
        stage.clock.advance(1)
        wires.append(wire)
        if wire.aborted:
            lost(connection)
    assert (["aborted", "aborted", "open", "open"], 2) == ([wire.end for wire in wires], stage.counters.held_too_much)


def test_upload_for_which_too_much_is_held_is_refused() -> None:
    """
    With an answer, which its client can read; what was sent is gone with its exchange.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 100\r\n\r\nabc")
    stage.exchanges[0].held_bytes = 3
    connection.dataReceived(b"def")
    held = stage.gateway.held.total_bytes
    connection.let_go()
    assert (3, b"HTTP/1.1 503 ", "half") == (held, wire.value()[:13], wire.end)
    assert (["abandon"], [503]) == (stage.exchanges[0].events, [status for status, _ in stage.logged])
