"""
HTTP/2 through the daemon, over real sockets, with clients that are not ours: jh2's, curl's, nghttp2's.
"""

from __future__ import annotations

import re
import shutil
import signal
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.e2e.conftest import CLICK, OTHER, own_domain
from tests.e2e.daemon import Daemon, Launcher, connect, https_get, until
from tests.e2e.origin import GIF, LANDING, Origin
from tests.e2e.test_proxy import ODD_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

pytestmark = pytest.mark.e2e

CALM = 11
Field = tuple[bytes, bytes]


class Client:
    """
    jh2's client on a TLS connection; what it sends is not checked, so that it can misbehave.
    """

    def __init__(self, port: int, authority: trustme.CA, name: str = CLICK) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.socket = connect(port, name, context)
        assert "h2" == self.socket.selected_alpn_protocol()
        self.h2 = H2Connection(
            H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.fields: dict[int, dict[bytes, bytes]] = {}
        self.content: dict[int, bytes] = {}
        self.over: set[int] = set()
        self.broken: dict[int, int] = {}
        self.end: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def ask(
        self, target: bytes, *fields: Field, method: bytes = b"GET", host: str = CLICK, content: bytes | None = None
    ) -> int:
        """
        Send a request, content included; give its stream.
        """
        stream_id: int = self.h2.get_next_available_stream_id()
        pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", target)]
        self.h2.send_headers(stream_id, [*pseudo, *fields], end_stream=content is None)
        while content is not None and stream_id not in self.over:
            size = min(self.h2.local_flow_control_window(stream_id), 16384, len(content))
            if size or not content:
                self.h2.send_data(stream_id, content[:size], end_stream=size == len(content))
                content = content[size:] or None
            else:
                self.receive()
        return stream_id

    def receive(self) -> None:
        """
        Send what there is to send, and take what comes.
        """
        assert self.end is None, f"the connection ended ({self.end}); answered {sorted(self.over)}"
        self.socket.sendall(self.h2.data_to_send())
        received = self.socket.recv(65536)
        if not received and self.end is None:
            self.end = -1
        for event in self.h2.receive_data(received):
            self._take(event)
        self.socket.sendall(self.h2.data_to_send())

    def answer(self, stream_id: int) -> tuple[int, bytes]:
        """
        Wait for the answer on *stream_id*; give status and content.
        """
        while stream_id not in self.over:
            self.receive()
        assert stream_id in self.fields, f"stream {stream_id} was reset ({self.broken.get(stream_id)}) unanswered"
        return int(self.fields[stream_id][b":status"]), self.content.get(stream_id, b"")

    def _take(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            self.fields[event.stream_id] = dict(event.headers)
        elif isinstance(event, DataReceived):
            self.content[event.stream_id] = self.content.get(event.stream_id, b"") + bytes(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.over.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.over.add(event.stream_id)
            self.broken[event.stream_id] = int(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.end = int(event.error_code)


def test_click_is_passed_on_and_answered(daemon: Daemon, tracking: Origin, authority: trustme.CA) -> None:
    """
    A click reaches the service with its Host, and the redirect comes back with its fields.
    """
    with Client(daemon.https, authority) as client:
        stream_id = client.ask(b"/f/h2/click", (b"user-agent", b"Mail/2"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
        assert (302, b"") == client.answer(stream_id)
    assert (LANDING, b"msys-http") == (client.fields[stream_id][b"location"], client.fields[stream_id][b"server"])
    (received,) = tracking.requests(b"/f/h2/click")
    assert ([CLICK.encode()], [b"127.0.0.1"], [b"https"], [b"a=1; b=2"]) == tuple(
        received.field(name) for name in (b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Cookie")
    )
    log = daemon.state / "access.log"
    until(lambda: b'"GET /f/h2/click HTTP/2.0" 302 0 "-" "Mail/2"' in log.read_bytes(), "log line")


def test_targets_arrive_byte_for_byte(daemon: Daemon, tracking: Origin, authority: trustme.CA) -> None:
    """
    No byte of a request target is changed on the way, however many requests share the connection.
    """
    with Client(daemon.https, authority) as client:
        for target in ODD_TARGETS:
            assert client.answer(client.ask(target))[0] in {200, 302}
            assert target == tracking.received[-1].target


def test_a_hundred_requests_at_a_time(daemon: Daemon, authority: trustme.CA) -> None:
    """
    Each gets its own answer.
    """
    with Client(daemon.https, authority) as client:
        asked = [client.ask(b"/echo", method=b"POST", content=b"number %d" % at) for at in range(100)]
        assert [(200, b"number %d" % at) for at in range(100)] == [client.answer(stream_id) for stream_id in asked]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin) -> Iterator[Daemon]:
    """
    Give a daemon with the deadlines that it has by itself: megabytes take their time on a busy machine.
    """
    launcher = Launcher(tmp_path_factory.mktemp("patient"))
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
    )
    with launcher.running() as running:
        yield running


def test_large_content_goes_both_ways(patient: Daemon, authority: trustme.CA) -> None:
    """
    Many times what the windows have, with and without a length, while a small request is answered in between.
    """
    content = bytes(at % 251 for at in range(1_000_000))
    with Client(patient.https, authority) as client:
        large = client.ask(b"/bytes/3000000")
        known = client.ask(b"/echo", (b"content-length", b"1000000"), method=b"POST", content=content)
        small = client.ask(b"/q/x")
        assert (200, GIF) == client.answer(small)
        assert (200, content) == client.answer(known)
        assert (200, content) == client.answer(client.ask(b"/echo", method=b"POST", content=content))
        assert (200, 3000000) == (client.answer(large)[0], len(client.content[large]))


def test_answer_that_breaks_off_resets_its_stream(daemon: Daemon, authority: trustme.CA) -> None:
    """
    A part is not taken for the whole, and the connection goes on; before the head it is a 502.
    """
    with Client(daemon.https, authority) as client:
        short = client.ask(b"/short")
        client.answer(short)
        assert short in client.broken
        assert 502 == client.answer(client.ask(b"/break"))[0]
        assert (200, b"hello world") == client.answer(client.ask(b"/chunked"))


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x", b"y\r\nTransfer-Encoding: chunked")],
        [(b"x\r\ny", b"z")],
        [(b"transfer-encoding", b"chunked")],
        [(b"connection", b"close")],
        [(b"content-length", b"5"), (b"content-length", b"6")],
        [(b"host", b"other.example.org")],
        [(b"x", b"y\x00")],
        [(b":path", b"/second")],
    ],
)
def test_nothing_is_smuggled(daemon: Daemon, tracking: Origin, authority: trustme.CA, fields: list[Field]) -> None:
    """
    What HTTP/1 can't hold is refused, and the service never sees any of it.
    """
    before = len(tracking.received)
    with Client(daemon.https, authority) as client:
        assert (
            400 == client.answer(client.ask(b"/f/smuggled", *fields, method=b"POST", content=b"GET / HTTP/1.1\r\n"))[0]
        )
        assert 200 == client.answer(client.ask(b"/q/after"))[0]
    assert [b"/q/after"] == [received.target for received in tracking.received[before:]]


def test_content_of_another_length_is_not_passed_on_as_whole(
    daemon: Daemon, tracking: Origin, authority: trustme.CA
) -> None:
    """
    What is left over of one request never becomes the next one.
    """
    before = len(tracking.received)
    with Client(daemon.https, authority) as client:
        for length in (b"3", b"50"):
            stream_id = client.ask(
                b"/echo", (b"content-length", length), method=b"POST", content=b"GET /x HTTP/1.1\r\n\r\n"
            )
            while stream_id not in client.over:
                client.receive()
        assert 200 == client.answer(client.ask(b"/q/after"))[0]
    whole = [received.target for received in tracking.received[before:] if received.target != b"/echo"]
    assert [b"/q/after"] == whole


def test_coalesced_request_for_another_certificate_is_misdirected(daemon: Daemon, authority: trustme.CA) -> None:
    """
    421 where the connection's certificate doesn't stand for the host; one wildcard stands for many.
    """
    with Client(daemon.https, authority) as client:
        assert 421 == client.answer(client.ask(b"/q/x", host=OTHER))[0]
        assert 421 == client.answer(client.ask(b"/q/x", host="stranger.example"))[0]
    with Client(daemon.https, authority, "a.links.example.net") as client:
        asked = [client.ask(b"/q/x", host=f"{name}.links.example.net") for name in "ab"]
        assert [200, 200] == [client.answer(stream_id)[0] for stream_id in asked]


def test_rapid_reset_is_sent_away_and_others_are_served(
    daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """
    A client that only begins and resets gets ENHANCE_YOUR_CALM (CVE-2023-44487).
    """
    with Client(daemon.https, authority) as client:
        for _ in range(400):
            client.h2.reset_stream(client.ask(b"/hang"), 8)
        while client.end is None:
            client.receive()
        assert CALM == client.end
    assert 200 == https_get(daemon.https, "/q/x", CLICK, trusting).status


def test_stopping_loses_no_request(launcher: Launcher, authority: trustme.CA, tracking: Origin) -> None:
    """
    What was asked before SIGTERM is answered; the connection ends with GOAWAY and no error.
    """
    tracking.stall.clear()
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
    )
    with launcher.running() as daemon, Client(daemon.https, authority) as client:
        client.ask(b"/hang/h2")
        client.receive()
        until(lambda: bool(tracking.requests(b"/hang/h2")), "request at the service")
        daemon.signal(signal.SIGTERM)
        threading.Timer(0.5, tracking.stall.set).start()
        # jh2's state machine is done with the first GOAWAY; what is on the wire tells.
        client.socket.settimeout(10)
        raw = b""
        while piece := client.socket.recv(65536):
            raw += piece
            for ping in re.findall(rb"\x00\x00\x08\x06\x00\x00\x00\x00\x00(.{8})", piece, re.DOTALL):
                client.socket.sendall(b"\x00\x00\x08\x06\x01\x00\x00\x00\x00" + ping)
        kinds = _kinds(raw)
        assert [7, 6, 7, 1] == kinds[-4:]
        assert -signal.SIGTERM == daemon.wait()


def _kinds(raw: bytes) -> list[int]:
    kinds, at = [], 0
    while at < len(raw):
        kinds.append(raw[at + 3])
        at += 9 + int.from_bytes(raw[at : at + 3], "big")
    return kinds


def _run(*arguments: str) -> str:
    if shutil.which(arguments[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed")
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_curl(daemon: Daemon, authority: trustme.CA, tmp_path: Path) -> None:
    """
    It speaks HTTP/2 with us by default, HTTP/1.1 if told to.
    """
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    common = ["--silent", "--cacert", str(tmp_path / "ca.pem"), "--resolve", f"{CLICK}:{daemon.https}:127.0.0.1"]
    write = ["--write-out", "%{http_version} %{http_code} %{size_download}", "--output", "/dev/null"]
    url = f"https://{CLICK}:{daemon.https}"
    assert f"2 200 {len(GIF)}" == _run("curl", *common, *write, f"{url}/q/x")
    assert f"1.1 200 {len(GIF)}" == _run("curl", "--http1.1", *common, *write, f"{url}/q/x")
    assert "2 200 100000" == _run("curl", *common, *write, "--data-binary", "x" * 100000, f"{url}/echo")


def test_h2load(daemon: Daemon) -> None:
    """
    A thousand requests, 80 at a time, all answered; large answers through small windows too.
    """
    url, to = f"https://{CLICK}:{daemon.https}", f"--connect-to=127.0.0.1:{daemon.https}"
    out = _run("h2load", "-n", "1000", "-c", "4", "-m", "20", to, f"{url}/q/x")
    assert "1000 succeeded, 0 failed, 0 errored" in out
    out = _run("h2load", "-n", "10", "-c", "2", "-m", "5", "-w", "14", "-W", "14", to, f"{url}/bytes/200000")
    assert "10 succeeded, 0 failed, 0 errored" in out
