"""
Floods in full: hellos with random names, slow clients by the thousand, TLS broken on purpose.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from sptls.proxy.upstream_exchange import GATHERED_BYTES
from sptls.tls.lingering import LINGER_SECONDS
from tests.e2e.clicks import clicking
from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher, connect, https_get, until
from tests.e2e.flooding import Slow, break_records, broken_tls, descriptors, flooding, hello, send_broken
from tests.e2e.origin import origin
from tests.soak.process import forget_peak, peak_mb, resident_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


HELLOS = 50_000
HARMLESS = 10_000
TURNS = 5
# What both sides of the flood can do on two cores that have other things to do, with room for good clients.
PER_SECOND = 500.0
FLOOD_GROWTH_MB = 5.0
SLOWER = 1.2
BROKEN = 10_000
# What the allocator keeps of it; a kilobyte leaked by each would be ten.
BROKEN_GROWTH_MB = 4.0
SLOW_CLIENTS = 2000
HEAD = f"POST /count/slow HTTP/1.1\r\nHost: {CLICK}\r\nContent-Length: 50000\r\n\r\n".encode()
# As large as what has left the upstream before the client has read any: pages of a tracking service are smaller.
ANSWER_BYTES = 60_000
FEW = 20  # good clients, and what lingers of them


class Outside:
    """
    What a flood must not reach: a CA, and a DNS server.
    """

    def __init__(self) -> None:
        self.ca = socket.create_server(("127.0.0.1", 0))
        self.dns = socket.socket(type=socket.SOCK_DGRAM)
        self.dns.bind(("127.0.0.1", 0))

    @property
    def configuration(self) -> str:
        """
        Give the lines of ``[acme]`` that lead here.
        """
        directory = f"https://localhost:{self.ca.getsockname()[1]}/directory"
        resolver = f"127.0.0.1:{self.dns.getsockname()[1]}"
        return f'directory = "{directory}"\nagree_to_terms = true\nprecheck = "require"\nresolver = "{resolver}"'

    def was_asked(self) -> bool:
        """
        Tell whether either was asked anything.
        """
        for sock, ask in ((self.ca, self.ca.accept), (self.dns, lambda: self.dns.recv(512))):
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                ask()
                return True
        return False


@pytest.fixture
def outside() -> Iterator[Outside]:
    """
    Give who is outside.
    """
    outside = Outside()
    yield outside
    outside.ca.close()
    outside.dns.close()


@pytest.fixture
def daemon(tmp_path: Path, authority: trustme.CA, outside: Outside) -> Iterator[Daemon]:
    """
    Give a daemon with a certificate of its own for `CLICK`, and every default.
    """
    launcher = Launcher(tmp_path)
    with origin(tmp_path) as tracking:
        launcher.write(
            domains=own_domain(authority, tmp_path, CLICK), acme=outside.configuration, upstream=tracking.configuration
        )
        with launcher.running() as running:
            yield running


def _latencies(daemon: Daemon, trusting: ssl.SSLContext, name: str, count: int) -> tuple[list[float], dict[str, int]]:
    """
    Give how long good clicks take while *count* hellos for *name* come, and what these were answered.
    """
    seconds, is_over = list[float](), threading.Event()

    def click() -> None:
        while not is_over.wait(0.01):
            began = time.perf_counter()
            assert 302 == https_get(daemon.https, "/f/good", CLICK, trusting).status
            seconds.append(time.perf_counter() - began)

    with flooding(daemon.https, count, PER_SECOND, name) as finished:
        client = threading.Thread(target=click)
        client.start()
        try:
            answers = finished().answers
        finally:
            is_over.set()
            client.join()
    return seconds, answers


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100] * 1000


def _files(state: Path) -> dict[str, tuple[int, int]]:
    """
    Give size and time of everything that is kept but the access log, and the store's daily copy, which may be due.
    """
    kept = (path for path in state.rglob("*") if path.is_file() and path.suffix not in {".log", ".daily"})
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in kept}


def test_flood_of_random_names(
    daemon: Daemon, outside: Outside, trusting: ssl.SSLContext, record_property: Callable[[str, object], None]
) -> None:
    """
    50,000 hellos with random names: memory grows by 5 MB at most, nothing is written, looked up or ordered, and a good
    name's p99 is at most 1.2 times what it is at the same rate of harmless hellos.
    """
    pid = daemon.process.pid
    for name in ("", CLICK):
        _latencies(daemon, trusting, name, HARMLESS // TURNS)  # what is allocated once
    before_mb, files, log = resident_mb(pid), _files(daemon.state), daemon.log
    harmless, flooded = list[float](), list[float]()
    answered = 0
    for _ in range(TURNS):  # for a machine that is not always equally busy
        harmless += _latencies(daemon, trusting, CLICK, HARMLESS // TURNS)[0]
        seconds, answers = _latencies(daemon, trusting, "", HELLOS // TURNS)
        flooded += seconds
        answered += answers.get("alert 112", 0)
    growth_mb = resident_mb(pid) - before_mb
    record_property("growth, MB", f"{growth_mb:.1f}")
    record_property("p99 with harmless hellos, ms", f"{_p99(harmless):.1f}")
    record_property("p99 with random names, ms", f"{_p99(flooded):.1f}")
    record_property("hellos a second", f"{PER_SECOND:.0f}")
    assert (HELLOS, files, log, False) == (answered, _files(daemon.state), daemon.log, outside.was_asked())
    assert growth_mb <= FLOOD_GROWTH_MB
    assert _p99(flooded) <= SLOWER * _p99(harmless)


def _hello(daemon: Daemon, _: ssl.SSLContext) -> Slow:
    return Slow(socket.create_connection(("127.0.0.1", daemon.https), 30), hello(CLICK))


def _head(daemon: Daemon, trusting: ssl.SSLContext) -> Slow:
    return Slow(connect(daemon.https, CLICK, trusting), b"GET /f/slow HTTP/1.1\r\nX-A: " + b"a" * 10_000)


def _body(daemon: Daemon, trusting: ssl.SSLContext) -> Slow:
    connection = connect(daemon.https, CLICK, trusting)
    connection.sendall(HEAD)
    return Slow(connection, b"b" * 10_000)


def _large_body(daemon: Daemon, trusting: ssl.SSLContext) -> Slow:
    """
    Enough of it for the upstream's connection to be looked for.
    """
    slow = _body(daemon, trusting)
    with contextlib.suppress(OSError):  # most are refused
        slow.connection.sendall(b"b" * (GATHERED_BYTES + 1))
    return slow


def _reader(daemon: Daemon, trusting: ssl.SSLContext) -> Slow:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(30)
    plain.connect(("127.0.0.1", daemon.https))
    connection = trusting.wrap_socket(plain, server_hostname=CLICK)
    connection.sendall(f"GET /bytes/{ANSWER_BYTES} HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
    return Slow(connection, b"")


def _go_on(daemon: Daemon, slow: list[Slow], seconds: float) -> float:
    """
    Let all go on until the daemon has ended the last, at most *seconds*; give when that was, in seconds from now.

    It is asked: who reads nothing is not told either.
    """
    began, left = time.monotonic(), list(slow)
    for one in slow:
        one.connection.setblocking(False)
    while daemon.status()["tls"]["open"] > FEW and time.monotonic() < began + seconds:
        left = [one for one in left if one.drip()]
        select.select([], [], [], 0.3)
    for one in slow:
        one.connection.close()
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("begin", "deadline_seconds", "kb_each"),
    [(_hello, 10.0, 20), (_head, 20.0, 60), (_body, 60.0, 80), (_large_body, 60.0, 100), (_reader, 120.0, 150)],
    ids=["hello", "head", "body", "large body", "reader"],
)
def test_slow_clients(
    daemon: Daemon,
    trusting: ssl.SSLContext,
    record_property: Callable[[str, object], None],
    begin: Callable[[Daemon, ssl.SSLContext], Slow],
    deadline_seconds: float,
    kb_each: int,
) -> None:
    """
    2,000 clients that send a hello, a head or content byte by byte, or read nothing: all are ended by their deadline,
    in bounded memory, and good clients are all served meanwhile.
    """
    pid = daemon.process.pid
    with clicking(daemon.https, daemon.http, CLICK, trusting) as clicks:
        until(lambda: len(clicks.answered) > 200, "the first clicks")
        before_mb = resident_mb(pid)
        forget_peak(pid)
        slow = [begin(daemon, trusting) for _ in range(SLOW_CLIENTS)]
        seconds = _go_on(daemon, slow, deadline_seconds + 60)
        served = len(clicks.answered)
    growth_mb = peak_mb(pid) - before_mb
    record_property("clicks meanwhile", served)
    record_property("last one ended after, seconds", f"{seconds:.0f}")
    record_property("growth at the peak, MB", f"{growth_mb:.0f}")
    assert [] == clicks.failures
    assert seconds < deadline_seconds + LINGER_SECONDS + 5
    assert growth_mb < SLOW_CLIENTS * kb_each / 1000


def test_broken_tls(daemon: Daemon, trusting: ssl.SSLContext, record_property: Callable[[str, object], None]) -> None:
    """
    10,000 connections of broken hellos and records: memory and descriptors stay as they were, and the log is silent.
    """
    dice, good, pid = random.Random(2), hello(CLICK), daemon.process.pid  # noqa: S311 - a dice, not a key

    def break_in(count: int) -> tuple[float, int]:
        for at in range(count):
            if at % 10:
                send_broken(daemon.https, broken_tls(dice, good), dice)
            else:
                break_records(daemon.https, CLICK, trusting, dice)
        # They have all left, and nobody waits for a deadline to find out.
        until(lambda: daemon.status()["tls"]["open"] == 0, "end of all connections", 3)
        return resident_mb(pid), descriptors(daemon)

    before_mb, before = break_in(BROKEN // 10)
    log = daemon.log
    after_mb, after = break_in(BROKEN)
    record_property("growth, MB", f"{after_mb - before_mb:.1f}")
    record_property("descriptors", f"{before}, then {after}")
    assert log == daemon.log
    assert 302 == https_get(daemon.https, "/f/after-all-that", CLICK, trusting).status
    assert after <= before
    assert after_mb - before_mb < BROKEN_GROWTH_MB
