from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from sptls.connecting import connected
from sptls.errors import UpstreamError
from tests.tls.wire import Pump

_Ends = list[socket.socket | Failure]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """
    Give a socket that takes one connection and no more.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        yield listening


def _begun(pump: Pump, address: str, port: int) -> tuple[Deferred[socket.socket], _Ends]:
    connecting, ends = connected(pump, address, port), _Ends()
    connecting.addBoth(ends.append)
    return connecting, ends


def _error(ends: _Ends) -> UpstreamError:
    (end,) = ends
    assert isinstance(end, Failure)
    assert isinstance(end.value, UpstreamError)
    return end.value


def test_socket_is_connected_and_does_not_block(listening: socket.socket) -> None:
    """
    It is the caller's from then on, and the reactor's no more.
    """
    pump = Pump()
    _, ends = _begun(pump, *listening.getsockname())
    pump.run(lambda: ends)
    (sock,) = ends
    assert isinstance(sock, socket.socket)
    with sock:
        assert listening.getsockname() == sock.getpeername()
        assert (False, 1) == (sock.getblocking(), sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        assert {} == pump.writers


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_refusal_names_address_and_cause(host: str, shown: str) -> None:
    """
    An operator sees which of several addresses it was.
    """
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))  # does not listen
        port = taken.getsockname()[1]
        pump = Pump()
        _, ends = _begun(pump, host, port)
        pump.run(lambda: ends)
    error = _error(ends)
    assert (502, f"no connection to {shown}:{port}: Connection refused") == (error.status, error.reason)
    assert {} == pump.writers


def test_address_that_cannot_be_connected_to_is_said_at_once() -> None:
    """
    Such as one that the system refuses without a packet.
    """
    pump = Pump()
    _, ends = _begun(pump, "255.255.255.255", 443)
    assert _error(ends).reason.startswith("no connection to 255.255.255.255:443: ")
    assert {} == pump.writers


def test_system_without_sockets_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Out of file descriptors, the request fails and nothing else does.
    """

    def exhausted(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    _, ends = _begun(Pump(), "127.0.0.1", 443)
    assert _error(ends).reason == "no connection to 127.0.0.1:443: Too many open files"


def test_cancelling_closes_the_socket(listening: socket.socket) -> None:
    """
    A silent address is left: the reactor has nothing to watch any more.
    """
    pump = Pump()
    with socket.create_connection(listening.getsockname()):
        connecting, ends = _begun(pump, *listening.getsockname())
        (waiting,) = pump.writers
        pump.turn()
        assert [] == ends
        connecting.cancel()
    (end,) = ends
    assert isinstance(end, Failure)
    assert end.check(CancelledError)
    assert ({}, -1) == (pump.writers, waiting.fileno())


def test_news_of_the_socket_that_had_its_number_before_are_not_believed(listening: socket.socket) -> None:
    """
    Epoll may have found another connection readable, writable and dead that was closed, and its number given to this
    one, in the same turn of the reactor.
    """
    pump = Pump()
    with socket.create_connection(listening.getsockname()):
        connecting, ends = _begun(pump, *listening.getsockname())
        (waiting,) = pump.writers
        waiting.doRead()  # type: ignore[attr-defined]  # the reactor asks nobody either
        waiting.doWrite()
        pump.removeWriter(waiting)  # as the reactor does when it takes a descriptor for dead
        waiting.connectionLost(Failure(ConnectionLost()))
        assert ([], [waiting]) == (ends, list(pump.writers))
        connecting.cancel()


def test_reactor_that_stops_ends_it(listening: socket.socket) -> None:
    """
    What never was connected is said to be aborted; what comes after that is no matter.
    """
    pump = Pump()
    with socket.create_connection(listening.getsockname()):
        _, ends = _begun(pump, *listening.getsockname())
        (waiting,) = pump.writers
        for _ in range(3):
            waiting.connectionLost(Failure(ConnectionLost()))
        waiting.doWrite()
    assert _error(ends).reason.endswith("Software caused connection abort")
    assert "upstream" == waiting.logPrefix()
