"""
Nothing that two readers could read differently gets past the daemon, either way, and one request never becomes two.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
import trustme

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher
from tests.e2e.differential import send
from tests.e2e.recorder import Recorder, Request, recorder
from tests.e2e.smuggling import (
    BAD_ANSWERS,
    BROKEN_OFF,
    CUT_OFF_HTTP2,
    PASSED_ON,
    REFUSED,
    REFUSED_HTTP2,
    SMUGGLED,
    WITH_SURPLUS,
    Fields,
    pseudo,
)
from tests.e2e.test_http2 import Client

pytestmark = pytest.mark.e2e

AFTER = b"GET /after HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Recorder]:
    """
    Give the tracking service.
    """
    with recorder() as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(service: Recorder) -> None:
    """
    Have it answer as usual, and forget what it got.
    """
    service.answer = _own_content
    service.drain()
    service.broken.clear()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, service: Recorder) -> Iterator[Daemon]:
    """
    Give a daemon before it.
    """
    launcher = Launcher(tmp_path_factory.mktemp("smuggling"))
    domain = own_domain(authority, launcher.directory, CLICK)
    upstream = f'url = "http://127.0.0.1:{service.port}"'
    launcher.write(domains=domain, acme='directory = "internal"', upstream=upstream)
    with launcher.running() as running:
        yield running


def _own_content(request: Request) -> bytes:
    """
    Answer with the target, so that everybody knows an answer that is not for him.
    """
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.target), request.target)


def _ask_after(daemon: Daemon) -> bytes:
    """
    Ask as another client does, and give the content.
    """
    head, _, content = send(daemon.http, AFTER).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return content


def _client(daemon: Daemon, authority: trustme.CA) -> Client:
    client = Client(daemon.https, authority)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


@pytest.mark.parametrize("message", REFUSED)
def test_refused_request_reaches_no_service_nor_does_what_is_behind_it(
    daemon: Daemon, service: Recorder, message: bytes
) -> None:
    """
    One answer, an error, with which the connection ends; where only the host is wrong the next one is answered too.
    """
    answer = send(daemon.http, message + SMUGGLED)
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
    assert b"/after" == _ask_after(daemon)
    if statuses[0] in {405, 421}:
        assert [200] * len(statuses[1:]) == statuses[1:]
        assert [b"/smuggled"] * len(statuses[1:]) + [b"/after"] == [request.target for request in service.drain()]
    else:
        assert 1 == len(statuses)
        assert statuses[0] in {400, 413, 417, 431, 501, 505}
        assert b"\r\nConnection: close\r\n" in answer
        assert [b"/after"] == [request.target for request in service.drain()]
    assert [] == service.broken


@pytest.mark.parametrize(("message", "fields", "content"), PASSED_ON)
def test_odd_request_that_is_clear_goes_on_in_one_clear_form(
    daemon: Daemon, service: Recorder, message: bytes, fields: bytes, content: bytes
) -> None:
    """
    Framing and Host are written anew, and the next request is the next.
    """
    before = {id(stream): len(stream) for stream in service.streams}
    send(daemon.http, message + AFTER)
    first, after = service.drain()
    assert (b"/f/a", content, b"/after", b"") == (first.target, first.content, after.target, after.content)
    assert first.trailers == (((b"X", b"y"),) if b"\r\n0\r\nX: y\r\n" in message else ())
    sent = b"".join(bytes(stream[before.get(id(stream), 0) :]) for stream in service.streams)
    head = sent[: sent.index(b"\r\n\r\n") + 2]
    framing = re.search(rb"(?:Content-Length: \d+|Transfer-Encoding: chunked)\r\n\Z", head)
    expected = (
        message.lstrip()[: message.lstrip().index(b" ")] + b" /f/a HTTP/1.1\r\nHost: click.example.com\r\n" + fields
        + b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n" + (framing[0] if framing else b"")
    )  # fmt: skip
    assert expected == head
    assert [] == service.broken


def test_requests_that_come_byte_by_byte_are_the_same(daemon: Daemon, service: Recorder) -> None:
    """
    Over a real socket too, where one read may be one byte or all.
    """
    for message, _, content in PASSED_ON[:3]:
        with socket.create_connection(("127.0.0.1", daemon.http), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in message + AFTER:
                connection.sendall(bytes((byte,)))
            while connection.recv(65536):
                pass
        assert [(b"/f/a", content), (b"/after", b"")] == [(got.target, got.content) for got in service.drain()]


@pytest.mark.parametrize(("fields", "content"), REFUSED_HTTP2)
def test_refused_http2_request_reaches_no_service(
    daemon: Daemon, service: Recorder, authority: trustme.CA, fields: Fields, content: bytes | None
) -> None:
    """
    An error on its stream, and the connection goes on.
    """
    with _client(daemon, authority) as client:
        stream_id: int = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, fields, end_stream=content is None)
        if content is not None:
            client.h2.send_data(stream_id, content, end_stream=True)
        assert client.answer(stream_id)[0] in {400, 405, 417, 421}
        assert (200, b"/after") == client.answer(client.ask(b"/after"))
    assert [b"/after"] == [request.target for request in service.drain()]
    assert [] == service.broken


@pytest.mark.parametrize("length", CUT_OFF_HTTP2)
def test_http2_content_of_another_length_makes_no_whole_request(
    daemon: Daemon, service: Recorder, authority: trustme.CA, length: bytes
) -> None:
    """
    Content-Length is held against what comes (RFC 9113 §8.1.1).
    """
    with _client(daemon, authority) as client:
        stream_id: int = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, [*pseudo(method=b"POST"), (b"content-length", length)])
        client.h2.send_data(stream_id, b"hello", end_stream=True)
        while stream_id not in client.over:
            client.receive()
        assert (200, b"/after") == client.answer(client.ask(b"/after"))
    assert [b"/after"] == [request.target for request in service.drain()]


@pytest.mark.parametrize(
    "trailers", [[(b":path", b"/x")], [(b"x", b"a\r\nb")], [(b"X", b"y")], [(b"content-length", b"5")]]
)
def test_http2_trailers_become_no_fields(
    daemon: Daemon, service: Recorder, authority: trustme.CA, trailers: Fields
) -> None:
    """
    What the head decides is dropped, and with what is no field in them the stream is refused.
    """
    with _client(daemon, authority) as client:
        stream_id: int = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, pseudo(method=b"POST"))
        client.h2.send_data(stream_id, b"hello")
        # jh2 takes a second block for trailers.
        client.h2.send_headers(stream_id, trailers, end_stream=True)
        while stream_id not in client.over:
            client.receive()
        assert (200, b"/after") == client.answer(client.ask(b"/after"))
    for request in service.drain():
        assert not {b"x", b"content-length"} & {name.lower() for name, _ in (*request.fields, *request.trailers)}
    assert [] == service.broken


def test_http2_cookie_in_pieces_is_one_field(daemon: Daemon, service: Recorder, authority: trustme.CA) -> None:
    """
    HTTP/1 has one (RFC 9113 §8.2.3).
    """
    with _client(daemon, authority) as client:
        client.answer(client.ask(b"/f/a", (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")))
    (request,) = service.drain()
    assert [b"a=1; b=2"] == request.values(b"cookie")


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_answer_in_doubt_is_a_502_and_poisons_nobody(daemon: Daemon, service: Recorder, answer: bytes) -> None:
    """
    Its connection is not used again: the next client gets its own answer.
    """
    service.answer = lambda request: answer if request.target == b"/f/a" else _own_content(request)
    assert b"HTTP/1.1 502 Bad Gateway\r\n" == send(daemon.http, AFTER.replace(b"/after", b"/f/a"))[:26]
    assert [b"/after"] * 2 == [_ask_after(daemon) for _ in range(2)]


@pytest.mark.parametrize("answer", BROKEN_OFF)
def test_answer_that_breaks_off_is_not_taken_for_a_whole_one(daemon: Daemon, service: Recorder, answer: bytes) -> None:
    """
    A 502 or a reset where nothing was sent on yet, else the connection ends before the last chunk or the last byte.
    """
    service.answer = lambda request: answer if request.target == b"/f/a" else _own_content(request)
    received = send(daemon.http, AFTER.replace(b"/after", b"/f/a"))
    assert b"POISON" not in received
    if received.startswith(b"HTTP/1.1 200 "):
        assert b"Content-Length: 50\r\n" in received or not received.endswith(b"0\r\n\r\n")
    else:
        assert received == b"" or received.startswith(b"HTTP/1.1 502 ")
    assert [b"/after"] * 2 == [_ask_after(daemon) for _ in range(2)]


@pytest.mark.parametrize("answer", WITH_SURPLUS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_what_comes_behind_an_answer_is_nobodys(
    daemon: Daemon, service: Recorder, answer: bytes, method: bytes
) -> None:
    """
    The answer is passed on, what is behind it is not, nor does it become the next client's.
    """
    service.answer = lambda request: answer if request.target == b"/f/a" else _own_content(request)
    received = send(daemon.http, AFTER.replace(b"GET /after", method + b" /f/a"))
    assert received[:12] in {b"HTTP/1.1 200", b"HTTP/1.1 204", b"HTTP/1.1 302", b"HTTP/1.1 304"}
    assert b"POISON" not in received
    assert [b"/after"] * 3 == [_ask_after(daemon) for _ in range(3)]
