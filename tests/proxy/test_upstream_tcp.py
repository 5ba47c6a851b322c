from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.errors import UpstreamError
from sptls.interfaces import IUpstreamConnector
from sptls.proxy.upstream_tcp import SocketAdopter, TcpConnector
from tests.tls.wire import Recorder

_TURNS = 200


class _Received(Recorder):
    """
    Remembers bytes, on any transport.
    """

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing.
        """


@pytest.fixture
def reactor() -> Iterator[EPollReactor]:
    """
    Give a real reactor of the test's own.
    """
    reactor = EPollReactor()
    yield reactor
    reactor.disconnectAll()


def _run(reactor: EPollReactor, until: Callable[[], object]) -> None:
    for _ in range(_TURNS):
        if until():
            return
        reactor.iterate(0.02)
    raise AssertionError("what was waited for never came")


def _connecting(reactor: EPollReactor, port: int) -> tuple[_Received, list[Failure | None]]:
    connector = TcpConnector(cast("SocketAdopter", reactor), port)
    assert verifyObject(IUpstreamConnector, connector)
    protocol, ends = _Received(), list[Failure | None]()
    Deferred.fromCoroutine(connector.connect("127.0.0.1", protocol)).addBoth(ends.append)
    return protocol, ends


def test_protocol_runs_on_a_connection_of_the_reactors(reactor: EPollReactor) -> None:
    """
    Bytes go both ways, and nothing but the transport's own socket is left open.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        protocol, ends = _connecting(reactor, listening.getsockname()[1])
        _run(reactor, lambda: ends)
        assert [None] == ends
        service, _ = listening.accept()
        with service:
            assert protocol.transport is not None
            protocol.transport.write(b"request")
            service.sendall(b"answer")
            _run(reactor, lambda: protocol.received)
            assert (b"request", b"answer") == (service.recv(100), protocol.received)
            protocol.transport.loseConnection()
            _run(reactor, lambda: protocol.lost)
            assert b"" == service.recv(100)


def test_refusal_is_an_upstream_error(reactor: EPollReactor) -> None:
    """
    The protocol hears nothing of it.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        protocol, ends = _connecting(reactor, taken.getsockname()[1])
        _run(reactor, lambda: ends)
    (end,) = ends
    assert isinstance(end, Failure)
    assert end.check(UpstreamError)
    assert protocol.transport is None


def test_nothing_is_remembered(reactor: EPollReactor) -> None:
    """
    Plain TCP has nothing that would make the next connection cheaper.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        protocol, ends = _connecting(reactor, listening.getsockname()[1])
        _run(reactor, lambda: ends)
        assert protocol.transport is not None
        TcpConnector(cast("SocketAdopter", reactor), 80).remember(protocol.transport)
