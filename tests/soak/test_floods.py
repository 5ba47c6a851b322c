"""
Floods in full: hellos with random names, slow clients by the thousand, TLS broken on purpose.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trustme

from sptls.config import LimitsConfig
from sptls.proxy.gateway import WRITE_SECONDS
from sptls.proxy.upstream_exchange import GATHERED_BYTES
from sptls.tls.lingering import LINGER_SECONDS
from tests.e2e.clicks import clicking
from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher, connect, https_get, until
from tests.e2e.flooding import (
    Slow,
    break_records,
    broken_tls,
    declining,
    descriptors,
    flooding,
    hello,
    send_broken,
)
from tests.e2e.http2_wire import Peer, get
from tests.e2e.origin import origin
from tests.proxy.http2_client import PING, PREFACE, frame, settings
from tests.soak.process import cpu_seconds, forget_peak, peak_mb, resident_mb

if TYPE_CHECKING:
    from collections.abc import Iterator


HELLOS = 50_000
HARMLESS = 10_000
ELSEWHERE = 20_000  # enough for their p99
TURNS = 5
# What both sides of the flood can do on two cores that have other things to do, with room for good clients.
PER_SECOND = 500.0
FLOOD_GROWTH_MB = 5.0
SLOWER = 1.2
KINDS = {
    "none": "without a flood",
    "elsewhere": "while it goes elsewhere",
    "good": "with a flood of good hellos",
    "random": "with random names",
}
BROKEN = 10_000
# What the allocator keeps of it; a kilobyte leaked by each would be ten.
BROKEN_GROWTH_MB = 4.0
SLOW_CLIENTS = 2000
HEAD = f"POST /count/slow HTTP/1.1\r\nHost: {CLICK}\r\nContent-Length: 50000\r\n\r\n".encode()
# More than all buffers on the way have room for.
ANSWER_BYTES = 4_000_000
PEERS = 6
FEW = 20  # good clients, and what lingers of them
UPSTREAM_CONNECTIONS = LimitsConfig().upstream_connections
# Nobody is ended before so much of its deadline is over.
IN_TIME = 0.9
# All clicks together, and the slowest of them: far from what a quiet machine does.
CLICKS_A_SECOND = 20
CLICK_SECONDS = 5.0


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


@contextlib.contextmanager
def _timing(daemon: Daemon, trusting: ssl.SSLContext, seconds: list[float]) -> Iterator[None]:
    """
    Make good clicks until the end of the block, and add what each took to *seconds*.
    """
    is_over = threading.Event()

    def click() -> None:
        while not is_over.wait(0.01):
            began = time.perf_counter()
            assert 302 == https_get(daemon.https, "/f/good", CLICK, trusting).status
            seconds.append(time.perf_counter() - began)

    with ThreadPoolExecutor(1) as client:
        clicking = client.submit(click)
        try:
            yield
        finally:
            is_over.set()
        clicking.result()


def _flood(port: int, count: int, name: str = "") -> dict[str, int]:
    with flooding(port, count, PER_SECOND, name) as finished:
        return finished().answers


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
    name's p99 is at most 1.2 times what it is while the same clients flood somebody else.

    That somebody is a program that declines each hello for next to nothing: the clients of a flood, who are elsewhere
    in life, have the same processors as the daemon here and slow its good clients down whomever they flood. What the
    comparison leaves is all that the flood costs by reaching the daemon. The p99 without any flood is reported, and
    with as many good hellos, which cost more than the flood.
    """
    pid, clicks = daemon.process.pid, {kind: list[float]() for kind in ("none", "elsewhere", "good", "random")}
    answered, cpu = 0, 0.0
    with declining() as elsewhere, _timing(daemon, trusting, []):
        for port, name in ((daemon.https, ""), (daemon.https, CLICK), (elsewhere, "")):
            _flood(port, HARMLESS // TURNS, name)  # what is allocated once
        before_mb, files, log = resident_mb(pid), _files(daemon.state), daemon.log
    with declining() as elsewhere:
        for _ in range(TURNS):  # for a machine that is not always equally busy
            with _timing(daemon, trusting, clicks["none"]):
                time.sleep(HARMLESS / TURNS / PER_SECOND)
            with _timing(daemon, trusting, clicks["good"]):
                _flood(daemon.https, HARMLESS // TURNS, CLICK)
            with _timing(daemon, trusting, clicks["elsewhere"]):
                _flood(elsewhere, ELSEWHERE // TURNS)
            used = cpu_seconds(pid)
            with _timing(daemon, trusting, clicks["random"]):
                answered += _flood(daemon.https, HELLOS // TURNS).get("alert 112", 0)
            cpu += cpu_seconds(pid) - used
    growth_mb = resident_mb(pid) - before_mb
    p99 = {kind: _p99(seconds) for kind, seconds in clicks.items()}
    record_property("growth, MB", f"{growth_mb:.1f}")
    record_property("hellos a second", f"{PER_SECOND:.0f}")
    record_property("of a processor for them and the clicks", f"{cpu / (HELLOS / PER_SECOND):.0%}")
    for kind, what in KINDS.items():
        record_property(f"p50, p99 {what}, ms", f"{statistics.median(clicks[kind]) * 1e3:.1f}, {p99[kind]:.1f}")
    assert (HELLOS, files, log, False) == (answered, _files(daemon.state), daemon.log, outside.was_asked())
    assert growth_mb <= FLOOD_GROWTH_MB
    assert p99["random"] <= SLOWER * p99["elsewhere"]


def _hello(daemon: Daemon, _: ssl.SSLContext) -> Slow:
    connection, message = socket.create_connection(("127.0.0.1", daemon.https), 30), hello(CLICK)
    connection.sendall(message[:1])  # before that it is not accepted (TCP_DEFER_ACCEPT), and costs nothing
    return Slow(connection, message[1:])


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
    # The system gives a sender room for so many segments: over loopback, where they are large, for all of the answer.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    plain.settimeout(30)
    plain.connect(("127.0.0.1", daemon.https))
    connection = trusting.wrap_socket(plain, server_hostname=CLICK)
    connection.sendall(f"GET /bytes/{ANSWER_BYTES} HTTP/1.1\r\nHost: {CLICK}\r\n\r\n".encode())
    return Slow(connection, b"")


@attrs.frozen
class Slowness:
    """
    What slow clients do first, when the daemon ends each, how much memory it may cost, and how many are let in.
    """

    begin: Callable[[Daemon, ssl.SSLContext], Slow]
    deadline_seconds: float
    kb_each: float
    let_in: int = SLOW_CLIENTS


SLOWNESSES = {
    "hello": Slowness(_hello, 10.0, 5),
    "head": Slowness(_head, 20.0, 60),
    "body": Slowness(_body, 60.0, 80),
    # As many as there may be whose content is still coming, the other half of the connections being the clicks'.
    "large body": Slowness(_large_body, 60.0, 100, UPSTREAM_CONNECTIONS // 2),
    # As many as keep a connection to the upstream when others want it.
    "reader": Slowness(_reader, WRITE_SECONDS, 80, UPSTREAM_CONNECTIONS // 4),
}


@attrs.frozen
class Seen:
    """
    How many connections were open, at so many *seconds* after the last slow client began, and how many of the slow ones
    had time left then.
    """

    seconds: float
    open: int
    in_time: int


def _go_on(daemon: Daemon, slow: dict[Slow, float], deadline_seconds: float) -> list[Seen]:
    """
    Let all go on, who began when *slow* says, until the daemon has ended the last; give what was seen meanwhile.

    It is asked: who reads nothing is not told either.
    """
    began, left, seen = time.monotonic(), list(slow), list[Seen]()
    for one in slow:
        one.connection.setblocking(False)
    while time.monotonic() < began + deadline_seconds + 60:
        now = time.monotonic()
        in_time = sum(now < moment + IN_TIME * deadline_seconds for moment in slow.values())
        seen.append(Seen(now - began, daemon.status()["tls"]["open"], in_time))
        if seen[-1].open <= FEW:
            break
        left = [one for one in left if one.drip()]
        select.select([], [], [], 0.3)
    for one in slow:
        one.connection.close()
    return seen


@pytest.mark.parametrize("how", SLOWNESSES)
def test_slow_clients(
    daemon: Daemon, trusting: ssl.SSLContext, record_property: Callable[[str, object], None], how: str
) -> None:
    """
    2,000 clients that send a hello, a head or content byte by byte, or read nothing of 4 MB: all that are let in are
    open until their deadline and ended by it, in bounded memory, and good clients are all served meanwhile.
    """
    pid, slowness = daemon.process.pid, SLOWNESSES[how]
    with clicking(daemon.https, daemon.http, CLICK, trusting) as clicks:
        until(lambda: len(clicks.answered) > 200, "the first clicks")
        before_mb, before = resident_mb(pid), len(clicks.answered)
        forget_peak(pid)
        slow = {slowness.begin(daemon, trusting): time.monotonic() for _ in range(SLOW_CLIENTS)}
        until(lambda: daemon.status()["tls"]["open"] >= slowness.let_in, "slow clients", 10)
        seen = _go_on(daemon, slow, slowness.deadline_seconds)
        served = len(clicks.answered) - before
    growth_mb = peak_mb(pid) - before_mb
    record_property("how", how)
    record_property("open, at the most and at half of the deadline", _told(seen, slowness.deadline_seconds / 2))
    record_property("last one ended after, seconds", f"{seen[-1].seconds:.0f}")
    record_property("clicks meanwhile", served)
    record_property("slowest of them, seconds", f"{clicks.longest_seconds:.2f}")
    record_property("growth at the peak, MB", f"{growth_mb:.0f}")
    assert [] == clicks.failures
    assert served > CLICKS_A_SECOND * seen[-1].seconds
    assert clicks.longest_seconds < CLICK_SECONDS
    assert [] == [each for each in seen if each.open < min(each.in_time, slowness.let_in)]
    assert seen[-1].open <= FEW
    assert seen[-1].seconds < slowness.deadline_seconds + LINGER_SECONDS + 5
    assert growth_mb < SLOW_CLIENTS * slowness.kb_each / 1000


def _told(seen: list[Seen], half_seconds: float) -> str:
    at_half = next(each for each in reversed(seen) if each.seconds <= half_seconds)
    return f"{max(each.open for each in seen)}, {at_half.open}"


def test_http2_streams_that_are_not_read(
    daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext, record_property: Callable[[str, object], None]
) -> None:
    """
    6 HTTP/2 clients with 100 requests each for 200 KB, a window of 0, and signs of life: they have connections to the
    service until their deadline, but none that a good client waits for.
    """
    used = list[tuple[float, int]]()
    with contextlib.ExitStack() as crowd:
        clicks = crowd.enter_context(clicking(daemon.https, daemon.http, CLICK, trusting))
        until(lambda: len(clicks.answered) > 200, "the first clicks")
        before, asked = len(clicks.answered), b"".join(get(at, path=b"/bytes/200000") for at in range(1, 200, 2))
        peers = [crowd.enter_context(Peer(daemon.https, authority)) for _ in range(PEERS)]
        for peer in peers:
            peer.send(PREFACE + settings(_4=0) + asked)
        until(lambda: _used(daemon) >= UPSTREAM_CONNECTIONS // 4, "streams that are answered")
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < WRITE_SECONDS + 60:
            used.append((seconds, _used(daemon)))
            if used[-1][1] <= FEW:
                break
            for peer in peers:
                peer.send(frame(PING, payload=b"I live!!"))
            select.select([], [], [], 1)
        served = len(clicks.answered) - before
    given_up = daemon.status()["http"]["slow_readers"]
    record_property("connections to the service, at the most", max(connections for _, connections in used))
    record_property("their deadline after, seconds", f"{used[-1][0]:.0f}")
    record_property("streams that had to go for others", given_up)
    record_property("clicks meanwhile", served)
    record_property("slowest of them, seconds", f"{clicks.longest_seconds:.2f}")
    assert [] == clicks.failures
    assert served > CLICKS_A_SECOND * used[-1][0]
    assert clicks.longest_seconds < CLICK_SECONDS
    in_time = [connections for seconds, connections in used if seconds < IN_TIME * WRITE_SECONDS]
    assert min(in_time) >= UPSTREAM_CONNECTIONS // 4
    assert given_up >= PEERS * 100 - UPSTREAM_CONNECTIONS
    assert used[-1][0] < WRITE_SECONDS + LINGER_SECONDS


def _used(daemon: Daemon) -> int:
    """
    Tell how many connections to the service have a request.
    """
    (upstream,) = daemon.status()["upstreams"]
    return int(upstream["connections"] - upstream["idle"])


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
