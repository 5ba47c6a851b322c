"""
Crowds that have much held in memory for them, in full: answers that nobody reads, uploads that never end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sptls.proxy.held_content import HELD_BYTES
from tests.e2e.clicks import clicking
from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher, connect, request, until
from tests.e2e.slow_crowds import plain_origin, unfinished, unread
from tests.soak.process import forget_peak, peak_mb, resident_mb

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import trustme

    from tests.e2e.http2_wire import Peer

ANSWER_BYTES = 60_000
# More than the systems at both ends take of it.
LARGE_BYTES = 200_000
# What the allocator makes of what is held, and one turn's answers of all upstream connections on top.
HELD_MB = 1.4 * HELD_BYTES / 1e6 + 512 * 65536 / 1e6
# What a connection costs that has come and not gone, with what its client's system doesn't take.
CONNECTION_MB = 0.06
FEW = 100
DOWNLOAD_BYTES = 30_000_000
DOWNLOAD_BYTES_PER_SECOND = 1_000_000


@pytest.fixture
def daemon(tmp_path: Path, authority: trustme.CA) -> Iterator[Daemon]:
    """
    Give a daemon with every default, and large answers behind it.
    """
    launcher = Launcher(tmp_path)
    with plain_origin() as service:
        launcher.write(
            domains=own_domain(authority, tmp_path, CLICK),
            acme='directory = "internal"',
            upstream=service.configuration,
        )
        with launcher.running() as running:
            yield running


class _Reader:
    """
    An honest client that takes a large answer at a pace of its own; *got* is how much it has.
    """

    def __init__(self, daemon: Daemon, trusting: ssl.SSLContext) -> None:
        self.got = 0
        self._connection = connect(daemon.https, CLICK, trusting)
        self._connection.sendall(request(f"/bytes/{DOWNLOAD_BYTES}", CLICK))
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        began = time.monotonic()
        with self._connection, contextlib.suppress(OSError):
            while received := self._connection.recv(16384):
                self.got += len(received)
                ahead = self.got / DOWNLOAD_BYTES_PER_SECOND - (time.monotonic() - began)
                time.sleep(max(0.0, ahead))


def _plain_reader(daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext) -> ssl.SSLSocket:
    """
    Give an HTTP/1 client whose side has room for next to nothing of its answer.
    """
    plain = socket.socket()
    plain.settimeout(30)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    plain.connect(("127.0.0.1", daemon.https))
    connection = trusting.wrap_socket(plain, server_hostname=CLICK)
    connection.sendall(request(f"/bytes/{LARGE_BYTES}", CLICK))
    return connection


def _no_window(daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext) -> Peer:
    return unread(daemon, authority, ANSWER_BYTES)


def _byte_window(daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext) -> Peer:
    return unread(daemon, authority, ANSWER_BYTES, 1)


def _uploads(daemon: Daemon, authority: trustme.CA, trusting: ssl.SSLContext) -> Peer:
    return unfinished(daemon, authority)


@pytest.mark.parametrize(
    ("begin", "count", "is_too_much"),
    [(_no_window, 60, False), (_byte_window, 300, True), (_uploads, 300, True), (_plain_reader, 3000, False)],
    ids=["no window", "a window of one byte", "uploads", "HTTP/1"],
)
def test_crowds_for_whom_much_is_held(
    daemon: Daemon,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
    record_property: Callable[[str, object], None],
    begin: Callable[[Daemon, trustme.CA, ssl.SSLContext], Peer | ssl.SSLSocket],
    count: int,
    is_too_much: bool,
) -> None:
    """
    Clients that read nothing, or send no end, by the hundred: memory is bounded, good clients are all served, and one
    that reads 30 MB at 1 MB a second gets them all.
    """
    pid = daemon.process.pid
    with clicking(daemon.https, daemon.http, CLICK, trusting) as clicks, contextlib.ExitStack() as crowd:
        until(lambda: len(clicks.answered) > 200, "the first clicks")
        before_mb = resident_mb(pid)
        forget_peak(pid)
        reader = _Reader(daemon, trusting)
        for _ in range(count):
            crowd.enter_context(begin(daemon, authority, trusting))
            # More requests at a time than may wait for the upstream are refused, whoever's they are.
            until(lambda: daemon.status()["upstreams"][0]["waiting"] < FEW, "room for good clients")
        reader.thread.join(120)
        growth_mb = peak_mb(pid) - before_mb
        http = daemon.status()["http"]
    record_property("growth at the peak, MB", f"{growth_mb:.0f}")
    record_property("had to go", f"{http['held_too_much']}, and {http['slow_readers']} for the upstream's sake")
    record_property("clicks meanwhile", len(clicks.answered))
    assert [] == clicks.failures
    assert reader.got > DOWNLOAD_BYTES
    assert growth_mb < HELD_MB + count * CONNECTION_MB
    assert is_too_much is (http["held_too_much"] > 0)
