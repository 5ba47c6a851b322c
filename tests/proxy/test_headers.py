from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName
from sptls.proxy.body import Chunked, Length, NoBody, UntilClose, response_body
from sptls.proxy.head import RequestHead, ResponseHead, parse_request, parse_response
from sptls.proxy.headers import (
    client_fields,
    client_framing,
    error_page,
    for_client,
    for_upstream,
    http_date,
    own_response,
)
from sptls.proxy.route import Site

LIMITS = LimitsConfig()
NAME = HostName.parse("click.example.com")
SITE = Site(NAME, UpstreamConfig())
OURS = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"


def request(first: bytes, *fields: bytes) -> RequestHead:
    """
    Give a request's head.
    """
    head = parse_request(b"\r\n".join([first, *fields, b"", b""]), LIMITS)
    assert isinstance(head, RequestHead), head
    return head


def response(first: bytes, *fields: bytes) -> ResponseHead:
    """
    Give a response's head.
    """
    head = parse_response(b"\r\n".join([first, *fields, b"", b""]), 32768)
    assert isinstance(head, ResponseHead), head
    return head


GET = request(b"GET / HTTP/1.1", b"Host: click.example.com")
HEAD = request(b"HEAD / HTTP/1.1", b"Host: click.example.com")
OLD = request(b"GET / HTTP/1.0", b"Connection: keep-alive")


def upstream(head: RequestHead, site: Site = SITE) -> bytes:
    """
    Give what goes upstream for *head*.
    """
    return for_upstream(head, site, b"192.0.2.1", b"https")


def client(head: ResponseHead, to: RequestHead = GET, *, keep_alive: bool = True) -> bytes:
    """
    Give what goes to the client that sent *to*.
    """
    return for_client(head, to, response_body(head, to.method), keep_alive)


def test_a_click_goes_upstream_as_it_came() -> None:
    """
    Target byte for byte; order, spelling and repeats kept; Host first and unchanged; the peer's address at the end.
    """
    head = request(b"GET /a%2F~~\xff HTTP/1.0", b"b: 1", b"Cookie: x", b"Host: Click.example.com:443", b"b:2", b"B:")
    expected = b"GET /a%2F~~\xff HTTP/1.1\r\nHost: Click.example.com:443\r\nb: 1\r\nCookie: x\r\nb: 2\r\nB: \r\n"
    assert expected + OURS + b"\r\n" == upstream(head)


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic eDp5",
        b"TE: trailers",
        b"Trailer: Sig",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Expect: 100-continue",
        b"X-Forwarded-For: 10.0.0.1",
        b"x-forwarded-host: evil.example",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Port: 1",
        b"X-Real-IP: 10.0.0.1",
        b"Forwarded: for=10.0.0.1",
        b"X_Forwarded_For: 10.0.0.1",
        b"X-Forwarded_Host: evil.example",
        b"X_Real_IP: 10.0.0.1",
        b"Content_Length: 5",
        b"Transfer_Encoding: chunked",
        b"Proxy_Authorization: Basic eDp5",
        b"Connection: X-Own, Cookie\r\nX-Own: a\r\ncookie: b",
        b"Connection: Host, X-Forwarded-For, Content-Length, Transfer-Encoding",
    ],
)
def test_what_is_not_for_the_service_is_dropped(field: bytes) -> None:
    """
    Hop-by-hop fields, fields named by Connection, and claims about the client; Host and our own fields can't be.
    """
    head = request(b"GET / HTTP/1.1", b"Host: click.example.com", field, b"Z: z")
    expected = b"GET / HTTP/1.1\r\nHost: click.example.com\r\nZ: z\r\n" + OURS + b"\r\n"
    assert expected == upstream(head)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"content-length: 005", b"Content-Length: 5"),
        (b"Content-Length: 0", b"Content-Length: 0"),
        (b"transfer-encoding: Chunked", b"Transfer-Encoding: chunked"),
        (b"Connection: Content-Length\r\nContent-Length: 5", b"Content-Length: 5"),
    ],
)
def test_framing_is_written_anew(field: bytes, expected: bytes) -> None:
    """
    In one spelling that nobody can read differently.
    """
    head = request(b"POST / HTTP/1.1", b"Host: a", field)
    assert b"POST / HTTP/1.1\r\nHost: a\r\n" + OURS + expected + b"\r\n\r\n" == upstream(head)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (UpstreamConfig(host_field="upstream"), b"spgo.io"),
        (UpstreamConfig(host_field="upstream", port=8443), b"spgo.io:8443"),
        (UpstreamConfig(host_field="track.example.net"), b"track.example.net"),
    ],
)
def test_another_host_field_names_the_client_s_own_beside_it(config: UpstreamConfig, expected: bytes) -> None:
    """
    The service still learns the tracking domain, from X-Forwarded-Host.
    """
    head = request(b"GET http://click.example.com:80/p HTTP/1.1", b"Host: other.example", b"X-Forwarded-Host: evil")
    forwarded = b"X-Forwarded-Host: click.example.com:80\r\n\r\n"
    assert b"GET /p HTTP/1.1\r\nHost: " + expected + b"\r\n" + OURS + forwarded == upstream(head, Site(NAME, config))


NAMES = st.sampled_from([b"Cookie", b"cookie", b"X-A", b"Accept", b"User-Agent", b"X_b", b"Referer", b"Range"])
VALUES = st.sampled_from([b"", b"a b", b"\x01\xff", b"x: y", b"a, b"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from([b"/", b"/a%2F?b=c", b"http://a.example/x"]))
def test_end_to_end_fields_survive(fields: list[tuple[bytes, bytes]], target: bytes) -> None:
    """
    What is written is read again, by our parser and by h11, with the same fields in the same order.
    """
    head = request(b"GET %b HTTP/1.1" % target, b"Host: a.example", *[b"%b:%b" % field for field in fields])
    written = upstream(head)
    again = parse_request(written, LIMITS)
    assert isinstance(again, RequestHead)
    assert fields == again.fields[1:-2]
    assert (head.origin_target, head.authority, len(written)) == (again.target, again.authority, again.size)
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(written)
    event = oracle.next_event()
    assert isinstance(event, h11.Request)
    assert again.fields == event.headers.raw_items()


def test_a_redirect_comes_back_as_it_was_sent() -> None:
    """
    Order, spelling and repeats kept, the service's Server field too; hop-by-hop fields are gone.
    """
    head = response(
        b"HTTP/1.0 302 Moved Temporarily",
        b"Server: msys-http",
        b"Connection: X-Own, close",
        b"Keep-Alive: timeout=5",
        b"x-own: a",
        b"Set-Cookie: a=b",
        b"location:http://x.example/?a=b",
        b"set-cookie: c",
        b"Content-Length: 0",
    )
    expected = (
        b"HTTP/1.1 302 Moved Temporarily\r\nServer: msys-http\r\nSet-Cookie: a=b\r\n"
        b"location: http://x.example/?a=b\r\nset-cookie: c\r\nContent-Length: 0\r\n\r\n"
    )
    assert expected == client(head)


LENGTH = b"Content-Length: 5"
CHUNKS = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("status", "field", "to", "expected"),
    [
        (200, LENGTH, GET, b"Content-Length: 5\r\n"),
        (200, LENGTH, HEAD, b"Content-Length: 5\r\n"),
        (200, LENGTH, OLD, b"Content-Length: 5\r\nConnection: keep-alive\r\n"),
        (200, CHUNKS, GET, b"Transfer-Encoding: chunked\r\n"),
        (200, CHUNKS, HEAD, b""),
        (200, CHUNKS, OLD, b"Connection: close\r\n"),
        (200, b"Upgrade: h2c", GET, b"Transfer-Encoding: chunked\r\n"),
        (200, b"Upgrade: h2c", OLD, b"Connection: close\r\n"),
        (204, LENGTH, GET, b""),
        (304, LENGTH, GET, b"Content-Length: 5\r\n"),
        (304, CHUNKS, OLD, b"Connection: keep-alive\r\n"),
        (103, LENGTH, GET, b""),
        (103, CHUNKS, OLD, b""),
    ],
)
def test_a_response_is_framed_for_its_client(status: int, field: bytes, to: RequestHead, expected: bytes) -> None:
    """
    Unknown lengths are chunks for HTTP/1.1 and end with the connection for HTTP/1.0.
    """
    head = response(b"HTTP/1.1 %d" % status, field)
    assert b"HTTP/1.1 %d \r\n" % status + expected + b"\r\n" == client(head, to)


def test_the_end_of_a_connection_is_announced() -> None:
    """
    To every client.
    """
    head = response(b"HTTP/1.1 200 OK", LENGTH)
    expected = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    assert expected == client(head, GET, keep_alive=False) == client(head, OLD, keep_alive=False)


@pytest.mark.parametrize("body", [NoBody(), Length(5), Chunked(), UntilClose()])
def test_framing_that_both_versions_know_stays(body: NoBody | Length | Chunked | UntilClose) -> None:
    """
    The rest becomes what the client's version knows.
    """
    known = isinstance(body, NoBody | Length)
    expected = (body, body) if known else (Chunked(), UntilClose())
    assert expected == (client_framing(GET, body), client_framing(OLD, body))


@given(
    st.sampled_from([200, 204, 302, 304, 500]),
    st.lists(st.tuples(NAMES, VALUES), max_size=5),
    st.sampled_from([LENGTH, CHUNKS, b"Vary: *"]),
    st.sampled_from([GET, HEAD, OLD]),
    st.booleans(),
)
def test_a_response_head_survives(
    status: int, fields: list[tuple[bytes, bytes]], framing: bytes, to: RequestHead, keep_alive: bool
) -> None:
    """
    What is written is read again with the same fields, and with the body that `client_framing` says.
    """
    head = response(b"HTTP/1.1 %d R" % status, *[b"%b: %b" % field for field in fields], framing)
    body = response_body(head, to.method)
    again = parse_response(for_client(head, to, body, keep_alive), 32768)
    assert isinstance(again, ResponseHead)
    assert fields == again.fields[: len(fields)]
    ends = isinstance(client_framing(to, body), UntilClose)
    assert (client_framing(to, body), keep_alive and not ends) == (response_body(again, to.method), again.keep_alive)


def test_an_error_page_says_what_happened_and_not_who_we_are() -> None:
    """
    Status and a sentence, with the moment, for nobody's cache.
    """
    expected = (
        b"HTTP/1.1 502 Bad Gateway\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 84\r\nCache-Control: no-store\r\n"
        b"Connection: close\r\n\r\n"
        b"502 Bad Gateway\n\nThe page can't be reached right now. Please try again in a minute.\n"
    )
    assert expected == error_page(502, b"GET", date=http_date(0))


def test_an_error_page_for_head_has_no_content() -> None:
    """
    But the content's length; a 503 says when to come again; a kept connection is announced to HTTP/1.0 only.
    """
    page = error_page(503, b"HEAD", keep_alive=True, version=b"1.0")
    assert page.endswith(b"Retry-After: 5\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection" not in error_page(404, b"HEAD", keep_alive=True)


@pytest.mark.parametrize("status", [400, 405, 408, 413, 414, 417, 421, 431, 500, 501, 504, 505, 599])
def test_every_error_page_is_a_good_response(status: int) -> None:
    """
    With a reason and its content in full length, whatever the status; 405 says what is allowed.
    """
    page = error_page(status, b"GET")
    head = parse_response(page, 1000)
    assert isinstance(head, ResponseHead)
    assert (status, len(page) - head.size) == (head.status, head.content_length)
    assert head.reason
    assert (status == 405) == (b"Allow" in dict(head.fields))


def test_an_answer_of_our_own_is_200() -> None:
    """
    As for a challenge.
    """
    expected = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 1\r\nCache-Control: no-store\r\n\r\nx"
    assert expected == own_response(200, b"a/b", b"x", b"GET", keep_alive=True)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001 - made aware below
def test_dates_are_as_rfc_9110_wants_them(moment: datetime) -> None:
    """
    Whatever the locale.
    """
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    assert format_datetime(moment, usegmt=True).encode() == http_date(int(moment.timestamp()))


def test_a_redirect_has_a_location_that_is_not_remembered() -> None:
    """
    The domain may have to go back to http.
    """
    page = error_page(308, b"HEAD", location=b"https://a.example/\xff")
    assert b"\r\nLocation: https://a.example/\xff\r\nCache-Control: no-store\r\n" in page
    assert b"Location" not in error_page(404, b"GET")


def test_fields_for_http2_are_lower_case_and_without_the_connections() -> None:
    """
    Order and repeats stay; the status is the first field, the length the one that was checked.
    """
    head = response(
        b"HTTP/1.1 302 Found",
        b"Set-Cookie: a",
        b"Connection: close, X-Hop",
        b"X-Hop: 1",
        b"Keep-Alive: timeout=5",
        b"Content-Length: 2",
        b"set-cookie: b",
        b"Date: now",
    )
    expected = [
        (b":status", b"302"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"date", b"now"),
        (b"content-length", b"2"),
    ]
    assert expected == client_fields(head)


def test_fields_for_http2_have_no_length_where_there_is_none() -> None:
    """
    Neither of chunks nor of a 204 (RFC 9110 §8.6).
    """
    assert [(b":status", b"200")] == client_fields(response(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
    assert [(b":status", b"204")] == client_fields(response(b"HTTP/1.1 204 No Content", b"Content-Length: 0"))


def test_what_announces_trailers_goes_where_they_may_go() -> None:
    """
    With chunks, and in HTTP/2; in Connection it is of that connection.
    """
    announced, chunked, length = b"Trailer: Sum", b"Transfer-Encoding: chunked", b"Content-Length: 2"
    heads = [request(b"POST / HTTP/1.1", b"Host: a", announced, framing) for framing in (chunked, length)]
    assert [True, False] == [announced in upstream(head) for head in heads]
    answers = [
        response(b"HTTP/1.1 200 OK", announced, *more)
        for more in ((chunked,), (length,), (chunked, b"Connection: trailer"))
    ]
    assert [True, False, False] == [announced in client(answer) for answer in answers]
    assert [True, False, False] == [(b"trailer", b"Sum") in client_fields(answer) for answer in answers]
    assert announced not in client(answers[0], request(b"GET / HTTP/1.0"))


def test_hsts_replaces_the_upstreams() -> None:
    """
    RFC 6797 §6.1: one field, once; without it the service has its say.
    """
    head = response(b"HTTP/1.1 200 OK", b"strict-transport-security: max-age=1", b"X: y", b"Content-Length: 2")
    body = response_body(head, b"GET")
    expected = b"HTTP/1.1 200 OK\r\nX: y\r\nStrict-Transport-Security: max-age=60\r\nContent-Length: 2\r\n\r\n"
    assert expected == for_client(head, GET, body, keep_alive=True, hsts=b"max-age=60")
    assert b"strict-transport-security: max-age=1\r\n" in for_client(head, GET, body, keep_alive=True)
    assert b"strict" not in for_client(head, GET, body, keep_alive=True, hsts=b"").lower()


def test_hsts_over_http2() -> None:
    """
    The same, connection options or not.
    """
    lines = [b"Strict-Transport-Security: max-age=1", b"X-Hop: 1", b"Connection: x-hop"]
    head = response(b"HTTP/1.1 200 OK", *lines)
    expected = [(b":status", b"200"), (b"strict-transport-security", b"max-age=60")]
    assert expected == client_fields(head, b"max-age=60")
    head = response(b"HTTP/1.1 200 OK", lines[0])
    assert expected == client_fields(head, b"max-age=60")
    assert [(b":status", b"200"), (b"strict-transport-security", b"max-age=1")] == client_fields(head)
    assert [(b":status", b"200")] == client_fields(head, b"")


def test_our_own_answer_has_the_domains_hsts() -> None:
    """
    RFC 6797 §7.1.
    """
    field = b"\r\nStrict-Transport-Security: max-age=60\r\n"
    assert [True, False, False] == [field in error_page(502, b"GET", hsts=hsts) for hsts in (b"max-age=60", b"", None)]
