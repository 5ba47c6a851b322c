from __future__ import annotations

import contextlib
import ssl
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ca import domains
from tests.e2e.daemon import Daemon, Launcher, connect
from tests.e2e.origin import Origin
from tests.soak.process import cpu_seconds, forget_peak, peak_mb, resident_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GIBIBYTE = 1 << 30
PIECE = bytes(range(256)) * 256
NAME = "big.example"
# Buffers on both sides of the proxy, and what the allocator keeps; a body held whole would be a thousand.
MAX_GROWTH_MB = 8
# Long enough for all that is not held back to be in the proxy.
STALL_SECONDS = 3.0
MAX_SECONDS = 180.0


class BigOrigin(Origin):
    """
    A tracking service that counts what it gets instead of keeping it, and sends as much as it is asked for.
    """

    def _exchanges(self, connection: ssl.SSLSocket, number: int) -> None:
        reader = connection.makefile("rb")
        while first := reader.readline():
            fields = dict(line.split(b": ", 1) for line in iter(reader.readline, b"\r\n"))
            if first.startswith(b"GET"):
                self._send(connection, int(first.split(b" ")[1].split(b"/")[2]))
                continue
            checksum, left = 0, int(fields[b"Content-Length"])
            while left > 0 and (piece := reader.read1(65536)):
                checksum, left = zlib.crc32(piece, checksum), left - len(piece)
            answer = b"%d left, %d" % (left, checksum)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)

    def _send(self, connection: ssl.SSLSocket, size: int) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            connection.sendall(PIECE)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """
    Give a daemon in front of such a service.
    """
    big = BigOrigin(tmp_path)
    launcher = Launcher(tmp_path)
    launcher.write(domains=domains(NAME), acme='directory = "internal"', upstream=big.configuration)
    with contextlib.closing(contextlib.ExitStack()) as ending:
        ending.callback(big.stop)
        running = ending.enter_context(launcher.running())
        running.wait_valid(NAME)
        yield running


@pytest.fixture
def connection(daemon: Daemon) -> Iterator[ssl.SSLSocket]:
    """
    Give a client's connection to it that was used once, so that everything that is loaded late is there.
    """
    trusting = ssl.create_default_context(cafile=daemon.state / "internal-ca.pem")
    with connect(daemon.https, NAME, trusting, seconds=60) as opened:
        opened.sendall(f"GET /bytes/{len(PIECE)} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert (len(PIECE), 0) == _read_body(opened)[::2]
        yield opened


def _read_body(connection: ssl.SSLSocket) -> tuple[int, int, int]:
    """
    Read an answer with a length; give how much came, its checksum, and how much was missing.
    """
    reader = connection.makefile("rb")
    assert b" 200 " in reader.readline()
    fields = dict(line.split(b": ", 1) for line in iter(reader.readline, b"\r\n"))
    length = left = int(fields[b"Content-Length"])
    checksum = 0
    while left > 0 and (piece := reader.read1(65536)):
        checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    return length, checksum, left


def _checksum(size: int) -> int:
    checksum = 0
    for _ in range(size // len(PIECE)):
        checksum = zlib.crc32(PIECE, checksum)
    return checksum


def _record(daemon: Daemon, record: Callable[[str, object], None], before: float, began: float, cpu: float) -> float:
    growth = peak_mb(daemon.process.pid) - before
    seconds = time.monotonic() - began
    record("resident MB before", f"{before:.0f}")
    record("growth at the peak, MB", f"{growth:.1f}")
    record("MB/s", f"{GIBIBYTE / 1e6 / seconds:.0f}")
    record("proxy CPU seconds", f"{cpu_seconds(daemon.process.pid) - cpu:.1f}")
    assert seconds < MAX_SECONDS
    return growth


def test_a_gibibyte_up(
    daemon: Daemon, connection: ssl.SSLSocket, record_property: Callable[[str, object], None]
) -> None:
    """
    1 GiB of request content goes up byte for byte in flat memory.
    """
    before, began, cpu = resident_mb(daemon.process.pid), time.monotonic(), cpu_seconds(daemon.process.pid)
    forget_peak(daemon.process.pid)
    connection.sendall(f"POST /up HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {GIBIBYTE}\r\n\r\n".encode())
    for _ in range(GIBIBYTE // len(PIECE)):
        connection.sendall(PIECE)
    expected = f"0 left, {_checksum(GIBIBYTE)}".encode()
    assert (len(expected), zlib.crc32(expected), 0) == _read_body(connection)
    assert _record(daemon, record_property, before, began, cpu) < MAX_GROWTH_MB


def test_a_gibibyte_down(
    daemon: Daemon, connection: ssl.SSLSocket, record_property: Callable[[str, object], None]
) -> None:
    """
    1 GiB of response content comes down byte for byte in flat memory, also while the client does not read for 3 s.
    """
    before, cpu = resident_mb(daemon.process.pid), cpu_seconds(daemon.process.pid)
    forget_peak(daemon.process.pid)
    connection.sendall(f"GET /bytes/{GIBIBYTE} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
    time.sleep(STALL_SECONDS)
    began = time.monotonic()
    assert (GIBIBYTE, _checksum(GIBIBYTE), 0) == _read_body(connection)
    assert _record(daemon, record_property, before, began, cpu) < MAX_GROWTH_MB
