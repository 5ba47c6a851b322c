"""
What stands before and behind us: load balancers that announce clients, proxies that are believed, servers that names
are passed through to, and browsers that are told to insist on HTTPS.

All peers are on loopback, which has addresses enough: 127.0.0.2 sends PROXY headers, 127.0.0.3 is a trusted proxy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

import attrs
import pytest
import trustme

from sptls.proxy_header import header
from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Answer, Daemon, Launcher, ask, http_get, https_get, read_all, request, until
from tests.e2e.test_http2 import Client
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

BALANCER, PROXY, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
PASSED, ANNOUNCED, DEAD = "passed.example.com", "announced.example.com", "dead.example.com"
V1 = b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 443\r\n"
V2 = header(("2001:db8::77", 56324), ("2001:db8::1", 443))
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@attrs.frozen
class Edge:
    """
    The daemon, the servers behind it, and a CA that all certificates come from.
    """

    daemon: Daemon
    tracking: Origin
    passed: socket.socket
    announced: socket.socket
    authority: trustme.CA

    def forwarded(self, target: str) -> tuple[list[bytes], list[bytes]]:
        """
        Give what the tracking service was told of the client that asked for *target*.
        """
        (received,) = self.tracking.requests(target.encode())
        return received.field(b"x-forwarded-for"), received.field(b"x-forwarded-proto")

    def logged(self, target: str) -> str:
        """
        Give the client's address in the access log's line about *target*.
        """
        log = self.daemon.state / "access.log"
        line = until(lambda: next((line for line in log.read_text().splitlines() if target in line), None), target)
        return line.split(" ")[0]

    def counts(self) -> dict[str, int]:
        """
        Give the counters of the TLS server.
        """
        counts: dict[str, int] = self.daemon.status()["tls"]
        return counts

    def context(self) -> ssl.SSLContext:
        """
        Give a client's context.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin) -> Iterator[Edge]:
    """
    Give all of it, running.
    """
    launcher = Launcher(tmp_path_factory.mktemp("edge"))
    with contextlib.ExitStack() as stack:
        passed, announced = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        nobody = stack.enter_context(socket.socket())  # has its port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        for backend in (passed, announced):
            backend.settimeout(10)
        ports = [sock.getsockname()[1] for sock in (passed, announced, nobody)]
        domains = [
            own_domain(authority, launcher.directory, CLICK) + "hsts_seconds = 31536000\nhsts_subdomains = true\n",
            own_domain(authority, launcher.directory, OTHER) + "redirect_http = true\n",
            f'[[domains]]\nname = "{PASSED}"\npassthrough = "localhost:{ports[0]}"\n',
            f'[[domains]]\nname = "{ANNOUNCED}"\npassthrough = "127.0.0.1:{ports[1]}"\n'
            "passthrough_proxy_protocol = true\n",
            f'[[domains]]\nname = "{DEAD}"\npassthrough = "127.0.0.1:{ports[2]}"\n',
        ]
        launcher.write(
            domains="".join(domains),
            acme='directory = "internal"',
            upstream=tracking.configuration,
            more="[limits]\nhello_seconds = 1.5\nhead_seconds = 1.5\npassthrough_idle_seconds = 2\n",
            listen=f'proxy_protocol = ["{BALANCER}"]\ntrusted_proxies = ["{PROXY}", "198.51.100.0/24"]',
        )
        with launcher.running() as daemon:
            yield Edge(daemon, tracking, passed, announced, authority)


def dial(port: int, source: str = STRANGER) -> socket.socket:
    """
    Connect to the daemon from *source*.
    """
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def hello_of(name: str, *alpn: str) -> bytes:
    """
    Give a real ClientHello.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def take(sock: socket.socket, size: int) -> bytes:
    """
    Read exactly *size* bytes.
    """
    received = b""
    while len(received) < size and (piece := sock.recv(size - len(received))):
        received += piece
    return received


def reset(sock: socket.socket) -> None:
    """
    Close with RST.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# PROXY headers


@pytest.mark.parametrize(
    ("announcement", "client"),
    [(V1, "192.0.2.77"), (V2, "2001:db8::77"), (LOCAL, BALANCER), (b"PROXY UNKNOWN\r\n", BALANCER)],
    ids=["v1", "v2", "local", "unknown"],
)
@pytest.mark.parametrize("cut", [0, 1, 9])
def test_an_announced_client_over_tls(edge: Edge, announcement: bytes, client: str, cut: int) -> None:
    """
    The tracking service is told the announced address, wherever the header is cut.
    """
    target = f"/f/tls/{len(announcement)}/{cut}"
    with dial(edge.daemon.https, BALANCER) as plain:
        plain.sendall(announcement[:cut])
        if cut:
            select_nothing(plain)
        plain.sendall(announcement[cut:])
        with edge.context().wrap_socket(plain, server_hostname=CLICK) as connection:
            assert 302 == ask(connection, request(target, CLICK)).status
    assert ([client.encode()], [b"https"]) == edge.forwarded(target)


def select_nothing(sock: socket.socket) -> None:
    """
    Give the daemon the time to look, and see that it says nothing.
    """
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.settimeout(10)


@pytest.mark.parametrize("announcement", [V1, V2], ids=["v1", "v2"])
def test_header_and_hello_in_one_segment(edge: Edge, announcement: bytes) -> None:
    """
    What is behind the header is the hello, byte for byte.
    """
    outgoing, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = edge.context().wrap_bio(incoming, outgoing, server_hostname=CLICK)
    with dial(edge.daemon.https, BALANCER) as sock:
        first = announcement
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(first + outgoing.read())
                first = b""
                incoming.write(sock.recv(65536))
        assert "TLSv1.3" == client.version()


@pytest.mark.parametrize("announcement", [V1, V2], ids=["v1", "v2"])
def test_an_announced_client_over_plain_http(edge: Edge, announcement: bytes) -> None:
    """
    In one segment with the request, or byte by byte.
    """
    client = b"192.0.2.77" if announcement == V1 else b"2001:db8::77"
    whole, cut = f"/f/plain/{len(announcement)}/whole", f"/f/plain/{len(announcement)}/cut"
    with dial(edge.daemon.http, BALANCER) as sock:
        assert 302 == ask(sock, announcement + request(whole, CLICK)).status
    with dial(edge.daemon.http, BALANCER) as sock:
        for byte in announcement:
            sock.sendall(bytes((byte,)))
        assert 302 == ask(sock, request(cut, CLICK)).status
    assert [([client], [b"http"])] * 2 == [edge.forwarded(whole), edge.forwarded(cut)]


def test_a_header_from_anybody_else_is_no_tls_and_no_request(edge: Edge) -> None:
    """
    Nobody else can claim an address.
    """
    with dial(edge.daemon.https) as sock:
        sock.sendall(V1 + hello_of(CLICK))
        assert b"" == read_all(sock)
    with dial(edge.daemon.http) as sock:
        assert 400 == ask(sock, V1 + request("/f/stranger", CLICK)).status
    assert [] == edge.tracking.requests(b"/f/stranger")
    assert 302 == http_get(edge.daemon.http, "/f/nothing", CLICK).status


@pytest.mark.parametrize("broken", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PROXY TCP4 x\r\n", b"PROX"])
def test_a_balancer_without_a_good_header_is_closed(edge: Edge, broken: bytes) -> None:
    """
    At once, or when its time is over; counted and not logged.
    """
    before, lines = edge.daemon.status(), len(edge.daemon.log.splitlines())
    for port in (edge.daemon.https, edge.daemon.http):
        with dial(port, BALANCER) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(broken)
            assert b"" == sock.recv(1)
    after = edge.daemon.status()
    counted = [after[part]["proxy_header_failures"] - before[part]["proxy_header_failures"] for part in ("tls", "http")]
    assert ([1, 1], lines) == (counted, len(edge.daemon.log.splitlines()))


def test_a_balancer_that_only_looks_is_no_failure(edge: Edge) -> None:
    """
    A health check connects, says LOCAL perhaps, and closes.
    """
    before = edge.counts()["proxy_header_failures"]
    for said in (b"", LOCAL):
        for port in (edge.daemon.https, edge.daemon.http):
            with dial(port, BALANCER) as sock:
                sock.sendall(said)
    until(lambda: edge.counts()["open"] == 0, "end of the checks")
    assert before == edge.counts()["proxy_header_failures"]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_announces_clients(edge: Edge, tmp_path: Path, version: str) -> None:
    """
    A real one, before both ports.
    """
    https, http = free_ports(2)
    listeners = "".join(
        f"listen {name}\n  bind 127.0.0.1:{port}\n  server s 127.0.0.1:{to} {version} source {BALANCER}\n"
        for name, port, to in (("tls", https, edge.daemon.https), ("plain", http, edge.daemon.http))
    )
    defaults = "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
    (tmp_path / "haproxy.cfg").write_text(defaults + listeners)
    process = subprocess.Popen(["haproxy", "-db", "-q", "-f", str(tmp_path / "haproxy.cfg")])
    try:
        with until(lambda: dialled(http), "HAProxy") as sock:
            assert 302 == ask(sock, request(f"/f/{version}/plain", CLICK)).status
        with dial(https) as plain, edge.context().wrap_socket(plain, server_hostname=CLICK) as connection:
            assert 302 == ask(connection, request(f"/f/{version}/tls", CLICK)).status
    finally:
        process.terminate()
        process.wait(10)
    told = [edge.forwarded(f"/f/{version}/{end}") for end in ("plain", "tls")]
    assert [([STRANGER.encode()], [b"http"]), ([STRANGER.encode()], [b"https"])] == told


def dialled(port: int) -> socket.socket | None:
    """
    Connect if somebody listens.
    """
    with contextlib.suppress(ConnectionRefusedError):
        return dial(port)
    return None


# Trusted proxies


def fields_of(chain: str, scheme: str) -> tuple[str, str]:
    """
    Give what a proxy sends.
    """
    return f"X-Forwarded-For: {chain}", f"X-Forwarded-Proto: {scheme}"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 198.51.100.7", "203.0.113.9"),
        ("203.0.113.9, unknown", PROXY),
    ],
)
def test_a_trusted_proxy_is_believed(edge: Edge, chain: str, client: str) -> None:
    """
    The right-most address that is not a proxy's, alone; over plain HTTP and TLS.
    """
    stem = f"/f/believed/{len(chain)}"
    with dial(edge.daemon.http, PROXY) as sock:
        assert 302 == ask(sock, request(stem + "/plain", CLICK, *fields_of(chain, "https"))).status
    with dial(edge.daemon.https, PROXY) as plain, edge.context().wrap_socket(plain, server_hostname=CLICK) as sock:
        assert 302 == ask(sock, request(stem + "/tls", CLICK, *fields_of(chain, "http"))).status
    told = [edge.forwarded(stem + "/plain"), edge.forwarded(stem + "/tls")]
    assert [([client.encode()], [b"https"]), ([client.encode()], [b"http"])] == told


def test_anybody_else_is_not(edge: Edge) -> None:
    """
    What a client says of itself is dropped.
    """
    with dial(edge.daemon.http) as sock:
        assert 302 == ask(sock, request("/f/claim", CLICK, *fields_of("203.0.113.9", "https"))).status
    assert ([STRANGER.encode()], [b"http"]) == edge.forwarded("/f/claim")


def test_an_announced_proxy_is_believed(edge: Edge) -> None:
    """
    Both together: the balancer announces the proxy, and that names the client.
    """
    announcement = header(("198.51.100.1", 1), ("127.0.0.1", 80))
    with dial(edge.daemon.http, BALANCER) as sock:
        message = announcement + request("/f/both", CLICK, *fields_of("203.0.113.9", "https"))
        assert 302 == ask(sock, message).status
    assert ([b"203.0.113.9"], [b"https"]) == edge.forwarded("/f/both")


def test_the_access_log_has_the_same_client(edge: Edge) -> None:
    """
    Announced, believed, or the peer itself.
    """
    believed = request("/f/log/believed", CLICK, *fields_of("203.0.113.9", "https"))
    for source, message in (
        (BALANCER, V1 + request("/f/log/announced", CLICK)),
        (PROXY, believed),
        (STRANGER, believed.replace(b"believed", b"stranger")),
    ):
        with dial(edge.daemon.http, source) as sock:
            assert 302 == ask(sock, message).status
    found = [edge.logged(f"/f/log/{kind}") for kind in ("announced", "believed", "stranger")]
    assert ["192.0.2.77", "203.0.113.9", STRANGER] == found


def test_whoever_came_by_https_is_not_redirected(edge: Edge) -> None:
    """
    A proxy that has taken TLS off says so; a redirect would come back for ever.
    """
    with dial(edge.daemon.http, PROXY) as sock:
        assert 308 == ask(sock, request("/f/http", OTHER, *fields_of("203.0.113.9", "http"))).status
    with dial(edge.daemon.http, PROXY) as sock:
        assert 302 == ask(sock, request("/f/https", OTHER, *fields_of("203.0.113.9", "https"))).status


# HSTS


def test_hsts_over_https_only(edge: Edge) -> None:
    """
    With each answer for that domain, our own too: not over HTTP, not for another one, not with a 421.
    """
    expected = "max-age=31536000; includeSubDomains"
    answer = https_get(edge.daemon.https, "/f/hsts", CLICK, edge.context())
    assert (302, expected) == (answer.status, hsts(answer))
    answer = https_get(edge.daemon.https, "/break/hsts", CLICK, edge.context())
    assert (502, expected) == (answer.status, hsts(answer))
    assert (502, None) == ((answer := http_get(edge.daemon.http, "/break/hsts", CLICK)).status, hsts(answer))
    assert None is hsts(http_get(edge.daemon.http, "/f/hsts", CLICK))
    assert None is hsts(https_get(edge.daemon.https, "/f/hsts", OTHER, edge.context()))
    with dial(edge.daemon.https) as plain, edge.context().wrap_socket(plain, server_hostname=CLICK) as sock:
        answer = ask(sock, request("/f/hsts", OTHER))
    assert (421, None) == (answer.status, hsts(answer))


def hsts(answer: Answer) -> str | None:
    """
    Give the field.
    """
    return answer.field("Strict-Transport-Security")


def test_hsts_over_http2(edge: Edge) -> None:
    """
    The same field.
    """
    with Client(edge.daemon.https, edge.authority) as client:
        stream_id = client.ask(b"/f/hsts2")
        while stream_id not in client.over:
            client.receive()
        assert b"max-age=31536000; includeSubDomains" == client.fields[stream_id][b"strict-transport-security"]


# Passthrough


def test_the_client_sees_the_other_servers_certificate(edge: Edge) -> None:
    """
    TLS is between the client and the server behind us, both ways.
    """
    other_ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = other_ca.issue_cert(PASSED, key_type=trustme.KeyType.ECDSA)
    issued.configure_cert(server_context)

    def serve() -> None:
        plain, _ = edge.passed.accept()
        with server_context.wrap_socket(plain, server_side=True) as connection:
            connection.sendall(b"you said " + connection.recv(100))
            with contextlib.suppress(OSError):  # the client may not wait for our close_notify's answer
                connection.unwrap()

    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    other_ca.configure_trust(context)
    with dial(edge.daemon.https) as plain, context.wrap_socket(plain, server_hostname=PASSED) as connection:
        connection.sendall(b"hello")
        assert b"you said hello" == read_all(connection)
        seen = connection.getpeercert(binary_form=True)
    thread.join(10)
    (mine, *_) = issued.cert_chain_pems
    assert ssl.PEM_cert_to_DER_cert(mine.bytes().decode()) == seen


@pytest.mark.parametrize("alpn", [(), ("acme-tls/1",)])
def test_bytes_are_untouched_both_ways(edge: Edge, alpn: tuple[str, ...]) -> None:
    """
    From the hello's first byte to the last before each FIN; a CA's validation too. Each side may end first.
    """
    hello, up, down = hello_of(PASSED, *alpn), os.urandom(3_000_000), os.urandom(3_000_000)
    with dial(edge.daemon.https) as client:
        client.sendall(hello)
        with edge.passed.accept()[0] as backend:
            assert hello == take(backend, len(hello))
            for sender, receiver, sent in ((client, backend, up), (backend, client, down)):
                thread = threading.Thread(target=send_and_end, args=(sender, sent))
                thread.start()
                assert sent == read_all(receiver)
                thread.join(10)
    until(lambda: edge.counts()["passing_through"] == 0, "end")


def send_and_end(sock: socket.socket, data: bytes) -> None:
    """
    Send *data*, and say that no more comes.
    """
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_the_other_server_is_told_the_client(edge: Edge) -> None:
    """
    By a PROXY header before the hello: a stranger's own address, or what a balancer announced.
    """
    hello = hello_of(ANNOUNCED)
    for source, said, expected in (
        (BALANCER, V2, V2),
        (BALANCER, V1, header(("192.0.2.77", 56324), ("198.51.100.1", 443))),
        (STRANGER, b"", None),
    ):
        with dial(edge.daemon.https, source) as client:
            mine = header(client.getsockname(), client.getpeername())
            client.sendall(said + hello)
            with edge.announced.accept()[0] as backend:
                whole = (expected or mine) + hello
                assert whole == take(backend, len(whole))


def test_a_reset_is_passed_on(edge: Edge) -> None:
    """
    Whoever sends it.
    """
    for who in (0, 1):
        with dial(edge.daemon.https) as client:
            client.sendall(hello_of(PASSED))
            with edge.passed.accept()[0] as backend:
                backend.recv(1)
                sides = [client, backend]
                reset(sides[who])
                sides[1 - who].settimeout(10)
                with pytest.raises(ConnectionResetError):
                    read_all(sides[1 - who])


def test_a_reader_that_takes_nothing_holds_the_sender(edge: Edge) -> None:
    """
    Nothing is heaped up between them; with no byte either way for long enough, it ends.
    """
    with dial(edge.daemon.https) as client:
        client.sendall(hello_of(PASSED))
        with edge.passed.accept()[0] as backend:
            backend.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            backend.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 100_000_000:
                    sent += backend.send(bytes(65536))
            assert sent < 50_000_000
            backend.settimeout(20)
            with pytest.raises(ConnectionResetError):
                read_all(backend)


def test_a_server_that_is_down_refuses_its_clients(edge: Edge) -> None:
    """
    With the alert internal_error, and one line in the log however many come.
    """
    before = edge.counts()["passthrough_failures"]
    for _ in range(3):
        with dial(edge.daemon.https) as plain, pytest.raises(ssl.SSLError, match="internal error"):
            edge.context().wrap_socket(plain, server_hostname=DEAD)
    assert before + 3 == edge.counts()["passthrough_failures"]
    assert 1 == edge.daemon.log.count("connections can't be passed through to 127.0.0.1:")


def test_a_name_that_is_passed_through_has_no_certificate_and_no_site(edge: Edge) -> None:
    """
    It stands in the status as such; over plain HTTP it is not served.
    """
    domain = edge.daemon.domain(PASSED)
    assert ("passed through", "passthrough", None) == (domain["state"], domain["source"], domain["problem"])
    assert 421 == http_get(edge.daemon.http, "/", PASSED).status


def test_a_connection_that_is_passed_through_is_drained(tmp_path: Path, authority: trustme.CA) -> None:
    """
    SIGTERM lets it go on; and what a reload changes is in force for the next one.
    """
    launcher = Launcher(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as backend, contextlib.ExitStack() as stack:
        backend.settimeout(10)
        own = own_domain(authority, tmp_path, CLICK)
        launcher.write(domains=own, acme='directory = "internal"')
        daemon = stack.enter_context(launcher.running())
        name = f'[[domains]]\nname = "{PASSED}"\npassthrough = "127.0.0.1:{backend.getsockname()[1]}"\n'
        launcher.write(domains=own + name, acme='directory = "internal"')
        daemon.signal(signal.SIGHUP)
        until(lambda: PASSED in json.dumps(daemon.status()), "the new name")
        client = stack.enter_context(dial(daemon.https))
        hello = hello_of(PASSED)
        client.sendall(hello)
        far = stack.enter_context(backend.accept()[0])
        assert hello == take(far, len(hello))
        daemon.signal(signal.SIGTERM)
        until(lambda: is_refused(daemon.https), "end of listening")
        far.sendall(b"still there")
        assert b"still there" == take(client, 11)
        far.close()
        assert b"" == client.recv(1)
        client.close()
        assert -signal.SIGTERM == daemon.wait()


def is_refused(port: int) -> bool:
    """
    Tell whether nobody listens.
    """
    sock = dialled(port)
    if sock is not None:
        sock.close()
    return sock is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_changes_whose_bytes_pass_and_who_is_believed(
    tmp_path: Path, authority: trustme.CA, tracking: Origin, workers: int
) -> None:
    """
    SIGHUP is enough, in every process.
    """
    launcher = Launcher(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(10)
        served = own_domain(authority, tmp_path, CLICK)
        passed = f'[[domains]]\nname = "{PASSED}"\npassthrough = "127.0.0.1:{backend.getsockname()[1]}"\n'

        def write(domains: str, listen: str = "") -> None:
            upstream = tracking.configuration
            path = launcher.write(domains=domains, acme='directory = "internal"', upstream=upstream, listen=listen)
            path.write_text(f"workers = {workers}\n{path.read_text()}")

        write(served)
        with launcher.running() as daemon:
            write(served + passed, f'proxy_protocol = ["{BALANCER}"]')
            daemon.signal(signal.SIGHUP)
            until(lambda: "the configuration was read again" in daemon.log, "the reload")
            hello = hello_of(PASSED)
            for source, start in [(BALANCER, V1), (STRANGER, b"")] * 3:
                with dial(daemon.https, source) as client:
                    client.sendall(start + hello)
                    with backend.accept()[0] as server:
                        server.settimeout(10)
                        assert hello == take(server, len(hello))
            write(served)
            daemon.signal(signal.SIGHUP)
            until(lambda: daemon.log.count("the configuration was read again") == 2, "the second reload")
            for source in [BALANCER, STRANGER] * 3:
                with dial(daemon.https, source) as client:
                    client.sendall(hello)
                    assert b"\x15\x03" == take(client, 2)
