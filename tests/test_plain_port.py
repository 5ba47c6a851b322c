from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol

from sptls.config import Address
from sptls.plain_port import PlainPort
from sptls.tls.sockets import bind
from tests.tls.wire import Pump, logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IAddress, IProtocol
    from twisted.internet.tcp import Server


class Echo(Protocol):
    """
    Sends back what comes.
    """

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Send it back.
        """
        assert self.transport is not None
        self.transport.write(data)


class Scene:
    """
    A plain port, who serves there, and its clients.
    """

    def __init__(self) -> None:
        self.pump = Pump()
        self.room = 100
        self.made: list[Echo] = []
        self.peers: list[IAddress] = []
        self.is_refusing = False
        self.room_again: Callable[[], None] = lambda: None
        self.port = PlainPort(self.pump, self)
        (self.listening,) = bind(Address("127.0.0.1", 0))
        self.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        self.address = self.listening.getsockname()
        self.port.listen(self.listening)
        self.clients: list[socket.socket] = []

    def has_room(self) -> bool:
        """
        Tell whether the test has room.
        """
        return len(self.made) < self.room

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802 - Twisted's name
        """
        Do what the test says.
        """
        self.peers.append(addr)
        if self.is_refusing:
            return None
        self.made.append(Echo())
        return self.made[-1]

    def connect(self) -> socket.socket:
        """
        Have a client connect.
        """
        self.clients.append(socket.create_connection(self.address, timeout=5))
        return self.clients[-1]

    def close(self) -> None:
        """
        Close everything.
        """
        self.port.stop()
        for connection in self.made:
            cast("Server", connection.transport).abortConnection()
        self.pump.run_due()
        for client in self.clients:
            client.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene()
    yield scene
    scene.close()


def test_client_is_served(scene: Scene) -> None:
    """
    A connection is Twisted's own, and its protocol knows whose.
    """
    client = scene.connect()
    client.sendall(b"ping")
    scene.pump.settle()
    host, port = client.getsockname()
    assert (b"ping", [IPv4Address("TCP", host, port)]) == (client.recv(10), scene.peers)
    assert "<plain HTTP from 127.0.0.1>" == repr(scene.made[0].transport)


def test_who_finds_no_room_waits(scene: Scene) -> None:
    """
    In the backlog, and is served when there is room again.
    """
    scene.room = 1
    for _ in range(2):
        scene.connect().sendall(b"ping")
    scene.pump.settle()
    assert 1 == len(scene.made)
    scene.room = 2
    scene.room_again()
    scene.pump.settle()
    assert b"ping" == scene.clients[1].recv(10)


def test_who_must_not_stay_is_closed(scene: Scene) -> None:
    """
    At once, without a word.
    """
    scene.is_refusing = True
    client = scene.connect()
    scene.pump.settle()
    assert b"" == client.recv(1)


def test_fault_costs_one_connection(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is logged and closed, and the next one is served.
    """
    with monkeypatch.context() as broken, logged() as events:
        broken.setattr(scene, "buildProtocol", lambda _: 1 / 0)
        client = scene.connect()
        scene.pump.settle()
        assert (b"", 1) == (client.recv(1), len(events))
    scene.connect()
    scene.pump.settle()
    assert 1 == len(scene.made)


@pytest.mark.parametrize("is_shared", [False, True])
def test_who_waits_at_the_end(scene: Scene, is_shared: bool) -> None:
    """
    Is served, unless another process has the socket too.
    """
    scene.connect()
    scene.port.stop((scene.listening,) if is_shared else ())
    assert (-1, not is_shared) == (scene.listening.fileno(), bool(scene.made))
