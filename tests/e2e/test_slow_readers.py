"""
Clients that ask for large answers and take next to nothing of them.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Launcher, https_get, request, until
from tests.e2e.http2_wire import HELLO, Began, Peer, get

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

LARGE = "/bytes/1000000"


def _reader(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """
    Give a client that has asked for a large answer, and whose side has room for next to nothing of it.
    """
    plain = socket.socket()
    plain.settimeout(30)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # The system gives a sender room for so many segments: over loopback, where they are large, for all of the answer.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    plain.connect(("127.0.0.1", port))
    client = context.wrap_socket(plain, server_hostname=CLICK)
    client.sendall(request(LARGE, CLICK))
    return client


def test_slow_readers_leave_the_upstream_to_others(
    tmp_path: Path, authority: trustme.CA, tracking: Origin, trusting: ssl.SSLContext
) -> None:
    """
    They are three times as many as there may be connections to it, and every good client is answered meanwhile.
    """
    launcher = Launcher(tmp_path)
    launcher.write(
        domains=own_domain(authority, tmp_path, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
        more="[limits]\nupstream_connections = 20\n",
    )
    with launcher.running() as daemon, contextlib.ExitStack() as crowd:
        for _ in range(30):
            crowd.enter_context(_reader(daemon.https, trusting))
            peer = crowd.enter_context(Peer(daemon.https, authority))
            peer.send(HELLO + get(1, path=LARGE.encode()))
            assert 302 == https_get(daemon.https, "/f/meanwhile", CLICK, trusting).status
        peer.expect(Began(200))
        until(lambda: daemon.status()["http"]["slow_readers"] >= 40, "end of the readers that had to go")
        (upstream,) = daemon.status()["upstreams"]
        assert (20, None) == (max(upstream["connections"], 20), upstream["trouble"])
        assert [302] * 5 == [https_get(daemon.https, "/f/after", CLICK, trusting).status for _ in range(5)]
        assert "Traceback" not in daemon.log
