from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.config import Address
from sptls.deadlines import Deadlines
from sptls.names import HostName
from sptls.proxy_header import SIGNATURE, header
from sptls.proxy_header import parse as parse_header
from sptls.tls.arrival import Arrival
from sptls.tls.client_hello import MAX_HELLO_BYTES, UNRECOGNIZED_NAME, ClientHello, plaintext_alert
from sptls.tls.lingering import Lingering, SocketReactor
from sptls.tls.sockets import accept, bind
from tests.tls.wire import Pump

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = HostName("click.example.com")
HELLO_SECONDS, HOLD_SECONDS = 10.0, 5.0


class Reception:
    """
    A reception that remembers, and does with a hello what the test says.
    """

    def __init__(self) -> None:
        self.pump = Pump()
        self.reactor: SocketReactor = self.pump
        self.deadlines = Deadlines(self.pump)
        self.closed = 0
        self.lingering = Lingering(self.pump, self.deadlines, self._closed)
        self.hello_deadline = self.deadlines.queue(HELLO_SECONDS)
        self.hold_deadline = self.deadlines.queue(HOLD_SECONDS)
        self.waiting: set[Arrival] = set()
        self.greeted: list[ClientHello] = []
        self.told: list[str] = []
        self.hospitable = True
        self.greeting: Callable[[Arrival], object] = Arrival.hand_over
        with bind(Address("127.0.0.1", 0))[0] as listening:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)  # some clients here say nothing
            listening.setblocking(True)
            self.client = socket.create_connection(listening.getsockname(), timeout=5)
            near, peer = accept(listening, listening.family)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.arrival = Arrival(self, near, peer)

    def _closed(self) -> None:
        self.closed += 1

    def greet(self, arrival: Arrival, hello: ClientHello) -> None:
        """
        Do what the test says.
        """
        self.greeted.append(hello)
        self.greeting(arrival)

    def may_stay(self, arrival: Arrival) -> bool:
        """
        Remember it.
        """
        self.told.append("announced")
        return self.hospitable

    def not_tls(self, arrival: Arrival) -> None:
        """
        Remember it.
        """
        self.told.append("not tls")

    def no_header(self, arrival: Arrival) -> None:
        """
        Remember it.
        """
        self.told.append("no header")

    def too_late(self, arrival: Arrival) -> None:
        """
        Remember it, and close.
        """
        self.told.append("too late")
        arrival.drop()

    def left(self, arrival: Arrival) -> None:
        """
        Remember it.
        """
        self.told.append("left")

    def wakes(self) -> int:
        """
        Turn until nothing is ready; tell how often the arrival was woken.
        """
        for turns in range(200):
            if not self.pump.ready():
                return turns
            self.pump.turn(0)
        raise AssertionError("it spins")

    def pass_seconds(self, seconds: float) -> None:
        """
        Move the clock and look for deadlines once.
        """
        self.pump.advance(seconds)
        for queue in (self.hello_deadline, self.hold_deadline, self.lingering.deadline):
            queue.expire(self.pump.seconds())

    def mark(self) -> int:
        """
        Tell at how many bytes the kernel wakes us.
        """
        return self.arrival.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.fixture
def reception() -> Iterator[Reception]:
    """
    Give a reception with one arrival, closed after the test.
    """
    reception = Reception()
    yield reception
    reception.arrival.socket.close()
    reception.client.close()


@pytest.fixture(scope="module")
def hello() -> bytes:
    """
    Give a real hello.
    """
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    connection.set_tlsext_host_name(NAME.wire)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def hold(arrival: Arrival) -> None:
    """
    Let it wait for a certificate.
    """
    arrival.hold(NAME)


def test_interface(reception: Reception) -> None:
    """
    An arrival is something that the reactor can read.
    """
    assert verifyObject(IReadDescriptor, reception.arrival)
    assert "tls" == reception.arrival.logPrefix()


def test_hello_at_once(reception: Reception, hello: bytes) -> None:
    """
    A hello that is there is greeted at once, without the reactor, and stays in the socket for OpenSSL.
    """
    reception.client.send(hello)
    reception.arrival.look()
    assert ([NAME.wire], {}, set()) == (
        [each.server_name for each in reception.greeted],
        reception.pump.readers,
        reception.waiting,
    )
    assert hello == reception.arrival.socket.recv(65536)


@pytest.mark.parametrize("split", [0, 1, 4, 5, 8, 9, 44, 200, -1])
def test_hello_in_two(reception: Reception, hello: bytes, split: int) -> None:
    """
    A hello that comes in two parts is waited for, with few wakes, and handed over with the mark at one byte.
    """
    first, second = hello[:split], hello[split:]
    reception.client.send(first)
    reception.arrival.look()
    assert (0, {reception.arrival}) == (reception.wakes(), reception.waiting)
    reception.client.send(second)
    assert reception.wakes() <= 2
    assert (1, 1, {}, set()) == (len(reception.greeted), reception.mark(), reception.pump.readers, reception.waiting)
    assert 0 == len(reception.hello_deadline)


def test_hello_in_many(reception: Reception, hello: bytes) -> None:
    """
    A hello that comes byte by byte wakes us a few times, not once a byte, though the kernel has no room for so many
    segments and wakes us without news.
    """
    reception.arrival.look()
    wakes = 0
    for at in range(len(hello)):
        reception.client.send(hello[at : at + 1])
        wakes += len(reception.pump.ready(0))
        reception.pump.turn(0)
    reception.pump.run(lambda: len(reception.arrival.socket.recv(65536, socket.MSG_PEEK)) == len(hello))
    reception.pump.advance(0.25)
    wakes += reception.wakes()
    assert (1, True) == (len(reception.greeted), wakes <= 4)


def test_held_without_news(reception: Reception, hello: bytes) -> None:
    """
    A held client for which we are woken without news is left alone for a moment, and not for ever.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    reception.arrival.doRead()
    assert ({}, {reception.arrival}) == (reception.pump.readers, reception.waiting)
    reception.client.close()
    reception.pump.advance(0.25)
    assert (1, 1) == (reception.wakes(), reception.closed)


def test_handed_over_without_news(reception: Reception, hello: bytes) -> None:
    """
    Who is handed over in that moment is not watched again.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    reception.arrival.doRead()
    reception.arrival.hand_over()
    reception.pump.advance(0.25)
    assert ({}, set()) == (reception.pump.readers, reception.waiting)


def test_hello_larger_than_a_look(reception: Reception) -> None:
    """
    A hello that is larger than the first look is seen by a second.
    """
    padding = b"\x00\x15\x17\x70" + bytes(6000)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(padding).to_bytes(2) + padding
    message = b"\1" + len(body).to_bytes(3) + body
    reception.client.send(b"\x16\3\1" + len(message).to_bytes(2) + message)
    reception.arrival.look()
    assert 1 == reception.wakes()
    assert [ClientHello(None, ())] == reception.greeted


def test_not_tls(reception: Reception) -> None:
    """
    What is no TLS is closed without a word.
    """
    reception.client.send(b"GET / HTTP/1.1\r\n\r\n")
    reception.arrival.look()
    assert (["not tls"], 1, b"") == (reception.told, reception.closed, reception.client.recv(10))


def test_broken_hello(reception: Reception) -> None:
    """
    A broken hello gets its alert, then FIN and no RST.
    """
    reception.client.send(b"\x16\3\1\0\0" + b"rest of it")
    reception.arrival.look()
    assert plaintext_alert(10) == reception.client.recv(10)
    assert (b"", ["not tls"], 1) == (reception.client.recv(10), reception.told, reception.closed)


def test_refusal_while_more_comes(reception: Reception, hello: bytes) -> None:
    """
    The alert of a refusal reaches a client that sent more than its hello.
    """
    reception.greeting = lambda arrival: arrival.refuse(UNRECOGNIZED_NAME)
    reception.client.send(hello + b"x" * 40000)
    reception.pump.run(lambda: len(reception.arrival.socket.recv(65536, socket.MSG_PEEK)) > 40000)
    reception.arrival.look()
    assert (plaintext_alert(UNRECOGNIZED_NAME), b"") == (reception.client.recv(10), reception.client.recv(10))
    reception.client.close()
    reception.pump.settle()
    assert 1 == reception.closed


def test_refusal_of_nothing(reception: Reception) -> None:
    """
    A refusal with nothing unread sends its alert too.
    """
    reception.arrival.refuse(UNRECOGNIZED_NAME)
    assert plaintext_alert(UNRECOGNIZED_NAME) == reception.client.recv(10)


def test_refusal_of_a_leaver(reception: Reception) -> None:
    """
    A refusal that can't be sent closes all the same.
    """
    reset(reception.client)
    reception.arrival.refuse(UNRECOGNIZED_NAME)
    assert 1 == reception.closed


def reset(sock: socket.socket) -> None:
    """
    Leave without ceremony.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset, lambda sock: sock.shutdown(socket.SHUT_WR)])
@pytest.mark.parametrize("size", [0, 100])
def test_leaver(reception: Reception, hello: bytes, leave: Callable[[socket.socket], None], size: int) -> None:
    """
    A client that leaves before its hello is whole is seen at once.
    """
    reception.client.send(hello[:size])
    reception.arrival.look()
    leave(reception.client)
    assert (1, 1, set()) == (reception.wakes(), reception.closed, reception.waiting)


def test_left_before_the_first_look(reception: Reception) -> None:
    """
    A client that has reset its connection already is closed.
    """
    reset(reception.client)
    reception.arrival.look()
    assert (1, {}) == (reception.closed, reception.pump.readers)


@pytest.mark.parametrize("leave", [socket.socket.close, reset, lambda sock: sock.shutdown(socket.SHUT_WR)])
def test_leaver_while_held(reception: Reception, hello: bytes, leave: Callable[[socket.socket], None]) -> None:
    """
    A held client wakes nobody until it leaves, which is seen at once.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    assert (0, NAME, {reception.arrival}) == (reception.wakes(), reception.arrival.held_for, reception.waiting)
    leave(reception.client)
    assert (1, 1, ["left"], set()) == (reception.wakes(), reception.closed, reception.told, reception.waiting)


def test_more_while_held(reception: Reception, hello: bytes) -> None:
    """
    A held client that sends more wakes us once for it and stays; its mark is one again when it is handed over.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    reception.client.send(b"more")
    assert (1, 1) == (reception.wakes(), len(reception.waiting))
    sock = reception.arrival.hand_over()
    assert (1, ["left"], set()) == (reception.mark(), reception.told, reception.waiting)
    assert hello + b"more" == sock.recv(65536)


def test_too_much_while_held(reception: Reception, hello: bytes) -> None:
    """
    A held client that sends more than any hello is dropped.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    reception.client.send(b"x" * MAX_HELLO_BYTES)
    reception.wakes()
    assert (1, ["left"]) == (reception.closed, reception.told)


def test_too_many_wakes(reception: Reception, hello: bytes) -> None:
    """
    A held client that sends byte after byte is dropped in the end.
    """
    reception.greeting = hold
    reception.client.send(hello)
    reception.arrival.look()
    for _ in range(65):
        assert 0 == reception.closed
        reception.client.send(b"x")
        reception.wakes()
    assert 1 == reception.closed


def test_reset_before_it_is_held(reception: Reception, hello: bytes) -> None:
    """
    A client that leaves just when it is to be held is not held.
    """

    def leave_and_hold(arrival: Arrival) -> None:
        reset(reception.client)
        arrival.hold(NAME)

    reception.client.send(hello)
    reception.greeting = leave_and_hold
    reception.arrival.look()
    reception.wakes()
    assert (1, ["left"], None) == (reception.closed, reception.told, reception.arrival.held_for)


def test_hello_deadline(reception: Reception, hello: bytes) -> None:
    """
    The whole hello has one deadline, however many parts come.
    """
    reception.arrival.look()
    reception.pass_seconds(HELLO_SECONDS - 1)
    reception.client.send(hello[:100])
    reception.wakes()
    assert [] == reception.told
    reception.pass_seconds(1)
    assert (["too late"], 1) == (reception.told, reception.closed)


def test_hold_deadline(reception: Reception, hello: bytes) -> None:
    """
    From when it is held, the hold's deadline counts and the hello's does not.
    """
    reception.greeting = hold
    reception.arrival.look()
    reception.pass_seconds(HELLO_SECONDS - 1)
    reception.client.send(hello)
    reception.wakes()
    reception.pass_seconds(HOLD_SECONDS - 1)
    assert [] == reception.told
    reception.pass_seconds(1)
    assert (["too late", "left"], 1) == (reception.told, reception.closed)


def test_stopping_reactor(reception: Reception) -> None:
    """
    A reactor that stops closes it, once.
    """
    reception.arrival.look()
    for _ in range(2):
        reception.arrival.connectionLost(Failure(CONNECTION_LOST))
    assert (1, -1) == (reception.closed, reception.arrival.fileno())


# PROXY headers

V1 = b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 443\r\n"
V2 = header(("2001:db8::77", 56324), ("2001:db8::1", 443))


@pytest.fixture
def announced(reception: Reception) -> Arrival:
    """
    Give an arrival that must begin with a header.
    """
    reception.arrival.awaits_header = True
    return reception.arrival


@pytest.mark.parametrize("announcement", [V1, V2], ids=["v1", "v2"])
def test_header_and_hello_at_once(reception: Reception, announced: Arrival, hello: bytes, announcement: bytes) -> None:
    """
    The header is read away and believed; the hello stays, and nothing was waited for.
    """
    reception.client.sendall(announcement + hello)
    announced.look()
    assert ([NAME.wire], 1) == ([found.server_name for found in reception.greeted], reception.mark())
    assert hello == announced.socket.recv(65536)
    expected = {
        V1: (("192.0.2.77", 56324), ("198.51.100.1", 443)),
        V2: (("2001:db8::77", 56324), ("2001:db8::1", 443)),
    }
    assert expected[announcement] == (announced.peer, announced.destination)


@pytest.mark.parametrize("announcement", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("size", [1, 9, 40])
def test_header_in_pieces(
    reception: Reception, announced: Arrival, hello: bytes, announcement: bytes, size: int
) -> None:
    """
    However it is cut, and wherever the hello begins; between the pieces nothing spins.
    """
    message = announcement + hello
    announced.look()
    for at in range(0, len(announcement) + size, size):
        reception.client.sendall(message[at : at + size])
        assert reception.wakes() <= 2
    reception.client.sendall(message[len(announcement) + size + (-len(announcement)) % size :])
    reception.wakes()
    assert ([NAME.wire], ["announced"], set()) == (
        [found.server_name for found in reception.greeted],
        reception.told,
        reception.waiting,
    )
    assert 1 == reception.mark()


@pytest.mark.parametrize("announcement", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"], ids=["unknown", "local"])
def test_header_that_names_nobody(reception: Reception, announced: Arrival, hello: bytes, announcement: bytes) -> None:
    """
    The peer stays who it is.
    """
    peer = announced.peer
    reception.client.sendall(announcement + hello)
    announced.look()
    assert (1, peer, None) == (len(reception.greeted), announced.peer, announced.destination)


@pytest.mark.parametrize("broken", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02", b"PROXY TCP4 nobody\r\n"])
def test_no_header(reception: Reception, announced: Arrival, broken: bytes) -> None:
    """
    It is closed, and said.
    """
    reception.client.sendall(broken)
    announced.look()
    assert (["no header"], 1) == (reception.told, reception.closed)
    with pytest.raises(ConnectionResetError):
        reception.client.recv(1)


def test_header_and_hello_share_a_deadline(reception: Reception, announced: Arrival, hello: bytes) -> None:
    """
    The header does not begin it again.
    """
    announced.look()
    reception.pass_seconds(HELLO_SECONDS - 1)
    reception.client.sendall(V2 + hello[:100])
    reception.wakes()
    assert (["announced"], False) == (reception.told, announced.awaits_header)
    reception.pass_seconds(1.5)
    assert (["announced", "too late"], 1) == (reception.told, reception.closed)


def test_announced_client_that_must_not_stay(reception: Reception, announced: Arrival, hello: bytes) -> None:
    """
    It is reset, and nobody looks at what it says.
    """
    reception.hospitable = False
    reception.client.sendall(V2 + hello)
    announced.look()
    assert ([], 1, set()) == (reception.greeted, reception.closed, reception.waiting)
    with pytest.raises(ConnectionResetError):
        reception.client.recv(1)


@pytest.mark.parametrize("said", [b"", V1[:7], V1, V2], ids=["nothing", "some", "v1", "v2"])
def test_leaver_before_the_hello(reception: Reception, announced: Arrival, said: bytes) -> None:
    """
    A health check: no failure.
    """
    reception.client.sendall(said)
    announced.look()
    reception.client.close()
    reception.wakes()
    assert (1, set()) == (reception.closed, reception.waiting)
    assert reception.told in ([], ["announced"])


def test_reset_while_the_header_is_read(
    reception: Reception, announced: Arrival, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The kernel tells after it was peeked; nothing is left open.
    """
    reception.client.sendall(V2)
    really = parse_header

    def parse_and_reset(data: bytes) -> object:
        found = really(data)
        reset(reception.client)
        announced.socket.setblocking(False)
        while announced.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:
            pass
        return found

    monkeypatch.setattr("sptls.proxy_header.parse", parse_and_reset)
    announced.look()
    assert (1, set()) == (reception.closed, reception.waiting)
