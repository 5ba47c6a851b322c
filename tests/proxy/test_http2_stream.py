from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest
from zope.interface.verify import verifyObject

from sptls.addresses import Networks
from sptls.config import LimitsConfig
from sptls.errors import UpstreamError
from sptls.interfaces import IDownstream
from sptls.proxy.gateway import BODY_BYTES, BODY_SECONDS, WRITE_SECONDS
from sptls.proxy.http2_stream import Http2Stream
from sptls.proxy.log_line import combined
from sptls.proxy.route import Redirect
from tests.proxy.http2_client import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    PADDED,
    PROTOCOL_ERROR,
    RST_STREAM,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Http2Client,
    data,
    frame,
    window_update,
)
from tests.proxy.wire import OK, SITE, PlayedExchange, Stage, fails_with, response_head

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _post(stage: Stage, *fields: tuple[bytes, bytes]) -> Http2Client:
    """
    Give a client that has begun a POST on stream 1.
    """
    client = Http2Client(stage)
    client.send(client.request(1, *fields, method=b"POST", ends=False))
    return client


def test_provides_the_clients_side() -> None:
    """
    A stream is what upstreams expect.
    """
    client = Http2Client(Stage())
    assert verifyObject(IDownstream, Http2Stream(client.connection.session, 1, None, b"", ended=True))


# -- the answer


def test_small_answer_is_one_write() -> None:
    """
    Head and content leave together, and the stream is over.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    client.said()
    stage.exchanges[0].answer(OK, b"ok")
    assert 1 == len(client.wire.writes)
    head, content = client.said()
    assert (HEADERS, 1, False, {b":status": b"200", b"content-length": b"2"}) == (
        head.kind,
        head.stream_id,
        head.ends,
        head.fields,
    )
    assert (DATA, 1, True, b"ok") == (content.kind, content.stream_id, content.ends, content.payload)
    assert ([(200, 2)], {}) == (stage.logged, client.connection.session.streams)


def test_fields_of_an_answer_are_lower_case_and_its_own() -> None:
    """
    What concerns the upstream's connection stays there (RFC 9113 §8.2.2).
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    stage.exchanges[0].answer(
        b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"Transfer-Encoding: chunked\r\nDate: now\r\nSet-Cookie: a=b\r\n\r\n",
        b"abc",
    )
    head, content = client.said()[-2:]
    assert {b":status": b"302", b"location": b"http://x/", b"date": b"now", b"set-cookie": b"a=b"} == head.fields
    assert (b"abc", True) == (content.payload, content.ends)


@pytest.mark.parametrize(
    ("method", "raw", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n", b"43"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"0"),
    ],
)
def test_answer_without_content_is_one_frame(method: bytes, raw: bytes, length: bytes | None) -> None:
    """
    HEADERS ends the stream.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, method=method))
    stage.exchanges[0].answer(raw)
    (head,) = client.said()
    assert (HEADERS, True, length) == (head.kind, head.ends, head.fields.get(b"content-length"))
    assert [(int(raw[9:12]), 0)] == stage.logged


def test_content_is_passed_on_piece_by_piece() -> None:
    """
    What is there is sent at each flush, and nothing twice.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    exchange = stage.exchanges[0]
    exchange.begin(CHUNKED)
    assert [HEADERS] == [one.kind for one in client.said()]
    exchange.downstream.response_data(b"a")
    exchange.downstream.response_data(b"b")
    exchange.downstream.response_flush()
    exchange.downstream.response_flush()
    exchange.downstream.response_end()
    assert [(b"ab", False), (b"", True)] == [(one.payload, one.ends) for one in client.said()]
    assert [] == exchange.events


def test_upstream_is_paused_while_the_window_is_used_up() -> None:
    """
    No more of a large answer is held than what was read already.
    """
    stage = Stage()
    client = Http2Client(stage, _4=5)
    client.send(client.request(1))
    exchange = stage.exchanges[0]
    exchange.begin(CHUNKED, b"abcdefg")
    assert (["pause"], b"abcde") == (exchange.events, client.said()[-1].payload)
    client.send(window_update(1, 1))
    assert (["pause"], b"f") == (exchange.events, client.said()[-1].payload)
    client.send(window_update(1, 1))
    assert (["pause", "resume"], b"g") == (exchange.events, client.said()[-1].payload)


def test_client_that_takes_nothing_loses_the_stream_in_time() -> None:
    """
    A window that isn't widened, or bit by bit, is a slow reader's.
    """
    stage = Stage()
    client = Http2Client(stage, _4=5)
    client.send(client.request(1))
    stage.exchanges[0].begin(CHUNKED, b"abcdefg")
    stage.clock.advance(WRITE_SECONDS / 2)
    client.send(window_update(1, 1))
    client.said()
    stage.clock.pump([WRITE_SECONDS / 4, WRITE_SECONDS / 4 + 0.5])
    assert [(RST_STREAM, 1, CANCEL)] == client.told()
    assert (["pause", "abandon"], [(200, 6)]) == (stage.exchanges[0].events, stage.logged)


def test_answer_that_is_complete_waits_for_its_window_alone() -> None:
    """
    The upstream is done with; the stream ends when all is sent.
    """
    stage = Stage()
    client = Http2Client(stage, _4=1)
    client.send(client.request(1))
    stage.exchanges[0].answer(OK, b"ok")
    client.said()
    assert ([], []) == (stage.exchanges[0].events, stage.logged)
    client.send(window_update(1, 1))
    assert [(DATA, b"k", True)] == [(one.kind, one.payload, one.ends) for one in client.said()]
    assert [(200, 2)] == stage.logged


def _summed(exchange: PlayedExchange, *content: bytes) -> None:
    """
    Answer with trailers.
    """
    downstream = exchange.downstream
    downstream.response_head(response_head(CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: x-own\r\n\r\n")))
    for piece in content:
        downstream.response_data(piece)
    downstream.response_trailers([(b"X-Sum", b"1"), (b"X-Own", b"2"), (b"Content-Length", b"3")])
    downstream.response_end()


SUM = {b"x-sum": b"1"}


@pytest.mark.parametrize(
    ("content", "kinds"), [([b"ab", b"c"], [(HEADERS, False), (DATA, False)]), ([], [(HEADERS, False)])]
)
def test_trailers_end_the_answer(content: list[bytes], kinds: list[tuple[int, bool]]) -> None:
    """
    Those that may go on, in lower case, with END_STREAM (RFC 9113 §8.1).
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    _summed(stage.exchanges[0], *content)
    *others, last = client.said()
    assert (kinds, HEADERS, True, SUM) == ([(one.kind, one.ends) for one in others], last.kind, last.ends, last.fields)
    assert [(200, len(b"".join(content)))] == stage.logged


def test_trailers_wait_for_the_content_before_them() -> None:
    """
    However small the client's window; the encoder's table is in order all the same.
    """
    stage = Stage()
    client = Http2Client(stage, _4=1)
    client.send(client.request(1), client.request(3))
    _summed(stage.exchanges[0], b"ab")
    stage.exchanges[1].answer(OK)
    stage.clock.advance(0)
    assert [(1, False), (1, False), (3, True)] == [(one.stream_id, one.ends) for one in client.said()]
    client.send(window_update(1, 1))
    content, last = client.said()
    assert (b"b", False, SUM, True) == (content.payload, content.ends, last.fields, last.ends)
    assert [(200, 0), (200, 2)] == stage.logged


def test_trailers_of_an_answer_that_comes_at_once() -> None:
    """
    It may come while the request is handed in.
    """
    stage = Stage()
    stage.tracking = lambda exchange: _summed(exchange, b"abc")
    client = Http2Client(stage, _4=1)
    client.send(client.request(1, method=b"POST", ends=False))
    assert [HEADERS, DATA] == [one.kind for one in client.said()]
    client.send(window_update(1, 9))
    assert [(DATA, False), (HEADERS, True), (RST_STREAM, False)] == [(one.kind, one.ends) for one in client.said()]


# -- failures


@pytest.mark.parametrize("status", [502, 504])
def test_failure_is_an_error_page(status: int) -> None:
    """
    Also where the upstream fails at once; the connection goes on.
    """
    stage = Stage()
    stage.tracking = fails_with(status)
    client = Http2Client(stage)
    client.send(client.request(1))
    head, content = client.said()
    assert (b"%d" % status, b"text/plain; charset=utf-8") == (head.fields[b":status"], head.fields[b"content-type"])
    assert b"connection" not in head.fields
    assert (True, b"%d " % status) == (content.ends, content.payload[:4])
    assert ([status], 1) == ([one for one, _ in stage.logged], stage.counters.error_pages)


def test_failure_after_the_head_resets_the_stream() -> None:
    """
    Nobody takes a part for the whole.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    stage.exchanges[0].begin(CHUNKED, b"abc")
    client.said()
    stage.exchanges[0].downstream.response_failed(UpstreamError(502, "broke"))
    assert [(RST_STREAM, 1, INTERNAL_ERROR)] == client.told()
    assert [(200, 3)] == stage.logged


def test_head_that_was_not_sent_is_taken_back() -> None:
    """
    Failing before the first flush is failing before the head.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    downstream = stage.exchanges[0].downstream
    downstream.response_head(response_head(OK))
    downstream.response_data(b"o")
    downstream.response_failed(UpstreamError(502, "broke"))
    downstream.response_failed(UpstreamError(502, "broke"))
    assert b"502" == client.said()[0].fields[b":status"]
    assert [502] == [status for status, _ in stage.logged]


def test_redirect_is_a_page_with_a_location() -> None:
    """
    Not over TLS today, but `route` may say it.
    """
    stage = Stage()
    client = Http2Client(stage)
    stream = client.connection.session.streams[1] = Http2Stream(
        client.connection.session, 1, None, b"GET / HTTP/2.0", ended=True
    )
    stream.begin(Redirect(308, b"https://x/"))
    assert b"https://x/" == client.said()[0].fields[b"location"]


def test_answer_of_our_own() -> None:
    """
    An ACME challenge is answered here as well.
    """
    stage = Stage(tokens={"tok": "tok.key"})
    client = Http2Client(stage)
    client.send(client.request(1, path=b"/.well-known/acme-challenge/tok"))
    head, content = client.said()
    assert (b"200", b"7", b"tok.key") == (head.fields[b":status"], head.fields[b"content-length"], content.payload)


def test_page_for_head_has_no_content() -> None:
    """
    As in HTTP/1.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, method=b"HEAD", host=b"x.example"))
    (head,) = client.said()
    assert (b"421", True, [(421, 0)]) == (head.fields[b":status"], head.ends, stage.logged)


# -- content


def test_content_goes_to_the_upstream() -> None:
    """
    Of known length as it is, and its end with it.
    """
    stage = Stage()
    client = _post(stage, (b"content-length", b"5"))
    client.send(data(1, b"abc"), frame(DATA, PADDED, 1, b"\3d\0\0\0"), data(1, b"e", ends=True))
    exchange = stage.exchanges[0]
    assert (b"abcde", ["end"]) == (exchange.content, exchange.events)
    assert b"Content-Length: 5\r\n" in exchange.head_bytes
    exchange.answer(OK, b"ok")
    assert [HEADERS, DATA] == [one.kind for one in client.said()]


def test_content_of_unknown_length_is_chunked_upstream() -> None:
    """
    HTTP/2 needs no length; HTTP/1.1 has chunks for that.
    """
    stage = Stage()
    client = _post(stage)
    client.send(data(1, b"abc"), data(1, ends=True))
    assert b"Transfer-Encoding: chunked\r\n" in stage.exchanges[0].head_bytes
    assert (b"abc", ["end"]) == (stage.exchanges[0].content, stage.exchanges[0].events)


def test_trailers_end_the_content() -> None:
    """
    As in HTTP/1; space round their values isn't theirs.
    """
    stage = Stage()
    client = _post(stage)
    client.send(data(1, b"abc"))
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block((b"x-checksum", b" 1"), (b"a", b"b"))))
    exchange = stage.exchanges[0]
    assert (b"abc", [(b"x-checksum", b"1"), (b"a", b"b")], ["end"]) == (
        exchange.content,
        exchange.trailers,
        exchange.events,
    )


def test_trailers_behind_the_end_reset_the_stream() -> None:
    """
    Nothing comes behind END_STREAM (RFC 9113 §5.1).
    """
    stage = Stage()
    client = _post(stage)
    client.send(data(1, b"abc", ends=True))
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block((b"x-checksum", b"1"))))
    assert ([(RST_STREAM, 1, STREAM_CLOSED)], []) == (client.told(), stage.exchanges[0].trailers)


def test_trailers_that_nobody_waits_for_are_forgotten() -> None:
    """
    The answer was known without them.
    """
    stage = Stage()
    stage.tracking = fails_with(502)
    client = Http2Client(stage, _4=0)
    client.send(client.request(1, method=b"POST", ends=False))
    client.said()
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block((b"x-checksum", b"1"))))
    assert ([], []) == (client.told(), stage.exchanges[0].trailers)


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (END_HEADERS, (b"x", b"y")),
        (END_HEADERS | END_STREAM, (b":path", b"/")),
        (END_HEADERS | END_STREAM, (b"transfer-encoding", b"chunked")),
        (END_HEADERS | END_STREAM, (b"x", b"0" * 20000)),
    ],
)
def test_broken_trailers_reset_the_stream(flags: int, fields: tuple[bytes, bytes]) -> None:
    """
    Trailers are fields, and the last that comes (RFC 9113 §8.1).
    """
    stage = Stage()
    client = _post(stage)
    client.send(frame(HEADERS, flags, 1, client.block(fields)))
    assert [(RST_STREAM, 1, PROTOCOL_ERROR)] == client.told()
    assert (["abandon"], [(400, 0)]) == (stage.exchanges[0].events, stage.logged)


@pytest.mark.parametrize(("content", "ends"), [(b"abcdef", False), (b"abcdef", True), (b"abcd", True), (b"", True)])
def test_content_of_another_length_resets_the_stream(content: bytes, ends: bool) -> None:
    """
    Neither more nor less than was said reaches the upstream as a whole (RFC 9113 §8.1.1).
    """
    stage = Stage()
    client = _post(stage, (b"content-length", b"5"))
    client.send(data(1, content, ends=ends))
    assert [(RST_STREAM, 1, PROTOCOL_ERROR)] == client.told()
    assert (b"", ["abandon"]) == (stage.exchanges[0].content, stage.exchanges[0].events)


def test_content_over_the_limit_is_refused() -> None:
    """
    413, and the client is told to stop.
    """
    stage = Stage(LimitsConfig(body_bytes=4))
    client = _post(stage)
    client.send(data(1, b"abc"))
    client.send(data(1, b"de"), data(1, b"f"))
    head, _, reset = client.said()
    assert (b"413", RST_STREAM, NO_ERROR) == (head.fields[b":status"], reset.kind, reset.number)
    assert (b"abc", ["abandon"], [413]) == (
        stage.exchanges[0].content,
        stage.exchanges[0].events,
        [status for status, _ in stage.logged],
    )


def test_window_is_widened_as_the_upstream_takes() -> None:
    """
    While the upstream is paused, the client can send no more than its window.
    """
    stage = Stage()
    client = _post(stage)
    exchange = stage.exchanges[0]
    exchange.downstream.pause_request()
    client.send(data(1, bytes(16384)), data(1, bytes(16384)))
    assert [(WINDOW_UPDATE, 0)] == client.told()  # the connection's: other streams go on
    exchange.downstream.resume_request()
    (update,) = client.said()
    assert (WINDOW_UPDATE, 1, 32768) == (update.kind, update.stream_id, update.number)
    client.send(data(1, bytes(16384)), data(1, bytes(16384)))
    assert {(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)} == set(client.told())


def test_window_that_is_exceeded_resets_the_stream() -> None:
    """
    Padding counts; the connection goes on.
    """
    stage = Stage()
    client = _post(stage)
    stage.exchanges[0].downstream.pause_request()
    client.send(*[data(1, bytes(16383))] * 4, frame(DATA, PADDED, 1, b"\3\0\0\0"))
    assert (RST_STREAM, 1, FLOW_CONTROL_ERROR) in client.told()
    assert "open" == client.wire.end


def test_content_after_its_end_resets_the_stream() -> None:
    """
    What comes after END_STREAM is nobody's (RFC 9113 §5.1).
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    client.send(data(1, b"more"))
    assert [(RST_STREAM, 1, STREAM_CLOSED)] == client.told()
    assert ["abandon"] == stage.exchanges[0].events


def test_silence_in_the_content_is_a_timeout() -> None:
    """
    So much of it gives the rest its time; an upstream that isn't taking any is no fault of the client's.
    """
    stage = Stage()
    client = _post(stage)
    stage.clock.advance(BODY_SECONDS - 1)
    for _ in range(3):
        client.send(data(1, b"a" * (BODY_BYTES // 3)))
    stage.clock.advance(BODY_SECONDS - 1)
    assert RST_STREAM not in [kind for kind, *_ in client.told()]
    stage.exchanges[0].downstream.pause_request()
    stage.clock.pump([1.0] * int(BODY_SECONDS + 2))
    assert [] == client.told()
    stage.exchanges[0].downstream.resume_request()
    stage.clock.pump([1.0] * int(BODY_SECONDS + 2))
    head, _, reset = client.said()
    assert (b"408", RST_STREAM, NO_ERROR) == (head.fields[b":status"], reset.kind, reset.number)


def test_dripping_content_is_no_progress() -> None:
    """
    A byte now and then keeps nobody's stream, nor the upstream's connection.
    """
    stage = Stage()
    client = _post(stage)
    for _ in range(int(BODY_SECONDS) + 1):
        stage.clock.advance(1)
        client.send(data(1, b"a"))
    assert (RST_STREAM, "abandon") == (client.told()[-1][0], stage.exchanges[0].events[-1])


def test_expectation_is_met() -> None:
    """
    100 is sent once the request is forwarded, by us.
    """
    stage = Stage()
    client = _post(stage, (b"expect", b"100-continue"))
    (head,) = client.said()
    assert ({b":status": b"100"}, False) == (head.fields, head.ends)
    client.send(data(1, b"a", ends=True))
    stage.exchanges[0].answer(OK, b"ok")
    assert b"200" == client.said()[0].fields[b":status"]
    assert b"xpect" not in stage.exchanges[0].head_bytes


def test_early_answer_ends_the_stream() -> None:
    """
    The rest of the content is not wanted: RST_STREAM with NO_ERROR (RFC 9113 §8.1), and what crossed it is ignored.
    """
    stage = Stage()
    client = _post(stage)
    client.send(data(1, b"abc"))
    stage.exchanges[0].answer(OK, b"ok")
    assert [(HEADERS, 1), (DATA, 1), (RST_STREAM, 1, NO_ERROR)] == client.told()
    client.send(data(1, b"def"), data(1, b"g", ends=True))
    assert ("open", [(200, 2)]) == (client.wire.end, stage.logged)


def test_client_that_resets_abandons_the_upstream() -> None:
    """
    499 in the log, as with HTTP/1, while nothing of the answer was sent.
    """
    stage = Stage()
    client = _post(stage)
    stage.exchanges[0].downstream.response_head(response_head(OK))
    client.send(frame(RST_STREAM, 0, 1, bytes(4)))
    assert (["abandon"], [(499, 0)], 1) == (stage.exchanges[0].events, stage.logged, stage.counters.client_left)
    assert [] == client.told()


def test_upstream_that_fails_while_content_is_passed_on() -> None:
    """
    It is answered once, and its end isn't sent to anybody.
    """
    stage = Stage()
    client = _post(stage)
    exchange = stage.exchanges[0]
    send = exchange.send_data

    def fail(data: bytes) -> None:
        send(data)
        exchange.downstream.response_failed(UpstreamError(502, "broke"))

    exchange.send_data = fail  # type: ignore[method-assign]
    client.send(data(1, b"abc", ends=True))
    assert ([502], []) == ([status for status, _ in stage.logged], exchange.events)


def test_log_line_says_http_2() -> None:
    """
    The line is nginx's.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, (b"user-agent", b"Mail/1"), path=b"/q/x?a=%2F~"))
    stage.exchanges[0].answer(OK, b"ok")
    assert b'"GET /q/x?a=%2F~ HTTP/2.0" 200 2 "-" "Mail/1"' in combined(stage.log.entries[0])


# -- what is before us, and what browsers are told


def test_a_trusted_proxys_client_goes_upstream() -> None:
    """
    As over HTTP/1.1; and with its scheme, HSTS.
    """
    stage = Stage()
    stage.gateway.trusted_proxies = Networks([ip_network("192.0.2.0/24")])
    for proto in (b"https", b"http"):
        client = Http2Client(stage)
        fields = (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", proto)
        client.send(client.request(1, *fields))
    told = [b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: %b\r\n" % proto for proto in (b"https", b"http")]
    assert [True, True] == [line in exchange.head_bytes for line, exchange in zip(told, stage.exchanges, strict=True)]


def test_hsts() -> None:
    """
    The domain's own field is with its answers; a 421 is no answer of its.
    """
    stage = Stage(site=attrs.evolve(SITE, hsts=b"max-age=60"))
    client = Http2Client(stage)
    client.send(client.request(1), client.request(3, host=b"other.example.com"))
    stage.exchanges[0].answer(OK, b"ok")
    found = {said.stream_id: said.fields.get(b"strict-transport-security") for said in client.said() if said.fields}
    assert {1: b"max-age=60", 3: None} == found


def test_hsts_of_our_own_answers() -> None:
    """
    RFC 6797 §7.1: with each answer for that domain, ours too; once, whatever the service says.
    """
    stage = Stage(site=attrs.evolve(SITE, hsts=b"max-age=60"))
    client = Http2Client(stage)
    client.send(client.request(1), client.request(3, method=b"TRACE"), client.request(5), client.request(7, path=b"x"))
    stage.exchanges[0].downstream.response_failed(UpstreamError(502, "played"))
    stage.exchanges[1].answer(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n")
    found = {
        said.fields[b":status"]: said.fields.get(b"strict-transport-security") for said in client.said() if said.fields
    }
    assert {b"502": b"max-age=60", b"405": b"max-age=60", b"200": b"max-age=60", b"400": None} == found


def test_time_that_is_left_is_the_connections() -> None:
    """
    For all streams that wait, of which none is taken.
    """
    stage = Stage()
    client = Http2Client(stage, _4=0)
    client.wire.take_all()
    client.send(client.request(1), client.request(3))
    before = stage.exchanges[0].downstream.seconds_left
    stage.exchanges[1].begin(b"HTTP/1.1 200 OK\r\n\r\n", bytes(100))
    one, other = [exchange.downstream.seconds_left for exchange in stage.exchanges]
    assert (0.0, True, one) == (before, one > 0, other)
