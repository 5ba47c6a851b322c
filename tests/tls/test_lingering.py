from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.deadlines import Deadlines
from sptls.tls.lingering import LINGER_BYTES, LINGER_SECONDS, Lingering
from tests.tls.wire import Pump, tcp_pair

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scene:
    """
    A socket that is to end, its peer, and what ends it.
    """

    def __init__(self) -> None:
        self.pump = Pump()
        self.deadlines = Deadlines(self.pump)
        self.closed = 0
        self.lingering = Lingering(self.pump, self.deadlines, self._closed)
        self.near, self.peer = tcp_pair()
        self.peer.settimeout(5)

    def _closed(self) -> None:
        self.closed += 1

    def pass_seconds(self, seconds: float) -> None:
        """
        Move the clock and look for deadlines once.
        """
        self.pump.advance(seconds)
        self.lingering.deadline.expire(self.pump.seconds())


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene()
    yield scene
    scene.near.close()
    scene.peer.close()


def test_nothing_unread(scene: Scene) -> None:
    """
    With nothing unread the socket is closed at once, in good order.
    """
    scene.lingering.close(scene.near)
    assert (-1, 1, 0, b"") == (scene.near.fileno(), scene.closed, len(scene.lingering), scene.peer.recv(1))


def test_unread(scene: Scene) -> None:
    """
    With input unread, what was sent arrives, then FIN; the socket is closed when the peer has closed.
    """
    scene.near.send(b"answer")
    scene.peer.send(b"unread")
    scene.lingering.close(scene.near)
    assert (b"answer", b"") == (scene.peer.recv(100), scene.peer.recv(100))
    scene.peer.send(b"more")
    scene.pump.settle()
    assert (1, 0) == (len(scene.lingering), scene.closed)
    scene.peer.close()
    scene.pump.settle()
    assert (0, 1, {}, -1) == (len(scene.lingering), scene.closed, scene.pump.readers, scene.near.fileno())


def test_more_expected(scene: Scene) -> None:
    """
    Where more is expected, a socket with nothing unread lingers too.
    """
    scene.lingering.close(scene.near, still_sending=True)
    (lingerer,) = scene.pump.getReaders()
    assert verifyObject(IReadDescriptor, lingerer)
    scene.peer.close()
    scene.pump.settle()
    assert (0, 1) == (len(scene.lingering), scene.closed)


def test_deadline(scene: Scene) -> None:
    """
    A peer that does not close is waited for so long and no longer.
    """
    scene.lingering.close(scene.near, still_sending=True)
    scene.pass_seconds(LINGER_SECONDS - 1)
    assert 1 == len(scene.lingering)
    scene.pass_seconds(1)
    assert (0, 1, {}) == (len(scene.lingering), scene.closed, scene.pump.readers)


def test_too_much(scene: Scene) -> None:
    """
    A peer that sends without end is cut off.
    """
    scene.lingering.close(scene.near, still_sending=True)
    scene.peer.setblocking(False)
    sent = 0
    while sent < LINGER_BYTES:
        try:
            sent += scene.peer.send(b"x" * min(1024 * 1024, LINGER_BYTES - sent))
        except BlockingIOError:
            scene.pump.turn()
    scene.pump.settle()
    assert (0, 1) == (len(scene.lingering), scene.closed)


def test_peer_has_closed(scene: Scene) -> None:
    """
    A peer that closed already is not waited for.
    """
    scene.peer.close()
    scene.lingering.close(scene.near, still_sending=True)
    assert (0, 1) == (len(scene.lingering), scene.closed)


def test_peer_has_reset(scene: Scene) -> None:
    """
    A peer that reset the connection is not waited for.
    """
    scene.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    scene.peer.close()
    scene.lingering.close(scene.near, still_sending=True)
    assert (0, 1) == (len(scene.lingering), scene.closed)


def test_reset_while_lingering(scene: Scene) -> None:
    """
    A peer that resets ends the wait.
    """
    scene.lingering.close(scene.near, still_sending=True)
    scene.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    scene.peer.close()
    scene.pump.settle()
    assert (0, 1) == (len(scene.lingering), scene.closed)


def test_dead_before_fin(scene: Scene) -> None:
    """
    A socket that can't send its FIN any more is just closed.
    """
    scene.near.close()
    unconnected = socket.socket()
    unconnected.setblocking(False)
    scene.lingering._linger(unconnected)
    assert (-1, 0, 1) == (unconnected.fileno(), len(scene.lingering), scene.closed)


def test_reset(scene: Scene) -> None:
    """
    A reset is seen as one by the peer.
    """
    scene.lingering.reset(scene.near)
    assert 1 == scene.closed
    with pytest.raises(ConnectionResetError):
        scene.peer.recv(1)


def test_reset_all(scene: Scene) -> None:
    """
    All that linger can be closed at once; each is counted once.
    """
    scene.lingering.close(scene.near, still_sending=True)
    (lingerer,) = scene.pump.getReaders()
    scene.lingering.reset_all()
    lingerer.connectionLost(Failure(CONNECTION_LOST))
    assert (0, 1, -1, "tls") == (len(scene.lingering), scene.closed, lingerer.fileno(), lingerer.logPrefix())
