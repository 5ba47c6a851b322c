from __future__ import annotations

import os
import resource
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.config import Address
from sptls.tls.listener import ACCEPTS_PER_WAKE, EXHAUSTED_SECONDS, TlsListener
from sptls.tls.sockets import bind
from tests.tls.wire import Pump, logged

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scene:
    """
    A listener, who arrived at it, and clients.
    """

    def __init__(self) -> None:
        self.pump = Pump()
        (self.sock,) = bind(Address("127.0.0.1", 0))
        # Else the kernel keeps clients that say nothing for a while.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        self.arrived: list[socket.SocketType] = []
        self.peers: list[tuple[Any, ...]] = []
        self.room = 1000
        self.clients: list[socket.socket] = []
        self.listener = TlsListener(self.pump, self.sock, self._arrived, lambda: len(self.arrived) < self.room)

    def _arrived(self, sock: socket.SocketType, peer: tuple[Any, ...]) -> None:
        self.arrived.append(sock)
        self.peers.append(peer)

    def connect(self, count: int = 1) -> None:
        """
        Have clients connect.
        """
        for _ in range(count):
            self.clients.append(socket.create_connection(self.sock.getsockname(), timeout=5))

    def close(self) -> None:
        """
        Close every socket.
        """
        for sock in (*self.clients, *self.arrived, self.sock):
            sock.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene()
    yield scene
    scene.close()


class Aborting(socket.socket):
    """
    A listening socket whose first client left before it was accepted.
    """

    failures = 1

    def accept(self) -> tuple[socket.socket, Any]:
        """
        Fail once as the system does.
        """
        if self.failures:
            self.failures -= 1
            raise ConnectionAbortedError
        return super().accept()


@contextmanager
def no_descriptors(limit: int) -> Iterator[None]:
    """
    Leave this process none, at a *limit* that it has not reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)


def test_interface(scene: Scene) -> None:
    """
    A listener is something that the reactor can read.
    """
    assert verifyObject(IReadDescriptor, scene.listener)
    assert (scene.sock.fileno(), "tls") == (scene.listener.fileno(), scene.listener.logPrefix())


def test_accept(scene: Scene) -> None:
    """
    Nobody is accepted before the start; then everybody is, with their addresses.
    """
    scene.connect(2)
    scene.pump.settle()
    assert [] == scene.arrived
    scene.listener.start()
    scene.pump.settle()
    assert [client.getsockname() for client in scene.clients] == scene.peers


def test_accepts_are_bounded(scene: Scene) -> None:
    """
    One wake accepts so many and no more; the rest comes with the next.
    """
    scene.connect(ACCEPTS_PER_WAKE + 1)
    scene.listener.start()
    scene.pump.turn()
    assert ACCEPTS_PER_WAKE == len(scene.arrived)
    scene.pump.turn()
    assert ACCEPTS_PER_WAKE + 1 == len(scene.arrived)


def test_no_room(scene: Scene) -> None:
    """
    Without room nobody is accepted and nothing spins; whoever waits is accepted when it is started again.
    """
    scene.room = 1
    scene.connect(3)
    scene.listener.start()
    scene.pump.settle()
    assert (1, {}) == (len(scene.arrived), scene.pump.readers)
    scene.room = 2
    scene.listener.start()
    scene.listener.start()
    scene.pump.settle()
    assert 2 == len(scene.arrived)


def test_client_that_left(scene: Scene) -> None:
    """
    A client that left while it waited does not keep the next one out.
    """
    sock = Aborting(fileno=os.dup(scene.sock.fileno()))
    listener = TlsListener(scene.pump, sock, scene._arrived, lambda: True)
    scene.connect()
    listener.start()
    scene.pump.turn()
    assert 1 == len(scene.arrived)
    sock.close()


def test_no_descriptors_left(scene: Scene) -> None:
    """
    Out of file descriptors, accepting rests for a second, says so once, and goes on.
    """
    scene.connect()
    scene.listener.start()
    with logged() as events, no_descriptors(scene.clients[-1].fileno() + 10):
        scene.pump.settle()
        assert ([], {}) == (scene.arrived, scene.pump.readers)
        scene.pump.advance(EXHAUSTED_SECONDS)
        scene.pump.settle()
        scene.listener.start()
        assert ([], {}, 1) == (scene.arrived, scene.pump.readers, len(events))
    scene.pump.advance(EXHAUSTED_SECONDS)
    scene.pump.settle()
    assert (1, "Too many open files") == (len(scene.arrived), events[0]["reason"])


def test_stop(scene: Scene) -> None:
    """
    Stopping takes who has connected already, then closes; it can't be started again.
    """
    scene.listener.start()
    scene.connect(ACCEPTS_PER_WAKE + 1)
    scene.listener.stop()
    scene.listener.stop()
    scene.listener.start()
    assert (ACCEPTS_PER_WAKE + 1, {}, -1) == (len(scene.arrived), scene.pump.readers, scene.listener.fileno())


def test_stop_while_resting(scene: Scene) -> None:
    """
    Stopping ends a rest; no timer is left.
    """
    scene.listener.start()
    scene.listener._rest(24)
    scene.listener.connectionLost(Failure(CONNECTION_LOST))
    assert ([], {}) == (scene.pump.getDelayedCalls(), scene.pump.readers)


def test_stop_leaves_the_queue_of_a_shared_socket(scene: Scene) -> None:
    """
    Another process listens at the same socket, and accepts who waits there.
    """
    with socket.socket(fileno=os.dup(scene.sock.fileno())) as others:
        scene.listener.start()
        scene.connect(2)
        scene.listener.stop({scene.sock})
        assert ([], -1) == (scene.arrived, scene.listener.fileno())
        for client in scene.clients:
            accepted, peer = others.accept()
            accepted.close()
            assert client.getsockname() == peer
