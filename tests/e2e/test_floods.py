"""
Floods in small: many hellos, slow clients, no file descriptors left, limits per address, TLS broken on purpose.

The large ones are in tests/soak/test_floods.py.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher, connect, http_get, https_get, read_all, until
from tests.e2e.flooding import Slow, break_records, broken_tls, descriptors, drip_all, flooding, hello, send_broken

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

UNRECOGNIZED_NAME = "alert 112"
FEW_DESCRIPTORS = 120
SLOW_HEAD = b"GET /f/slow HTTP/1.1\r\nX-A: " + b"a" * 1000


def _launcher(tmp_path: Path, authority: trustme.CA, tracking: Origin, limits: str) -> Launcher:
    launcher = Launcher(tmp_path)
    launcher.write(
        domains=own_domain(authority, tmp_path, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
        more=f"[limits]\n{limits}",
    )
    return launcher


def test_flood_of_random_names(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Each gets its alert, nothing is written to the log, and good clients are served meanwhile.
    """
    log, refused = daemon.log, daemon.status()["tls"]["refused"]
    with flooding(daemon.https, 1000, 1000) as finished:
        for _ in range(20):
            assert 302 == https_get(daemon.https, "/f/flood", CLICK, trusting).status
        assert {UNRECOGNIZED_NAME: 1000} == finished().answers
    assert (log, 1000) == (daemon.log, daemon.status()["tls"]["refused"] - refused)


def test_slow_clients_are_ended_while_good_ones_are_served(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    A hello and a head that come byte by byte are over at their deadlines, and disturb nobody.
    """
    message = hello(CLICK)
    slow = [Slow(socket.create_connection(("127.0.0.1", daemon.https)), message) for _ in range(50)]
    slow += [Slow(connect(daemon.https, CLICK, trusting), SLOW_HEAD) for _ in range(50)]
    assert 302 == https_get(daemon.https, "/f/meanwhile", CLICK, trusting).status
    ends = drip_all(slow, 10)
    assert 100 == len(ends)
    assert max(ends) < 5  # their deadlines are a second
    until(lambda: daemon.status()["tls"]["open"] == 0, "end of all connections", 10)


def test_no_descriptors_left(tmp_path: Path, authority: trustme.CA, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    Who comes then waits in the backlog of either port, with a line in the log, and is served when some are free again.
    """
    launcher = _launcher(tmp_path, authority, tracking, "hello_seconds = 60\nhead_seconds = 60\n")
    with launcher.running() as daemon, contextlib.ExitStack() as crowd:
        limits = (descriptors(daemon) + 30, FEW_DESCRIPTORS)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, limits)
        for at in range(60):
            port = (daemon.https, daemon.http)[at % 2]
            crowd.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"\x16\x03")
        until(lambda: "no connection can be accepted" in daemon.log, "word of it", 10)
        waiting = [crowd.enter_context(socket.create_connection(("127.0.0.1", daemon.http), 20)) for _ in range(3)]
        for client in waiting:
            client.sendall(f"GET /f/waited HTTP/1.1\r\nHost: {CLICK}\r\nConnection: close\r\n\r\n".encode())
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, FEW_DESCRIPTORS))
        assert [b"HTTP/1.1 302"] * 3 == [read_all(client)[:12] for client in waiting]
        assert 302 == https_get(daemon.https, "/f/after", CLICK, trusting).status
        assert 302 == http_get(daemon.http, "/f/after", CLICK).status
        assert 2 >= daemon.log.count("no connection can be accepted")
        assert ("EMFILE" in daemon.log, "Traceback" in daemon.log) == (False, False)


def test_limits_per_address(tmp_path: Path, authority: trustme.CA, tracking: Origin, trusting: ssl.SSLContext) -> None:
    """
    An address that has too many connections gets no more on either port, until it has fewer; others are served.
    """
    launcher = _launcher(tmp_path, authority, tracking, "connections_per_address = 3\n")
    with launcher.running() as daemon, contextlib.ExitStack() as crowd:
        for port in (daemon.https, daemon.http):
            for _ in range(3):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"\x16")
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", port)) as one_more, contextlib.suppress(ConnectionError):
                    one_more.sendall(b"\x16")
                    assert b"" == one_more.recv(1)
        other = socket.create_connection(("127.0.0.1", daemon.https), source_address=("127.0.0.2", 0))
        with trusting.wrap_socket(other, server_hostname=CLICK):
            assert (5, 5) == tuple(daemon.status()[part]["over_address_limit"] for part in ("tls", "http"))
        assert 2 == daemon.log.count("127.0.0.1 has 3 connections open")
        crowd.close()
        until(lambda: daemon.status()["tls"]["open"] == 0, "end of the crowd")
        assert 302 == https_get(daemon.https, "/f/again", CLICK, trusting).status


def test_broken_tls(daemon: Daemon, trusting: ssl.SSLContext) -> None:
    """
    Whatever comes instead of a handshake ends that connection, leaves nothing open and no line in the log.
    """
    dice, good, log = random.Random(5), hello(CLICK), daemon.log  # noqa: S311 - a dice, not a key
    before = descriptors(daemon)
    for _ in range(300):
        send_broken(daemon.https, broken_tls(dice, good), dice)
    for _ in range(30):
        break_records(daemon.https, CLICK, trusting, dice)
    until(lambda: daemon.status()["tls"]["open"] == 0, "end of all connections", 10)
    assert 302 == https_get(daemon.https, "/f/after-all-that", CLICK, trusting).status
    assert (log, True) == (daemon.log, descriptors(daemon) <= before + 2)


def test_renegotiation_is_refused(daemon: Daemon) -> None:
    """
    A second hello on a connection of TLS 1.2 gets a warning instead of a handshake (RFC 5246 §7.2.2).
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with socket.create_connection(("127.0.0.1", daemon.https), 10) as plain:
        plain.setblocking(True)  # a timeout would make it non-blocking, which OpenSSL tells us of
        client = SSL.Connection(context, plain)
        client.set_tlsext_host_name(CLICK.encode())
        client.set_connect_state()
        client.do_handshake()
        client.renegotiate()
        with pytest.raises(SSL.Error, match="no renegotiation"):
            client.do_handshake()
