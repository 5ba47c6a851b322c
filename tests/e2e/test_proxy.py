"""
What a client and the tracking service see of each other through the daemon, over real sockets.
"""

from __future__ import annotations

import os
import socket
import ssl

import pytest

from tests.e2e.conftest import CLICK, OTHER
from tests.e2e.daemon import Daemon, ask, connect, http_get, https_get, parse, read_all, request, until
from tests.e2e.origin import GIF, LANDING, Origin

pytestmark = pytest.mark.e2e

ODD_TARGETS = [
    b"/f/a/Hcv1nwnOfCFeZmc3EvMwsQ~~/AALoUwA~/RgRestfaPwRXA3NwY0IK?target=http%3A%2F%2Fwww.sparkpost.com",
    b"/c/a%2Fb~x%3D%3d;p=1/%7Eu+v",
    b"/f/../q/./x",
    b"//f//a",
    b"/f/\xc3\xa9/\xff?x=\x80",
    b"/f/a?b?c=d&&e==f",
    b"/f/%zz/%",
    b"/f/a:b@c!$&'()*+,;=",
    b"/f/a|b\\c^d`e{f}<g>\"h\"",
    b"/f/a?q=[1]",
    b"/f/a#fragment",
    b"/f/",
    b"/?",
    b"/f/%00%0d%0a",
    b"/q/~~__--~~/" + b"A" * 3000,
]  # fmt: skip


def test_click_is_passed_on_and_answered(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    A click reaches the service with its Host, and the redirect comes back with its fields.
    """
    answer = https_get(daemon.https, "/f/a/b?first", CLICK, trusting)
    assert (302, LANDING.decode(), "msys-http", "noindex") == (
        answer.status,
        answer.field("Location"),
        answer.field("Server"),
        answer.field("X-Robots-Tag"),
    )
    (received,) = tracking.requests(b"/f/a/b?first")
    assert [CLICK.encode()] == received.field(b"Host")


def test_open_gets_the_image(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    An open gets the GIF byte for byte.
    """
    assert GIF == https_get(daemon.https, "/q/x", CLICK, trusting).content


@pytest.mark.parametrize("target", ODD_TARGETS)
def test_target_arrives_byte_for_byte(
    daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext, target: bytes
) -> None:
    """
    No byte of a request target is changed on the way.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        ask(connection, b"GET " + target + b" HTTP/1.1\r\nHost: " + CLICK.encode() + b"\r\nConnection: close\r\n\r\n")
    assert target == tracking.received[-1].target


def test_x_forwarded_for_is_replaced(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    The service sees the peer's address only, whatever the client claimed.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        ask(connection, request("/f/xff", CLICK, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil.example"))
    (received,) = tracking.requests(b"/f/xff")
    assert ([b"127.0.0.1"], []) == (received.field(b"X-Forwarded-For"), received.field(b"X-Forwarded-Host"))


def test_user_agent_and_repeated_fields_are_kept(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    End-to-end fields arrive unchanged, repeated and in order.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        ask(connection, request("/f/fields", CLICK, "User-Agent: a  b", "X-A: 1", "X-B: 2", "X-A: 3"))
    (received,) = tracking.requests(b"/f/fields")
    assert ([b"a  b"], [b"1", b"3"]) == (received.field(b"User-Agent"), received.field(b"X-A"))


def test_hop_by_hop_fields_stay_on_their_hop(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    Connection and what it names, Upgrade and Keep-Alive are dropped both ways; trailers are no fields of the head.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(
            connection,
            b"GET /chunked/hop HTTP/1.1\r\nHost: " + CLICK.encode() + b"\r\nConnection: close, x-hop, upgrade\r\n"
            b"X-Hop: 1\r\nUpgrade: websocket\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n",
        )
    (received,) = tracking.requests(b"/chunked/hop")
    for name in (b"X-Hop", b"Upgrade", b"Keep-Alive", b"TE"):
        assert [] == received.field(name)
    assert (None, None, None) == (answer.field("X-Private"), answer.field("Keep-Alive"), answer.field("X-Trailer"))
    assert ["a=1", "b=2"] == [value for name, value in answer.fields if name == "Set-Cookie"]
    assert b"hello world" == b"".join(answer.content.split(b"\r\n")[1:-3:2])


def test_chunked_response_is_unframed_for_http_1_0(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A 1.0 client gets no chunks; the end of the connection ends the content.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(connection, b"GET /chunked/ten HTTP/1.0\r\nHost: " + CLICK.encode() + b"\r\n\r\n")
    assert (b"hello world", None) == (answer.content, answer.field("Transfer-Encoding"))


def test_response_that_ends_with_the_connection_is_whole(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    The service's close-delimited content arrives, framed for the client.
    """
    answer = https_get(daemon.https, "/until-close", CLICK, trusting)
    assert b"until the end" in answer.content


@pytest.mark.parametrize(("target", "status"), [("/no-content", 204), ("/not-modified", 304)])
def test_answers_without_content_keep_the_connection(
    daemon: Daemon, trusting: ssl.SSLContext, target: str, status: int
) -> None:
    """
    204 and 304 have no content, and the next request on the connection is answered.
    """
    first = f"GET {target} HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode()
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(first + request("/q/next", CLICK))
        received = read_all(connection)
    assert f"HTTP/1.1 {status}".encode() == received[:12]
    assert received.endswith(GIF)


def test_head_has_no_content(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    HEAD gets the length and no content.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(connection, f"HEAD /q/x HTTP/1.1\r\nHost: {CLICK}\r\nConnection: close\r\n\r\n".encode())
    assert (str(len(GIF)), b"") == (answer.field("Content-Length"), answer.content)


def test_pipelined_requests_are_answered_in_order(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Requests sent in one go are answered one after the other.
    """
    bodies = [f"number {at}".encode() for at in range(20)]
    posts = [
        b"POST /echo HTTP/1.1\r\nHost: click.example.com\r\nContent-Length: %d\r\n\r\n" % len(b) + b for b in bodies
    ]
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(b"".join(posts) + request("/q/last", CLICK))
        received = read_all(connection)
    positions = [received.index(body) for body in bodies]
    assert sorted(positions) == positions
    assert received.endswith(GIF)


def test_expect_100_continue_is_answered(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client that waits for 100 gets it, then its answer.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(
            f"POST /echo HTTP/1.1\r\nHost: {CLICK}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert b"hello" == parse(read_all(connection)).content


def test_chunked_request_arrives(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    A chunked upload reaches the service whole.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(
            connection,
            f"POST /echo HTTP/1.1\r\nHost: {CLICK}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
            + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
        )
    assert b"abc0123456789" == answer.content


def test_upgrade_keeps_the_body(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    ``curl --http2`` on a POST: Upgrade is dropped and the content is not lost.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(
            connection,
            f"POST /echo HTTP/1.1\r\nHost: {CLICK}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 4\r\n\r\nbody".encode(),
        )
    assert (200, b"body") == (answer.status, answer.content)


def test_large_bodies_stream_both_ways(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    32 MiB up and down arrive whole, and the daemon's memory stays flat (a GiB is in the soak).
    """
    size = 32 << 20
    before = _resident(daemon)
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(f"POST /count HTTP/1.1\r\nHost: {CLICK}\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size >> 16):
            connection.sendall(b"x" * 65536)
        assert f"{size}".encode() in connection.recv(65536)
        connection.sendall(request(f"/bytes/{size}", CLICK))
        assert size == len(parse(read_all(connection)).content)
    assert _resident(daemon) - before < 12 << 20


def test_slow_reader_is_not_buffered(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client that doesn't read holds the service back instead of filling our memory.
    """
    before = _resident(daemon)
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(request(f"/bytes/{64 << 20}", CLICK))
        until(lambda: daemon.domain(CLICK)["state"], "status while a client does not read")
        assert connection.recv(1)
        assert _resident(daemon) - before < 12 << 20


def test_post_is_never_sent_twice(daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    A POST that the service drops gets 502, and the service saw it once.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        answer = ask(
            connection,
            f"POST /break/once HTTP/1.1\r\nHost: {CLICK}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode(),
        )
    assert (502, 1) == (answer.status, len(tracking.requests(b"/break/once")))


def test_dead_idle_upstream_connection_is_not_noticed(
    daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext
) -> None:
    """
    The service closes its idle connections; the next click is answered all the same.
    """
    for _ in range(5):
        assert 302 == https_get(daemon.https, "/f/before", CLICK, trusting).status
        tracking.close_idle()
        assert 302 == https_get(daemon.https, "/f/after", CLICK, trusting).status


@pytest.mark.parametrize(("target", "status"), [("/break", 502), ("/garbage", 502), ("/hang", 504)])
def test_upstream_failure_gets_its_status_without_our_name(
    daemon: Daemon, trusting: ssl.SSLContext, target: str, status: int
) -> None:
    """
    A service that breaks, babbles or hangs gives 502 or 504 in time, on a page that names no software.
    """
    answer = https_get(daemon.https, target, CLICK, trusting)
    assert status == answer.status
    assert b"sptls" not in answer.content.lower()
    assert answer.field("Server") is None


def test_truncated_response_is_not_passed_off_as_whole(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    When the service breaks off in the content, the client's connection ends before the announced length.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(request("/short", CLICK))
        try:
            received = read_all(connection)
        except OSError:
            received = b""
    assert not received or len(parse(received).content) < 100


def test_early_answer_is_read_by_a_client_that_still_sends(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A refusal in mid-upload reaches the client; the connection lingers instead of resetting.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(f"POST /early HTTP/1.1\r\nHost: {CLICK}\r\nContent-Length: {8 << 20}\r\n\r\n".encode())
        try:
            for _ in range(128):
                connection.sendall(b"x" * 65536)
        except OSError:
            pass
        assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_client_that_half_closes_is_answered(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A client that ends its side below TLS, without close_notify, gets the answer to what it asked.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(f"GET /q/half HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
        with socket.socket(fileno=os.dup(connection.fileno())) as plain:
            plain.shutdown(socket.SHUT_WR)
        assert GIF == parse(read_all(connection)).content


def test_port_80_proxies_too(daemon: Daemon, tracking: Origin) -> None:
    """
    Links already sent stay http://: they are answered, not redirected.
    """
    answer = http_get(daemon.http, "/f/plain", CLICK)
    (received,) = tracking.requests(b"/f/plain")
    assert (302, LANDING.decode()) == (answer.status, answer.field("Location"))
    assert [b"127.0.0.1"] == received.field(b"X-Forwarded-For")


def test_unknown_host_on_port_80_gets_421(daemon: Daemon) -> None:
    """
    A name that isn't ours gets no redirect and no proxying.
    """
    answer = http_get(daemon.http, "/f/a", "stranger.example")
    assert (421, None) == (answer.status, answer.field("Location"))


def test_host_of_another_certificate_gets_421(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A configured Host that the connection's certificate does not cover is misdirected.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        assert 421 == ask(connection, request("/f/a", OTHER)).status


def test_wildcard_certificate_serves_one_label(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A domain ``*.links.example.net`` with its own certificate serves any one label there.
    """
    assert 302 == https_get(daemon.https, "/f/a", "any.links.example.net", trusting).status


def test_access_log_has_the_guides_shape(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    One line an exchange, in nginx's combined format, within a second or so.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        ask(
            connection, request("/q/logged?x=1", CLICK, "User-Agent: Mozilla/5.0 (via ggpht.com)", "Referer: http://a/")
        )
    path = daemon.state / "access.log"
    line = until(
        lambda: next((line for line in path.read_text().splitlines() if "/q/logged?x=1" in line), None), "log line", 5
    )
    start, end = line.split(" [", 1)
    assert "127.0.0.1 - -" == start
    assert (
        f'"GET /q/logged?x=1 HTTP/1.1" 200 {len(GIF)} "http://a/" "Mozilla/5.0 (via ggpht.com)"'
        == end.split("] ", 1)[1]
    )


def test_fifty_clients_at_once(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Many open connections are answered, each with its own answer.
    """
    connections: list[socket.socket] = [connect(daemon.https, CLICK, trusting) for _ in range(50)]
    for at, connection in enumerate(connections):
        body = b"%05d" % at
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nHost: click.example.com\r\nConnection: close\r\nContent-Length: 5\r\n\r\n" + body
        )
    for at, connection in enumerate(connections):
        with connection:
            assert b"%05d" % at == parse(read_all(connection)).content


def _resident(daemon: Daemon) -> int:
    with open(f"/proc/{daemon.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096
