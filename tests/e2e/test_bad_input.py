"""
The design's table of bad input, row by row, over real sockets.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

import pytest

from tests.e2e.conftest import CLICK
from tests.e2e.daemon import Daemon, ask, connect, https_get, parse, read_all, request, until
from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

HOST = f"Host: {CLICK}\r\n".encode()
UNRECOGNIZED_NAME = 112
NO_APPLICATION_PROTOCOL = 120

MALFORMED = {
    "two lengths": b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "length and chunked": b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
    "space before colon": b"GET /f HTTP/1.1\r\n" + HOST + b"X-A : 1\r\n\r\n",
    "space in a field name": b"GET /f HTTP/1.1\r\n" + HOST + b"X A: 1\r\n\r\n",
    "obs-fold": b"GET /f HTTP/1.1\r\n" + HOST + b"X-A: 1\r\n 2\r\n\r\n",
    "NUL in a value": b"GET /f HTTP/1.1\r\n" + HOST + b"X-A: \x001\r\n\r\n",
    "bare CR": b"GET /f HTTP/1.1\r\n" + HOST + b"X-A: 1\r2\r\n\r\n",
    "no Host": b"GET /f HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /f HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "space in the target": b"GET /f /g HTTP/1.1\r\n" + HOST + b"\r\n",
    "negative length": b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "length with a plus": b"POST /f HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx",
    "HTTP/0.9": b"GET /f\r\n\r\n",
    "not HTTP": b"\x00\x01\x02\r\n\r\n",
}


def _alert(daemon: Daemon, hello: bytes) -> bytes:
    """
    Give what the daemon answers to *hello* until it closes.
    """
    with socket.create_connection(("127.0.0.1", daemon.https), 10) as connection:
        connection.sendall(hello)
        return read_all(connection)


def _hello(name: str | None, *alpn: str) -> bytes:
    """
    Give a real ClientHello.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    "noise", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 64, b"\x16\x03\x01\x00\x00", b"SSH-2.0-x\r\n"]
)
def test_not_tls_on_the_tls_port_is_closed(daemon: Daemon, noise: bytes) -> None:
    """
    What isn't TLS ends at once, and nobody's log is flooded.
    """
    before = len(daemon.log)
    with contextlib.suppress(ConnectionResetError):
        assert len(_alert(daemon, noise)) <= 7
    assert len(daemon.log) == before


def test_unknown_server_name_gets_its_alert(daemon: Daemon) -> None:
    """
    A name that isn't configured gets unrecognized_name (RFC 6066 §3), readable, not a reset.
    """
    assert bytes([21, 3, 3, 0, 2, 2, UNRECOGNIZED_NAME]) == _alert(daemon, _hello("stranger.example"))


def test_no_server_name_gets_the_alert_where_several_domains_are_served(daemon: Daemon) -> None:
    """
    Without default_name nobody knows which domain was meant.
    """
    assert bytes([21, 3, 3, 0, 2, 2, UNRECOGNIZED_NAME]) == _alert(daemon, _hello(None))


def test_acme_tls_without_a_challenge_gets_its_alert(daemon: Daemon) -> None:
    """
    acme-tls/1 is never answered with an ordinary certificate.
    """
    assert bytes([21, 3, 3, 0, 2, 2, NO_APPLICATION_PROTOCOL]) == _alert(daemon, _hello(CLICK, "acme-tls/1"))


def test_hello_in_pieces_is_served(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A hello that comes byte by byte is a hello.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(incoming, outgoing, server_hostname=CLICK)
    with socket.create_connection(("127.0.0.1", daemon.https), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for at in outgoing.read():
                    connection.sendall(bytes([at]))
                incoming.write(connection.recv(65536))
    assert "TLSv1.3" == tls.version()


def test_slow_hello_meets_its_deadline(daemon: Daemon) -> None:
    """
    A client that says half a hello is closed after hello_seconds.
    """
    began = time.monotonic()
    with contextlib.suppress(ConnectionResetError):  # what it sent was never read
        assert b"" == _alert(daemon, _hello(CLICK)[:100])
    assert time.monotonic() - began < 5


def test_slow_head_meets_its_deadline(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client that says half a head is closed after head_seconds, with 408 or nothing.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(b"GET /f HTTP/1.1\r\n")
        received = read_all(connection)
    assert received == b"" or received.startswith(b"HTTP/1.1 408 ")


def test_idle_connection_meets_its_deadline(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A kept-alive connection that says nothing is closed after idle_seconds.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(f"GET /q/x HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
        assert connection.recv(65536)
        assert b"" == read_all(connection)


@pytest.mark.parametrize("port", ["https", "http"])
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_request_gets_400_and_stays_here(
    daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext, case: str, port: str
) -> None:
    """
    What breaks RFC 9112 is refused and the connection closed; the service never sees it.
    """
    before = len(tracking.received)
    if port == "https":
        with connect(daemon.https, CLICK, trusting) as connection:
            answer = ask(connection, MALFORMED[case] + request("/f/smuggled", CLICK))
    else:
        with socket.create_connection(("127.0.0.1", daemon.http), 10) as plain:
            answer = ask(plain, MALFORMED[case] + request("/f/smuggled", CLICK))
    assert (400, "close") == (answer.status, answer.field("Connection"))
    assert before == len(tracking.received)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nabc",
    ],
)
def test_bad_chunks_never_become_a_second_request(
    daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext, body: bytes
) -> None:
    """
    A chunked body that breaks its framing ends the exchange; what follows is not read as a request.
    """
    head = f"POST /echo/bad HTTP/1.1\r\nHost: {CLICK}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(connection, head + body + request("/f/smuggled", CLICK))
    assert 400 == answer.status
    assert [] == tracking.requests(b"/f/smuggled")


def test_long_target_gets_414(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A target over target_bytes is refused, and the answer is read although more was sent.
    """
    assert 414 == https_get(daemon.https, "/f/" + "a" * 5000, CLICK, trusting).status


def test_long_head_gets_431(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A head over head_bytes is refused; the connection lingers until the client has read that.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(connection, request("/f", CLICK, *(f"X-{at}: {'a' * 1000}" for at in range(40))))
    assert 431 == answer.status


def test_client_that_leaves_is_forgotten(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client gone in mid-exchange leaves nothing behind.
    """
    for _ in range(10):
        with connect(daemon.https, CLICK, trusting) as connection:
            connection.sendall(request("/hang/leaver", CLICK))
    until(lambda: daemon.status()["connections"]["open"] <= 1, "end of all connections", 10)


def test_tls_garbage_after_the_handshake_is_closed(daemon: Daemon) -> None:
    """
    Records that make no sense end the connection and nothing else.
    """
    for cut in (1, 50, 300):
        with socket.create_connection(("127.0.0.1", daemon.https), 10) as connection:
            connection.sendall(_hello(CLICK))
            connection.recv(65536)
            connection.sendall(b"\x17\x03\x03" + cut.to_bytes(2, "big") + b"\xff" * cut)
            with contextlib.suppress(ConnectionResetError):
                read_all(connection)
    assert 302 == parse_ok(daemon)


def parse_ok(daemon: Daemon) -> int:
    """
    Give the status of an ordinary click on port 80.
    """
    with socket.create_connection(("127.0.0.1", daemon.http), 10) as connection:
        connection.sendall(request("/f/ok", CLICK))
        return parse(read_all(connection)).status
