from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from sptls.config import LimitsConfig, PassthroughConfig
from sptls.deadlines import Deadlines
from sptls.proxy.passthrough import Passage, Passages, _End
from sptls.proxy.resolver import Addresses, Resolver
from sptls.proxy_header import header
from tests.proxy.wire import logged
from tests.tls.wire import tcp_pair

_TURNS = 500
HELLO = b"\x16\x03\x01 as it came"
# So long that a busy machine never reaches them: `Scene.pass_time` does.
CONNECT_SECONDS, IDLE_SECONDS = 300.0, 600.0
LIMITS = LimitsConfig(upstream_connect_seconds=CONNECT_SECONDS, passthrough_idle_seconds=IDLE_SECONDS)


class Scene:
    """
    A client, the server that its connection goes to, and the passages between them on a reactor of their own.
    """

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        elapsed, self.ahead_seconds = self.reactor.seconds, 0.0
        self.reactor.seconds = lambda: elapsed() + self.ahead_seconds
        self.deadlines = Deadlines(self.reactor, 0.02)
        self.deadlines.start()
        self.found: list[Addresses | Exception | Deferred[Addresses]] = [("127.0.0.1",)]
        self.resolver = Resolver(self.reactor, self._look_up)
        self.passages = Passages(self.reactor, self.resolver, self.deadlines, LIMITS)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.near, self.client = tcp_pair()
        self.peer = self.near.getpeername()
        self.client.setblocking(False)
        self.told: list[str] = []
        self.open: list[socket.socket] = [self.listening, self.near, self.client]

    async def _look_up(self, host: str) -> Addresses:
        found = self.found[0]
        if isinstance(found, Exception):
            raise found
        return await found if isinstance(found, Deferred) else found

    def server(self, host: str = "127.0.0.1", *, proxy_protocol: bool = False) -> PassthroughConfig:
        """
        Give where to pass on to.
        """
        return PassthroughConfig(host, self.listening.getsockname()[1], proxy_protocol)

    def begin(self, server: PassthroughConfig | None = None, destination: tuple[str, int] | None = None) -> None:
        """
        Pass the client's connection on.
        """
        self.passages.begin(
            self.near,
            self.peer,
            destination,
            server or self.server(),
            refused=lambda: self.told.append("refused"),
            ended=lambda: self.told.append("ended"),
        )

    def run(self, until: Callable[[], object]) -> None:
        """
        Let the reactor work until *until* holds.
        """
        for _ in range(_TURNS):
            if until():
                return
            self.reactor.iterate(0.01)
        raise AssertionError("what was waited for never came")

    def pass_time(self, seconds: float) -> None:
        """
        Let *seconds* pass, in which nothing comes; deadlines get the turn more that they wait after a standstill.
        """
        self.ahead_seconds += seconds
        for _ in range(3):
            self.reactor.iterate(0)

    def accepted(self) -> socket.socket:
        """
        Give the server's end.
        """
        self.listening.setblocking(False)
        found: list[socket.socket] = []

        def accept() -> list[socket.socket]:
            with suppress(BlockingIOError):
                found.append(self.listening.accept()[0])
            return found

        self.run(accept)
        found[0].setblocking(False)
        self.open += found
        return found[0]

    def received(self, sock: socket.socket, size: int, meanwhile: Callable[[], object] = lambda: None) -> bytes:
        """
        Give the next *size* bytes that come; *meanwhile* is called until they are there.
        """
        data = bytearray()

        def take() -> bool:
            meanwhile()
            with suppress(BlockingIOError):
                data.extend(sock.recv(size - len(data)))
            return len(data) >= size

        self.run(take)
        return bytes(data)

    def exchange(self, sender: socket.socket, receiver: socket.socket, data: bytes) -> bytes:
        """
        Send *data*, and give as much as was received.
        """
        rest = memoryview(data)

        def send() -> None:
            nonlocal rest
            with suppress(BlockingIOError):
                while rest:
                    rest = rest[sender.send(rest) :]

        return self.received(receiver, len(data), send)

    def end_of(self, sock: socket.socket) -> str:
        """
        Tell how *sock* ends.
        """
        ends: list[str] = []

        def look() -> list[str]:
            try:
                if not sock.recv(1 << 20):
                    ends.append("end")
            except BlockingIOError:
                pass
            except ConnectionResetError:
                ends.append("reset")
            return ends

        self.run(look)
        return ends[0]

    def close(self) -> None:
        """
        Close everything.
        """
        self.passages.abort_all()
        self.passages.serve([])
        for _ in range(3):
            self.reactor.iterate(0)
        self.deadlines.stop()
        self.resolver.stop()
        self.reactor.disconnectAll()
        for sock in self.open:
            sock.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene()
    yield scene
    scene.close()


def reset(sock: socket.socket) -> None:
    """
    Close with RST.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_keeps_twisteds_interfaces(scene: Scene) -> None:
    """
    Each end is what a transport expects.
    """
    passage = Passage(scene.passages, scene.near, scene.server(), lambda: None, lambda: None)
    assert verifyObject(IHalfCloseableProtocol, _End(passage))


def test_bytes_go_both_ways_untouched(scene: Scene) -> None:
    """
    What was there already first; in order, and each to its end.
    """
    scene.client.send(HELLO)
    scene.begin()
    far = scene.accepted()
    assert HELLO == scene.received(far, len(HELLO))
    assert b"answer" == scene.exchange(far, scene.client, b"answer")


def test_each_side_may_end_first(scene: Scene) -> None:
    """
    The other goes on, in its direction; with both it is over.
    """
    scene.begin()
    far = scene.accepted()
    up, down = os.urandom(2_000_000), os.urandom(2_000_000)
    assert up == scene.exchange(scene.client, far, up)
    scene.client.shutdown(socket.SHUT_WR)
    assert "end" == scene.end_of(far)
    assert down == scene.exchange(far, scene.client, down)
    far.shutdown(socket.SHUT_WR)
    assert "end" == scene.end_of(scene.client)
    scene.run(lambda: scene.told)
    assert (["ended"], set()) == (scene.told, scene.passages.under_way)
    assert -1 == scene.near.fileno()


@pytest.mark.parametrize("who", [0, 1])
def test_a_close_ends_both(scene: Scene, who: int) -> None:
    """
    What was sent before it arrives.
    """
    scene.begin()
    far = scene.accepted()
    one, other = (scene.client, far) if who else (far, scene.client)
    assert b"last words" == scene.exchange(one, other, b"last words")
    one.close()
    assert "end" == scene.end_of(other)
    other.close()
    scene.run(lambda: scene.told)
    assert ["ended"] == scene.told


@pytest.mark.parametrize("who", [0, 1])
def test_a_reset_is_passed_on(scene: Scene, who: int) -> None:
    """
    The other side must not take a part for the whole.
    """
    scene.begin()
    far = scene.accepted()
    one, other = (scene.client, far) if who else (far, scene.client)
    assert b"half a" == scene.exchange(one, other, b"half a")
    reset(one)
    assert "reset" == scene.end_of(other)
    scene.run(lambda: scene.told)
    assert ["ended"] == scene.told


def test_a_reset_while_the_connection_is_made(scene: Scene) -> None:
    """
    The server hears of it, since it has accepted already.
    """
    reset(scene.client)
    scene.begin()
    far = scene.accepted()
    assert "reset" == scene.end_of(far)
    scene.run(lambda: scene.told)
    assert ["ended"] == scene.told


def test_who_takes_nothing_holds_the_sender(scene: Scene) -> None:
    """
    Little is kept between them, and nothing is lost when it is taken at last.
    """
    scene.begin()
    far = scene.accepted()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    sent = 0
    for _ in range(30):
        with suppress(BlockingIOError):
            while True:
                sent += far.send(bytes(65536))
        scene.reactor.iterate(0.001)
    (passage,) = scene.passages.under_way
    held = passage._client.transport
    assert len(held.dataBuffer) + held._tempDataLen < 300_000
    assert bytes(sent) == scene.received(scene.client, sent)


def test_silence_ends_it(scene: Scene) -> None:
    """
    After the idle seconds, with a reset; each byte begins them again.
    """
    scene.begin()
    far = scene.accepted()
    for sender, receiver in ((scene.client, far), (far, scene.client), (scene.client, far)):
        assert b"x" == scene.exchange(sender, receiver, b"x")
        scene.pass_time(IDLE_SECONDS * 0.6)
        assert [] == scene.told
    scene.pass_time(IDLE_SECONDS * 0.4)
    assert ("reset", "reset") == (scene.end_of(far), scene.end_of(scene.client))
    assert ["ended"] == scene.told


def test_what_nobody_takes_is_not_kept_for_ever(scene: Scene) -> None:
    """
    The client has sent all and closed; the server takes none of it for too long.
    """
    scene.begin()
    far = scene.accepted()
    for _ in range(200):  # more than the kernel's buffers hold
        with suppress(BlockingIOError):
            while True:
                scene.client.send(bytes(65536))
        scene.reactor.iterate(0.001)
    scene.client.close()
    scene.pass_time(IDLE_SECONDS * 0.5)
    assert [] == scene.told
    scene.pass_time(IDLE_SECONDS * 0.5)
    assert ("reset", ["ended"]) == (scene.end_of(far), scene.told)


@pytest.mark.parametrize("destination", [None, ("2001:db8::1", 443), ("198.51.100.1", 443)])
def test_the_server_is_told_the_client(scene: Scene, destination: tuple[str, int] | None) -> None:
    """
    In a PROXY header before the first byte, and where it connected to, if that was announced.
    """
    scene.client.send(HELLO)
    mine, own = scene.near.getpeername(), scene.near.getsockname()
    scene.begin(scene.server(proxy_protocol=True), destination)
    far = scene.accepted()
    expected = header(mine, destination or own) + HELLO
    assert expected == scene.received(far, len(expected))


# -- servers that can't be reached


def test_a_server_that_is_down_is_said_once(scene: Scene) -> None:
    """
    Its clients are refused, and their sockets left to who does it; so is it said that it is up again.
    """
    scene.listening.close()
    server = PassthroughConfig("127.0.0.1", scene.client.getsockname()[1])  # a port where nobody listens
    with logged() as lines:
        for _ in range(3):
            scene.begin(server)
        scene.run(lambda: len(scene.told) == 3)
    assert (["refused"] * 3, set()) == (scene.told, scene.passages.under_way)
    assert -1 != scene.near.fileno()
    ((level, line),) = lines
    assert ("error", True) == (level, f"no connection to {server}: Connection refused" in line), line
    with logged() as lines:
        scene.passages.is_reachable(server)
        scene.passages.is_reachable(server)
    assert [("info", f"connections are passed through to {server} again")] == lines


def test_addresses_are_tried_in_turn(scene: Scene) -> None:
    """
    One that refuses keeps nobody from the next.
    """
    scene.found = [("127.0.0.9", "127.0.0.1")]
    scene.resolver.start()
    server = scene.server("backend.example")
    scene.passages.serve([server])
    scene.client.send(HELLO)
    scene.begin(server)
    assert HELLO == scene.received(scene.accepted(), len(HELLO))


def test_a_standstill_of_our_own(scene: Scene) -> None:
    """
    When the time for all addresses has passed at once, the client is refused, and nothing is said of a fault.
    """
    scene.found = [("127.0.0.1", "127.0.0.1")]
    scene.resolver.start()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        server = PassthroughConfig("backend.example", full.getsockname()[1])
        scene.passages.serve([server])
        with logged() as lines:
            scene.begin(server)
            scene.pass_time(CONNECT_SECONDS * 2)
            scene.run(lambda: scene.told)
    assert (["refused"], 1) == (scene.told, "no answer from 127.0.0.1 in time" in lines[0][1])


def test_a_server_that_never_answers(scene: Scene) -> None:
    """
    Each address has its share of the time, and no more.
    """
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
        logged() as lines,
    ):
        scene.begin(PassthroughConfig("127.0.0.1", full.getsockname()[1]))
        scene.pass_time(CONNECT_SECONDS * 0.9)
        assert [] == scene.told
        scene.pass_time(CONNECT_SECONDS * 0.1)
        scene.run(lambda: scene.told)
    assert (["refused"], 1) == (scene.told, "no answer from 127.0.0.1 in time" in lines[0][1])


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: OSError("no such name"), "the upstream's name can't be resolved"),
        (Deferred[Addresses], "can't be resolved in time"),
    ],
    ids=["unknown", "silent"],
)
def test_a_name_that_can_not_be_resolved(
    scene: Scene, found: Callable[[], Exception | Deferred[Addresses]], reason: str
) -> None:
    """
    A DNS that does not answer holds nobody for longer than a server that does not.
    """
    scene.found = [found()]
    scene.resolver.start()
    server = scene.server("backend.example")
    scene.passages.serve([server])
    with logged() as lines:
        scene.begin(server)
        scene.pass_time(CONNECT_SECONDS)
        scene.run(lambda: scene.told)
    assert (["refused"], True) == (scene.told, any(reason in line for _, line in lines))


def test_names_are_looked_up_while_they_are_configured(scene: Scene) -> None:
    """
    Each once; one that is served no more is forgotten, and so is that it was down.
    """
    scene.resolver.start()
    one, two = scene.server("backend.example"), scene.server("backend.example", proxy_protocol=True)
    scene.passages.serve([one, two])
    scene.passages.is_unreachable(one, "of the test")
    scene.passages.serve([two])
    with logged() as lines:
        scene.passages.is_reachable(one)
        scene.begin(one)
        scene.accepted()
        scene.passages.serve([])
        scene.begin(two)
        scene.run(lambda: scene.told)
    assert (["refused"], 1) == (scene.told, len(lines))


def test_abort_while_connecting(scene: Scene) -> None:
    """
    Nobody is waited for at the end; and nothing is said of the server, which may be well.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        scene.begin(PassthroughConfig("127.0.0.1", full.getsockname()[1]))
        with logged() as lines:
            scene.passages.abort_all()
    assert (["refused"], [], set()) == (scene.told, lines, scene.passages.under_way)


def test_abort(scene: Scene) -> None:
    """
    Both sides are reset; what is over stays so.
    """
    scene.begin()
    far = scene.accepted()
    assert b"x" == scene.exchange(scene.client, far, b"x")
    (passage,) = scene.passages.under_way
    scene.passages.abort_all()
    assert ("reset", "reset", ["ended"]) == (scene.end_of(far), scene.end_of(scene.client), scene.told)
    passage.abort()
    assert ["ended"] == scene.told


def test_a_fault_of_ours_refuses_the_client(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is logged, and the place is free again.
    """
    monkeypatch.setattr(scene.passages, "resolver", None)
    with logged() as lines:
        scene.begin()
    assert (["refused"], ["critical"]) == (scene.told, [level for level, _ in lines])
