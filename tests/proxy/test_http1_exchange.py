from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest
from zope.interface.verify import verifyObject

from sptls.addresses import Networks
from sptls.config import LimitsConfig
from sptls.errors import UpstreamError
from sptls.interfaces import IDownstream
from sptls.proxy.http1_exchange import Http1Exchange
from sptls.proxy.log_line import LogEntry, combined
from tests.proxy.wire import CLICK, GET, OK, POST, SITE, Stage, TlsWire, fails_with, response_head

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


def test_provides_the_clients_side() -> None:
    """
    An exchange is what upstreams expect.
    """
    connection, _ = Stage().connect()
    assert verifyObject(IDownstream, Http1Exchange(connection, None, b""))


@pytest.mark.parametrize("raw", [CHUNKED, UNTIL_CLOSE])
def test_content_of_unknown_length_is_chunked_in_one_write(raw: bytes) -> None:
    """
    Head, chunk and last chunk leave together when they come together.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].answer(raw, b"hello")
    assert [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"] == wire.writes
    assert ("open", [(200, 15)]) == (wire.end, stage.logged)


SUMMED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-own\r\nTrailer: X-Sum\r\n\r\n"


def summed(stage: Stage, raw: bytes) -> None:
    """
    Answer with trailers.
    """
    downstream = stage.exchanges[0].downstream
    downstream.response_head(response_head(raw))
    downstream.response_data(b"hello")
    downstream.response_trailers([(b"X-Sum", b"1"), (b"Set-Cookie", b"a=b"), (b"X-Own", b"2")])
    downstream.response_end()


def test_trailers_go_behind_the_last_chunk() -> None:
    """
    Those that may, with the field that announces them, and counted as what they are: not the head's.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    summed(stage, SUMMED)
    head = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert [head + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"] == wire.writes
    assert [(200, 25)] == stage.logged


def test_trailers_have_no_place_behind_content_without_chunks() -> None:
    """
    Nor has what announces them.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"GET /f HTTP/1.0\r\nHost: click.example.com\r\n\r\n")
    summed(stage, SUMMED)
    assert b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello" == wire.value()


@pytest.mark.parametrize("raw", [CHUNKED, UNTIL_CLOSE])
def test_content_of_unknown_length_ends_with_the_connection_for_http_1_0(raw: bytes) -> None:
    """
    A 1.0 client is never sent chunks, and its keep-alive is not granted then.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"GET /f HTTP/1.0\r\nHost: click.example.com\r\nConnection: keep-alive\r\n\r\n")
    stage.exchanges[0].answer(raw, b"hello")
    assert (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", "lost") == (wire.value(), wire.end)


def test_content_is_passed_on_piece_by_piece() -> None:
    """
    What is there is written at each flush, and nothing twice.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    exchange = stage.exchanges[0]
    exchange.begin(CHUNKED)
    exchange.downstream.response_data(b"a")
    exchange.downstream.response_data(b"b")
    exchange.downstream.response_flush()
    exchange.downstream.response_flush()
    exchange.downstream.response_end()
    assert [CHUNKED, b"1\r\na\r\n1\r\nb\r\n", b"0\r\n\r\n"] == wire.writes


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_answer_without_content_keeps_the_connection(method: bytes, raw: bytes) -> None:
    """
    HEAD, 204 and 304 have no content whatever their fields say.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET.replace(b"GET", method))
    stage.exchanges[0].answer(raw)
    assert (raw, "open") == (wire.value(), wire.end)


def test_head_of_an_error_page_has_no_content() -> None:
    """
    Our own answers to HEAD have none either.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(b"HEAD / HTTP/1.1\r\nHost: x.example\r\n\r\n")
    assert wire.value().endswith(b"\r\n\r\n")
    assert [(421, 0)] == stage.logged


def test_failure_before_anything_was_written_is_an_error_page() -> None:
    """
    A head that hasn't left yet can be taken back.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    downstream = stage.exchanges[0].downstream
    downstream.response_head(response_head(OK))
    downstream.response_data(b"o")
    downstream.response_failed(UpstreamError(502, "broke"))
    assert b"HTTP/1.1 502 " == wire.value()[:13]
    downstream.response_failed(UpstreamError(502, "broke"))
    assert 1 == len(stage.log.entries)


def test_log_line_has_the_guides_shape() -> None:
    """
    Every fact of nginx's combined format comes from the exchange.
    """
    stage = Stage()
    connection, _ = stage.connect(TlsWire())
    connection.dataReceived(
        b"GET /q/x HTTP/1.1\r\nHost: click.example.com\r\nReferrer: no\r\nreferer: http://a/\r\n"
        b"user-agent: Mail/1\r\nUser-Agent: second\r\nX-10-bytes: z\r\n\r\n"
    )
    stage.clock.advance(0.25)
    stage.exchanges[0].answer(OK, b"ok")
    (entry,) = stage.log.entries
    assert (
        LogEntry(
            1603396784.25,
            b"192.0.2.7",
            CLICK.encode(),
            b"GET /q/x HTTP/1.1",
            200,
            2,
            b"http://a/",
            b"Mail/1",
            0.25,
            True,
        )
        == entry
    )
    assert b'"GET /q/x HTTP/1.1" 200 2 "http://a/" "Mail/1"' in combined(entry)


def test_answers_are_counted_by_class() -> None:
    """
    The status page knows how many of each there were.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].answer(OK, b"ok")
    connection.dataReceived(b"broken\r\n\r\n")
    counters = stage.counters
    assert (1, 1, 2, 1) == (counters.answers[2], counters.answers[4], counters.requests, counters.error_pages)


def test_pause_while_nothing_is_pumped_is_heeded_at_once() -> None:
    """
    The upstream may ask for a pause at any moment.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 9\r\n\r\nabc")
    stage.exchanges[0].downstream.pause_request()
    assert not wire.reading


def redirecting() -> Stage:
    """
    Give a gateway that sends its one domain to HTTPS.
    """
    stage = Stage(site=attrs.evolve(SITE, redirect_http=True))
    stage.gateway.has_certificate = lambda host: host == CLICK.encode()
    return stage


def test_redirect_is_a_small_page_that_is_not_kept() -> None:
    """
    The connection is; nothing tells who answered, and no error is counted.
    """
    stage = redirecting()
    connection, wire = stage.connect()
    connection.dataReceived(GET + GET.replace(b"GET", b"HEAD"))
    head = (
        b"HTTP/1.1 308 Permanent Redirect\r\nDate: Thu, 22 Oct 2020 19:59:44 GMT\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 69\r\n"
        b"Location: https://click.example.com/f/a\r\nCache-Control: no-store\r\n\r\n"
    )
    page = b"308 Permanent Redirect\n\nThis page is at the same address with https.\n"
    assert (head + page + head, "open") == (wire.value(), wire.end)
    assert ([(308, len(page)), (308, 0)], [], 0) == (stage.logged, stage.exchanges, stage.counters.error_pages)


def test_redirect_of_a_request_with_content_reads_none_of_it() -> None:
    """
    The client may still be sending; it will again, to the other port.
    """
    stage = redirecting()
    connection, wire = stage.connect()
    connection.dataReceived(POST + b"Content-Length: 9\r\n\r\nabc")
    assert wire.value().startswith(b"HTTP/1.1 308 ")
    assert b"Connection: close\r\n" in wire.value()
    connection.dataReceived(b"defghi" + GET)
    assert ([(308, 69)], []) == (stage.logged, stage.exchanges)


@pytest.mark.parametrize(("field", "gathered_from"), [(b"", None), (b"Connection: close\r\n", 0)])
def test_answer_before_a_close_is_gathered_with_it(field: bytes, gathered_from: int | None) -> None:
    """
    Over TLS the last write and the close make one packet; a kept connection's answers never wait.
    """
    stage = Stage()
    wire = TlsWire()
    connection, _ = stage.connect(wire)
    connection.dataReceived(GET[:-2] + field + b"\r\n")
    stage.exchanges[0].answer(OK, b"ok")
    assert (gathered_from, 1) == (wire.gathered_from, len(wire.writes))


PROXIED = GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n"


def test_a_trusted_proxys_client_goes_upstream() -> None:
    """
    With the scheme that it spoke; from anybody else both are the connection's.
    """
    stage = Stage()
    connection, _ = stage.connect()
    connection.dataReceived(PROXIED)
    stage.gateway.trusted_proxies = Networks([ip_network("192.0.2.0/24")])
    connection, _ = stage.connect()
    connection.dataReceived(PROXIED)
    stranger, believed = (exchange.head_bytes for exchange in stage.exchanges)
    assert stranger.endswith(b"\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\r\n")
    assert believed.endswith(b"\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n")


def test_a_client_that_came_by_https_is_not_redirected() -> None:
    """
    Not by a proxy that takes TLS off: it would come back by http for ever.
    """
    stage = redirecting()
    stage.gateway.trusted_proxies = Networks([ip_network("192.0.2.0/24")])
    connection, wire = stage.connect()
    connection.dataReceived(PROXIED)
    assert b"" == wire.value()
    connection, wire = stage.connect()
    connection.dataReceived(PROXIED.replace(b"https", b"http"))
    assert wire.value().startswith(b"HTTP/1.1 308 ")


@pytest.mark.parametrize(
    ("proto", "tls", "expected"),
    [
        (b"", True, True),
        (b"", False, False),
        (b"http", True, False),
        (b"https", False, True),
    ],
)
def test_hsts_where_the_client_speaks_tls(proto: bytes, tls: bool, expected: bool) -> None:
    """
    RFC 6797 §7.2: never over plain HTTP, nor the service's own; a trusted proxy knows better what the client speaks.
    """
    stage = Stage(site=attrs.evolve(SITE, hsts=b"max-age=60"))
    if proto:
        stage.gateway.trusted_proxies = Networks([ip_network("192.0.2.0/24")])
    connection, wire = stage.connect(TlsWire() if tls else None)
    connection.dataReceived(PROXIED.replace(b"https", proto or b"x"))
    stage.exchanges[0].answer(
        b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 2\r\n\r\n", b"ok"
    )
    fields = [b"Strict-Transport-Security: max-age=60\r\n"] if expected else []
    assert fields == [line for line in wire.value().splitlines(keepends=True) if b"Strict" in line]


def pages(hsts: bytes | None, wire: TlsWire | None, sent: bytes, status: int | None = None) -> list[bytes]:
    """
    Give the HSTS fields of the error page that *sent* gets; *status* is the upstream's failure.
    """
    stage = Stage(LimitsConfig(body_bytes=3), site=attrs.evolve(SITE, hsts=hsts))
    if status is not None:
        stage.tracking = fails_with(status)
    connection, sent_to = stage.connect(wire)
    connection.dataReceived(sent)
    assert sent_to.value().startswith(b"HTTP/1.1 %d " % stage.log.entries[0].status)
    return [line for line in sent_to.value().split(b"\r\n") if line.lower().startswith(b"strict-transport-security:")]


TOO_MUCH = POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"


@pytest.mark.parametrize(
    ("sent", "status"), [(GET, 502), (GET, 503), (GET.replace(b"GET", b"TRACE"), None), (TOO_MUCH, None)]
)
def test_our_own_answers_for_a_domain_have_its_hsts(sent: bytes, status: int | None) -> None:
    """
    RFC 6797 §7.1: with every answer over TLS; none over plain HTTP, nor where the domain has none.
    """
    assert [b"Strict-Transport-Security: max-age=60"] == pages(b"max-age=60", TlsWire(), sent, status)
    assert [] == pages(b"max-age=60", None, sent, status)
    assert [] == pages(None, TlsWire(), sent, status)


@pytest.mark.parametrize("sent", [GET.replace(b"click", b"other"), b"GET\r\n\r\n"])
def test_an_answer_that_is_no_domains_has_none(sent: bytes) -> None:
    """
    Not a 421, nor to a request that can't be read.
    """
    assert [] == pages(b"max-age=60", TlsWire(), sent)


def test_time_that_is_left_is_the_connections() -> None:
    """
    Its client takes nothing.
    """
    stage = Stage()
    connection, wire = stage.connect()
    wire.full_bytes = 10
    connection.dataReceived(GET)
    exchange = stage.exchanges[0]
    before = exchange.downstream.seconds_left
    exchange.begin(OK, bytes(100))
    assert (0.0, True) == (before, exchange.downstream.seconds_left > 0)
