from __future__ import annotations

import ipaddress

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from zope.interface.verify import verifyObject

from sptls.addresses import Networks
from sptls.admission import Admission
from sptls.config import LimitsConfig
from sptls.proxy.announced import Announced
from sptls.proxy.gateway import FIRST_SECONDS
from sptls.proxy.http1 import Http1
from sptls.proxy.http1_factory import Http1Factory
from sptls.proxy_header import header
from tests.proxy.wire import GET, OK, Stage, Wire, lost

BALANCER = IPv4Address("TCP", "10.0.0.1", 4711)
TEN = Networks([ipaddress.ip_network("10.0.0.0/8")])
LINE = b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 80\r\n"
ANSWER = OK + b"ok"


class Scene:
    """
    Port 80 with a load balancer before it.
    """

    def __init__(self, connections: int = 10, admission: Admission | None = None) -> None:
        self.stage = Stage(LimitsConfig())
        self.stage.tracking = lambda exchange: exchange.answer(OK, b"ok")
        self.gateway = self.stage.gateway
        self.gateway.proxy_protocol = TEN
        self.factory = Http1Factory(self.gateway, connections, admission)

    def connect(self, peer: IPv4Address = BALANCER) -> tuple[Announced | Http1, Wire]:
        """
        Have somebody connect.
        """
        connection, wire = self.factory.buildProtocol(peer), Wire(peer)
        assert isinstance(connection, Announced | Http1)
        connection.makeConnection(wire)
        connection.connectionMade()
        return connection, wire

    @property
    def peers(self) -> list[bytes]:
        """
        Give who asked, as the log has it.
        """
        return [entry.peer for entry in self.stage.log.entries]


def test_keeps_twisteds_interfaces() -> None:
    """
    It is what a transport expects.
    """
    connection, _ = Scene().connect()
    assert verifyObject(IProtocol, connection)
    assert verifyObject(IHalfCloseableProtocol, connection)


@pytest.mark.parametrize("announcement", [LINE, header(("192.0.2.77", 1), ("198.51.100.1", 80))])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_announced_client_asks(announcement: bytes, size: int) -> None:
    """
    However the header is cut, and the request behind it.
    """
    scene = Scene()
    connection, wire = scene.connect()
    message = announcement + GET
    for at in range(0, len(message), size):
        connection.dataReceived(message[at : at + size])
    assert (ANSWER, [b"192.0.2.77"], 1) == (wire.value(), scene.peers, scene.stage.counters.connections)
    connection.dataReceived(GET)
    assert ([b"192.0.2.77"] * 2, "open") == (scene.peers, wire.end)


def test_a_header_that_names_nobody() -> None:
    """
    The peer is the client.
    """
    scene = Scene()
    connection, _ = scene.connect()
    connection.dataReceived(b"PROXY UNKNOWN\r\n" + GET)
    assert [b"10.0.0.1"] == scene.peers


def test_an_announced_proxy_is_believed() -> None:
    """
    It is the announced address that has to be trusted, not the balancer's.
    """
    scene = Scene()
    scene.gateway.trusted_proxies = Networks([ipaddress.ip_network("192.0.2.77")])
    connection, _ = scene.connect()
    message = GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
    connection.dataReceived(LINE + message)
    other, _ = scene.connect()
    other.dataReceived(b"PROXY UNKNOWN\r\n" + message)
    assert [b"203.0.113.9", b"10.0.0.1"] == scene.peers


def test_from_anybody_else_it_is_no_request() -> None:
    """
    Nobody looks for a header there.
    """
    scene = Scene()
    connection, wire = scene.connect(IPv4Address("TCP", "192.0.2.1", 1))
    connection.dataReceived(LINE + GET)
    assert isinstance(connection, Http1)
    assert wire.value().startswith(b"HTTP/1.1 400 ")
    assert [b"192.0.2.1"] == scene.peers


def test_what_is_no_header_closes() -> None:
    """
    Without a word; it is counted, and not logged.
    """
    scene = Scene()
    connection, wire = scene.connect()
    connection.dataReceived(GET)
    assert ("aborted", b"", []) == (wire.end, wire.value(), scene.peers)
    lost(connection)
    assert (1, set()) == (scene.stage.counters.proxy_header_failures, scene.gateway.connections)


def test_a_header_that_does_not_come_closes() -> None:
    """
    Whatever came of it, its time is not begun again.
    """
    scene = Scene()
    connection, wire = scene.connect()
    seconds = LimitsConfig().head_seconds
    for _ in range(2):
        scene.stage.clock.pump([0.25] * int(seconds * 2 - 2))
        connection.dataReceived(LINE[:6] if not wire.aborted else b"")
    assert "open" == wire.end
    scene.stage.clock.pump([0.25] * 8)
    assert ("aborted", 1) == (wire.end, scene.stage.counters.proxy_header_failures)


def test_a_health_check_is_no_failure() -> None:
    """
    It connects and leaves, or closes its side only.
    """
    scene = Scene(connections=2)
    connection, _ = scene.connect()
    lost(connection)
    other, wire = scene.connect()
    assert isinstance(other, Announced)
    other.readConnectionLost()
    other.writeConnectionLost()
    assert "lost" == wire.end
    lost(other)
    assert (0, set()) == (scene.stage.counters.proxy_header_failures, scene.gateway.connections)
    scene.connect()
    scene.connect()
    assert not scene.factory.has_room()


def test_ends_are_passed_on() -> None:
    """
    Behind the header everything is the client's connection's.
    """
    scene = Scene()
    connection, wire = scene.connect()
    assert isinstance(connection, Announced)
    connection.dataReceived(LINE)
    assert (b"", 1) == (wire.value(), len(scene.gateway.connections))
    connection.readConnectionLost()
    connection.writeConnectionLost()
    assert "lost" == wire.end
    lost(connection)
    assert set() == scene.gateway.connections


def test_draining_gives_a_moment() -> None:
    """
    Who has just connected has a request on its way; who says nothing is not waited for.
    """
    scene = Scene()
    speaks, wire = scene.connect()
    _, silent = scene.connect()
    for connection in list(scene.gateway.connections):
        connection.finish_soon()
    scene.gateway.finishing = True
    _, late = scene.connect()
    speaks.dataReceived(LINE + GET)
    assert (b"\r\nConnection: close\r\n" in wire.value(), "lost") == (True, wire.end)
    scene.stage.clock.pump([0.25] * int(FIRST_SECONDS * 4 + 2))
    assert ("aborted", "aborted") == (silent.end, late.end)


def test_abort() -> None:
    """
    At the end nobody is waited for.
    """
    scene = Scene()
    _, wire = scene.connect()
    scene.gateway.abort()
    assert "aborted" == wire.end


def test_it_is_the_announced_address_that_is_limited() -> None:
    """
    A client with too many connections is closed; the balancer's own are not counted.
    """
    scene = Scene(admission=Admission.for_plain(LimitsConfig(connections_per_address=1), lambda: 0.0))
    answers = []
    for announcement in (LINE, LINE, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN\r\n"):
        connection, wire = scene.connect()
        connection.dataReceived(announcement + GET)
        answers.append((wire.value(), wire.end))
    assert [(ANSWER, "open"), (b"", "aborted"), (ANSWER, "open"), (ANSWER, "open")] == answers
    assert 1 == scene.stage.counters.over_address_limit
