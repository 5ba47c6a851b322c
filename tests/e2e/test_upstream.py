"""
Tracking services that close, move, hang and are slow: no click is lost that need not be, and nobody waits for others.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Answer, Daemon, Launcher, connect, https_get, parse, read_all, request, until
from tests.e2e.names import Names
from tests.e2e.origin import FickleOrigin, Origin
from tests.e2e.test_http2 import Client
from tests.e2e.traffic import clicks
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme

pytestmark = pytest.mark.e2e

CLICKS = 1000
NOBODY = "127.0.0.9"
SILENT = "127.0.0.8"


def _serve(launcher: Launcher, authority: trustme.CA, origin: Origin, limits: str = "") -> None:
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK),
        acme='directory = "internal"',
        upstream=origin.configuration,
        more=f"[limits]\n{limits}\n",
    )


@contextlib.contextmanager
def _running(origin: Origin) -> Iterator[Origin]:
    try:
        yield origin
    finally:
        origin.stop()


def test_service_that_closes_its_connections_at_random_loses_no_click(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """
    1,000 clicks, and an answer to each (20,000 are in the soak).
    """
    with _running(FickleOrigin(tmp_path)) as origin:
        assert isinstance(origin, FickleOrigin)
        _serve(launcher, authority, origin)
        with launcher.running() as daemon:
            assert {200: CLICKS} == clicks(daemon.https, CLICK, trusting, CLICKS)
        assert min(origin.dropped, origin.closed) > CLICKS // 20


def test_service_that_moved_is_followed_as_soon_as_it_is_gone(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """
    Its old address refuses; the look-up that is due in 20 s is not waited for.
    """
    names = Names(tmp_path, "127.0.0.1")
    launcher.environment = names.environment
    with _running(Origin(tmp_path, free_ports(1)[0])) as old:
        _serve(launcher, authority, old)
        with launcher.running() as daemon:
            assert 200 == https_get(daemon.https, "/q/x", CLICK, trusting).status
            new = Origin(tmp_path, old.port, "127.0.0.2", old.authority)
            with _running(new):
                old.stop()
                names.move("127.0.0.2")
                until(lambda: https_get(daemon.https, "/q/x", CLICK, trusting).status == 200, "answer", seconds=10)
                assert 1 == len(new.received)


def test_addresses_that_refuse_and_hang_cost_no_click(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """
    The next one is tried for the same request; one whose connections are accepted and never answered has its share of
    upstream_connect_seconds once, and is tried last from then on.
    """
    launcher.environment = Names(tmp_path, NOBODY, SILENT, "127.0.0.1").environment
    with _running(Origin(tmp_path, free_ports(1)[0])) as origin, socket.create_server((SILENT, origin.port)) as silent:
        _serve(launcher, authority, origin, "upstream_connect_seconds = 2")
        with launcher.running() as daemon:
            answers = [_unsubscribe(daemon, trusting) for _ in range(5)]
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert [200] * 5 == [answer.status for answer in answers]


def _unsubscribe(daemon: Daemon, trusting: ssl.SSLContext) -> Answer:
    """
    POST, for which there is always a fresh connection to the service.
    """
    with connect(daemon.https, CLICK, trusting) as connection:
        connection.sendall(request("/q/unsubscribe", CLICK, "Content-Length: 0").replace(b"GET", b"POST", 1))
        return parse(read_all(connection))


def test_request_that_the_service_does_not_answer_holds_up_no_other(
    daemon: Daemon, tracking: Origin, trusting: ssl.SSLContext
) -> None:
    """
    504 in time, and everybody else is answered meanwhile.
    """
    tracking.stall.clear()
    with connect(daemon.https, CLICK, trusting) as hanging:
        hanging.sendall(request("/hang/alone", CLICK))
        until(lambda: bool(tracking.requests(b"/hang/alone")), "request at the service")
        began = time.monotonic()
        assert {200} == {https_get(daemon.https, "/q/x", CLICK, trusting).status for _ in range(20)}
        assert 504 == parse(read_all(hanging)).status
        assert time.monotonic() - began < 20
    tracking.stall.set()


def test_requests_for_a_slow_service_do_not_pile_up(
    launcher: Launcher, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """
    Two are under way, one waits, and further ones are told at once when to come again; the three are answered.
    """
    with _running(Origin(tmp_path)) as origin:
        _serve(
            launcher,
            authority,
            origin,
            "upstream_connections = 2\nupstream_waiting = 1\nupstream_connect_seconds = 30",
        )
        with launcher.running() as daemon, contextlib.ExitStack() as clients:
            slow = [clients.enter_context(connect(daemon.https, CLICK, trusting)) for _ in range(3)]
            for client in slow:
                client.sendall(request("/hang/slow", CLICK))
            until(lambda: daemon.status()["upstreams"][0]["waiting"] == 1, "request that waits")
            refused = https_get(daemon.https, "/hang/slow", CLICK, trusting)
            assert (503, "5") == (refused.status, refused.field("Retry-After"))
            with Client(daemon.https, authority) as other:
                stream_id = other.ask(b"/hang/slow")
                assert 503 == other.answer(stream_id)[0]
                assert b"5" == other.fields[stream_id][b"retry-after"]
            origin.stall.set()
            assert [302] * 3 == [parse(read_all(client)).status for client in slow]
