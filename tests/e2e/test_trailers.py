"""
Fields behind the content, both ways and in both protocols: those that may go on do, and no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher
from tests.e2e.differential import send
from tests.e2e.http2_wire import HELLO, Answered, Peer, get, headers, literal, post
from tests.e2e.recorder import Recorder, recorder
from tests.proxy.http2_client import HEADERS, data

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

pytestmark = pytest.mark.e2e

# What goes on, and what a head would have decided.
TRAILERS = [
    (b"x-sum", b"1"),
    (b"content-length", b"9"),
    (b"host", b"evil.example"),
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x_forwarded_proto", b"http"),
    (b"authorization", b"Basic eDp5"),
    (b"cookie", b"a=b"),
    (b"set-cookie", b"a=b"),
    (b"server-timing", b"db;dur=5"),
]
GOING_ON = ((b"x-sum", b"1"), (b"server-timing", b"db;dur=5"))
LINES = b"".join(b"%b: %b\r\n" % field for field in TRAILERS)
HEAD = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = HEAD + b"5\r\nhello\r\n0\r\n" + LINES + b"\r\n"
FIRST = b" /f/a HTTP/1.1\r\nHost: click.example.com\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Recorder]:
    """
    Give the tracking service, whose answers have trailers.
    """
    with recorder() as running:
        running.answer = lambda request: ANSWER
        yield running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, service: Recorder) -> Iterator[Daemon]:
    """
    Give a daemon before it.
    """
    launcher = Launcher(tmp_path_factory.mktemp("trailers"))
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK),
        acme='directory = "internal"',
        upstream=f'url = "http://127.0.0.1:{service.port}"',
    )
    with launcher.running() as running:
        yield running


def test_of_an_http1_request(daemon: Daemon, service: Recorder) -> None:
    """
    Behind its chunks; the next request is the next.
    """
    content = b"5\r\nhello\r\n0\r\n" + LINES + b"\r\n"
    message = b"POST" + FIRST + b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + content
    service.drain()
    send(daemon.http, message + b"GET" + FIRST + b"Connection: close\r\n\r\n")
    first, after = service.drain()
    assert (b"hello", GOING_ON, [b"X-Sum"]) == (first.content, first.trailers, first.values(b"trailer"))
    assert (b"GET", (), []) == (after.method, after.trailers, service.broken)


def test_of_an_http2_request(daemon: Daemon, service: Recorder, authority: trustme.CA) -> None:
    """
    In chunks too; where the content has a length there is no place for them.
    """
    service.drain()
    trailers = b"".join(literal(*field) for field in TRAILERS)
    with Peer(daemon.https, authority) as peer:
        known = post(3, (b"content-length", b"1"))
        peer.hold((
            HELLO + post(1, path=b"/a") + data(1, b"hello") + headers(1, trailers), Answered(200),
            known + data(3, b"x") + headers(3, trailers), Answered(200, 3),
        ))  # fmt: skip
    chunked, plain = service.drain()
    assert (b"hello", GOING_ON) == (chunked.content, chunked.trailers)
    assert (b"x", (), []) == (plain.content, plain.trailers, service.broken)


def test_of_an_answer_to_http1(daemon: Daemon) -> None:
    """
    Behind the chunks; a client of HTTP/1.0 gets the content alone.
    """
    received = send(daemon.http, b"GET" + FIRST + b"Connection: close\r\n\r\n")
    assert received.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\nserver-timing: db;dur=5\r\n\r\n")
    assert b"\r\nTrailer: X-Sum\r\n" in received
    received = send(daemon.http, b"GET" + FIRST.replace(b"1.1", b"1.0") + b"\r\n")
    assert received.endswith(b"\r\n\r\nhello")
    assert b"Trailer" not in received


def test_of_an_answer_to_http2(daemon: Daemon, authority: trustme.CA) -> None:
    """
    In a HEADERS frame of their own, which ends the stream.
    """
    with Peer(daemon.https, authority) as peer:
        peer.hold((HELLO + get(1) + get(3), Answered(200, content=b"hello"), Answered(200, 3, content=b"hello")))
        last = [one for one in peer.said if one.kind == HEADERS and b":status" not in one.fields]
    assert [(dict(GOING_ON), True)] * 2 == [(one.fields, one.ends) for one in last]
    assert [b"X-Sum"] * 2 == [one.fields[b"trailer"] for one in peer.said if b":status" in one.fields]
