# ruff: noqa: N802 - Twisted's names
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from socket import IPPROTO_TCP, MSG_PEEK, TCP_QUICKACK
from typing import TYPE_CHECKING

import attrs
import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IPullProducer,
    IPushProducer,
    IReadWriteDescriptor,
    ITCPTransport,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.tls.transport import BUFFER_BYTES, TlsTransport
from tests.tls.wire import HalfCloseable, Loopback, Recorder, drain, fill

if TYPE_CHECKING:
    import trustme

MEBIBYTE = 1024 * 1024
Wire = Callable[..., Loopback]


@pytest.fixture
def wire(authority: trustme.CA) -> Iterator[Wire]:
    """
    Give a maker of connected pairs, closed after the test.
    """
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(Loopback(authority, **options)))


def echo(protocol: Recorder, data: bytes) -> None:
    """
    Send everything back.
    """
    protocol.tls.write(data)


@attrs.define(eq=False)
class Counts:
    """
    An observer that counts.
    """

    completed: int = 0
    failed: int = 0
    ended: int = 0

    def handshake_completed(self, transport: TlsTransport) -> None:
        """
        Count it.
        """
        self.completed += 1

    def handshake_failed(self, transport: TlsTransport) -> None:
        """
        Count it.
        """
        self.failed += 1

    def transport_ended(self, transport: TlsTransport) -> None:
        """
        Count it.
        """
        self.ended += 1


@implementer(IPushProducer)
class Push:
    """
    A push producer that remembers what it was told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("stop")


@implementer(IPullProducer)
class Pull:
    """
    A pull producer of *pieces*, one each time it is asked.
    """

    def __init__(self, transport: TlsTransport, pieces: list[bytes]) -> None:
        self.transport, self.pieces, self.stopped = transport, pieces, False

    def resumeProducing(self) -> None:
        """
        Write the next piece, or say that there is none.
        """
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """
        Remember it.
        """
        self.stopped = True


@pytest.mark.parametrize("interface", [ITCPTransport, IConsumer, IPushProducer, IProducer, IReadWriteDescriptor])
def test_interfaces(wire: Wire, interface: type) -> None:
    """
    The transport provides what it says.
    """
    assert verifyObject(interface, wire().open(Recorder()))


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_echo(wire: Wire, version: int) -> None:
    """
    A protocol on it talks with a client of either version; ALPN is asked for once, and told.
    """
    pair, protocol = wire(version=version, alpn=(b"http/1.1", b"h2")), Recorder(echo)
    transport = pair.open(protocol)
    pair.client.unsent += b"GET / HTTP/1.1\r\n\r\n"
    pair.run(lambda: len(pair.client.received) == 18)
    assert ([b"http/1.1"], b"http/1.1") == (pair.asked, transport.alpn)
    assert b"GET / HTTP/1.1\r\n\r\n" == protocol.received == pair.client.received


def test_as_client(wire: Wire) -> None:
    """
    In connect state it is the client of a TLS server.
    """
    pair, protocol = wire(connect=True), Recorder()
    pair.open(protocol).write(b"ping")
    pair.client.unsent += b"pong"
    pair.run(lambda: protocol.received and pair.client.received)
    assert (b"pong", b"ping") == (protocol.received, pair.client.received)


def test_no_protocol(wire: Wire) -> None:
    """
    Where there is no protocol for what was agreed, the connection is closed after the handshake.
    """
    pair, counts = wire(), Counts()
    pair.serve(None, counts)
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert ("close_notify", 1) == (pair.client.end, pair.closed)
    assert (1, 0, 1) == (counts.completed, counts.failed, counts.ended)


def test_addresses(wire: Wire) -> None:
    """
    Peer and host are the socket's two ends; the peer is known after the end too.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    peer = transport.getPeer()
    assert "127.0.0.1" == transport.peer_host
    assert pair.client.sock.getsockname() == (peer.host, peer.port)
    assert pair.client.sock.getpeername() == (transport.getHost().host, transport.getHost().port)
    transport.abortConnection()
    assert transport.getPeer() == peer


def test_socket_options(wire: Wire) -> None:
    """
    No-delay and keep-alive are the socket's.
    """
    transport = wire().open(Recorder())
    transport.setTcpNoDelay(False)
    transport.setTcpKeepAlive(True)
    assert (False, True) == (transport.getTcpNoDelay(), transport.getTcpKeepAlive())


def test_sequence_is_one_record(wire: Wire) -> None:
    """
    What is written as a sequence arrives as one record.
    """
    pair = wire()
    transport = pair.open(Recorder())
    pair.client.reading = False
    transport.writeSequence([b"head", b"body"])
    pair.pump.settle()
    assert b"headbody" == pair.client.tls.recv(100)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_much_both_ways(wire: Wire, version: int) -> None:
    """
    8 MiB go up and come back unchanged through small buffers, and never much of it is in memory.
    """
    sent, unsent_bytes = bytes(range(256)) * (8 * MEBIBYTE // 256), []

    def answer(protocol: Recorder, data: bytes) -> None:
        protocol.tls.write(data)
        unsent_bytes.append(protocol.tls.unsent_bytes)

    pair = wire(version=version, send_buffer=16384, receive_buffer=16384)
    transport = pair.open(Recorder(answer))
    transport.registerProducer(transport, True)  # reads no more while too much is unsent
    pair.client.unsent += sent
    pair.run(lambda: len(pair.client.received) == len(sent))
    assert pair.client.received == sent
    assert BUFFER_BYTES / 2 < max(unsent_bytes) <= BUFFER_BYTES + 16384


def test_what_the_peer_has_taken_is_known(wire: Wire) -> None:
    """
    While connected: its system acknowledges it.
    """
    pair = wire()
    transport = pair.open(Recorder())
    before = transport.taken_bytes
    transport.write(bytes(5000))
    pair.run(lambda: len(pair.client.received) == 5000)
    pair.run(lambda: transport.taken_bytes > before + 5000)
    transport.abortConnection()
    assert (0, 0) == (transport.taken_bytes, transport.unsent_bytes)


def test_push_producer(wire: Wire) -> None:
    """
    A push producer is paused once when too much is unsent, and resumed when nothing is.
    """
    pair, producer = wire(send_buffer=4096, receive_buffer=4096), Push()
    transport = pair.open(Recorder())
    transport.registerProducer(producer, True)
    for _ in range(300):
        transport.write(b"x" * 1024)
    assert ["pause"] == producer.told
    pair.run(lambda: len(pair.client.received) == 300 * 1024)
    assert ["pause", "resume"] == producer.told


def test_pull_producer(wire: Wire) -> None:
    """
    A pull producer is asked for each piece when the one before it is sent.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.registerProducer(Pull(transport, [b"one ", b"two ", b"three"]), False)
    transport.loseConnection()
    pair.run(lambda: pair.client.end)
    assert (b"one two three", "close_notify") == (pair.client.received, pair.client.end)


def test_second_producer(wire: Wire) -> None:
    """
    A second producer is refused.
    """
    transport = wire().open(Recorder())
    transport.registerProducer(Push(), True)
    with pytest.raises(RuntimeError, match="never unregistered"):
        transport.registerProducer(Push(), True)
    transport.unregisterProducer()


def test_producer_too_late(wire: Wire) -> None:
    """
    A producer for a connection that ended is stopped.
    """
    transport, producer = wire().open(Recorder()), Push()
    transport.abortConnection()
    transport.registerProducer(producer, True)
    assert ["stop"] == producer.told


def test_producer_of_a_lost_connection(wire: Wire) -> None:
    """
    When the connection ends, the producer is stopped, once.
    """
    pair, producer, protocol = wire(), Push(), Recorder()
    transport = pair.open(protocol)
    transport.registerProducer(producer, True)
    transport.abortConnection()
    transport.unregisterProducer()
    pair.settle()
    assert ([], ConnectionAborted) == (producer.told, protocol.why)
    pair, protocol = wire(), Recorder()
    pair.open(protocol).registerProducer(producer, True)
    protocol.tls.abortConnection()
    pair.settle()
    assert ["stop"] == producer.told


def test_close_says_so(wire: Wire) -> None:
    """
    Closing sends what is unsent, then close_notify; the protocol is told later, from the reactor.
    """
    pair, protocol = wire(send_buffer=4096, receive_buffer=4096), Recorder()
    transport = pair.open(protocol)
    transport.write(b"x" * MEBIBYTE)
    transport.loseConnection()
    transport.write(b"too late")
    transport.loseConnection()
    assert (True, True, []) == (transport.connected, transport.disconnecting, protocol.lost)
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert (MEBIBYTE, "close_notify", ConnectionDone) == (len(pair.client.received), pair.client.end, protocol.why)
    assert (1, 0, 0) == (pair.closed, len(pair.pump.readers), len(pair.pump.writers))


def test_gathered_answer_leaves_with_the_close(wire: Wire) -> None:
    """
    Answer and close_notify reach the client together; asked for too late, it is no fault.
    """
    pair, protocol = wire(), Recorder()
    pair.open(protocol)
    protocol.tls.gather_for_close()
    protocol.tls.write(b"answer")
    with pytest.raises(BlockingIOError):
        pair.client.sock.recv(1, MSG_PEEK)
    protocol.tls.loseConnection()
    pair.run(lambda: pair.client.end)
    assert (b"answer", "close_notify") == (pair.client.received, pair.client.end)
    protocol.tls.gather_for_close()


def test_acknowledges_at_once(wire: Wire) -> None:
    """
    What comes after a write is acknowledged without delay; asked for too late, it is no fault.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport._socket.setsockopt(IPPROTO_TCP, TCP_QUICKACK, False)
    protocol.tls.acknowledge_at_once()
    assert transport._socket.getsockopt(IPPROTO_TCP, TCP_QUICKACK)
    transport.abortConnection()
    pair.pump.turn()
    protocol.tls.acknowledge_at_once()


def test_close_at_once(wire: Wire) -> None:
    """
    With nothing unsent the socket is closed at once, but the protocol is not told inside its own call.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.loseConnection()
    assert (1, -1, []) == (pair.closed, transport.fileno(), protocol.lost)
    pair.pump.turn()
    assert ConnectionDone is protocol.why


def test_close_in_data_received(wire: Wire) -> None:
    """
    A protocol that answers and closes in one call is told after it.
    """
    order = []

    def answer(protocol: Recorder, data: bytes) -> None:
        protocol.tls.write(b"bye")
        protocol.tls.stopProducing()
        order.append(protocol.why)

    pair, protocol = wire(), Recorder(answer)
    pair.open(protocol)
    pair.client.unsent += b"hi"
    pair.run(lambda: pair.client.end)
    assert ([None], ConnectionDone) == (order, protocol.why)
    assert (b"bye", "close_notify") == (pair.client.received, pair.client.end)


def test_close_waits_for_the_producer(wire: Wire) -> None:
    """
    Closing waits for a producer, whose writes are still sent, and goes ahead when it is unregistered.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.registerProducer(Push(), True)
    transport.loseConnection()
    transport.write(b"the rest")
    pair.settle()
    assert (b"the rest", "") == (pair.client.received, pair.client.end)
    transport.unregisterProducer()
    pair.settle()
    assert ("close_notify", ConnectionDone) == (pair.client.end, protocol.why)


def test_abort(wire: Wire) -> None:
    """
    Aborting drops what is unsent and resets; the protocol is told later, once.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.abortConnection()
    transport.abortConnection()
    transport.write(b"nothing")
    transport.pauseProducing()
    transport.resumeProducing()
    assert [] == protocol.lost
    pair.settle()
    assert ("ECONNRESET", ConnectionAborted, 1) == (pair.client.end, protocol.why, pair.closed)


def test_half_close(wire: Wire) -> None:
    """
    After closing the write side the peer can still be heard; the end comes with its close_notify.
    """
    pair, protocol = wire(), HalfCloseable()
    transport = pair.open(protocol)
    transport.write(b"all I have to say")
    transport.loseWriteConnection()
    transport.loseWriteConnection()
    transport.write(b"not this")
    pair.run(lambda: pair.client.end)
    assert (b"all I have to say", "close_notify") == (pair.client.received, pair.client.end)
    pair.client.tls.send(b"and yet")
    pair.run(lambda: protocol.received)
    assert (["write"], None) == (protocol.ends, protocol.why)
    pair.client.tls.shutdown()
    pair.settle()
    assert (b"and yet", ConnectionDone) == (protocol.received, protocol.why)


def test_half_close_then_close(wire: Wire) -> None:
    """
    A connection whose write side is closed can be closed.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.loseWriteConnection()
    pair.run(lambda: pair.client.end)
    transport.loseConnection()
    pair.settle()
    assert (ConnectionDone, 1) == (protocol.why, pair.closed)


def test_pause_and_resume(wire: Wire) -> None:
    """
    A paused transport delivers nothing, however much has come; resumed, it delivers all, with nothing lost in OpenSSL.
    """

    def pause(protocol: Recorder, data: bytes) -> None:
        protocol.tls.pauseProducing()

    pair, protocol, sent = wire(), Recorder(pause), bytes(range(256)) * 256
    transport = pair.open(protocol)
    pair.client.unsent += sent
    for pieces in range(1, 5):
        pair.settle()
        assert ([16384] * pieces, 0) == (protocol.pieces, transport._connection.pending())
        transport.resumeProducing()
    assert protocol.received == sent


def test_failed_handshake_is_observed(wire: Wire) -> None:
    """
    A handshake that fails is counted, and no protocol is made.
    """
    pair, counts = wire(), Counts()
    pair.client.sock.send(b"GET / HTTP/1.1\r\n\r\n")
    pair.serve(Recorder(), counts)
    pair.pump.settle()
    assert (0, 1, 1, []) == (counts.completed, counts.failed, counts.ended, pair.asked)


def test_handshake_deadline(wire: Wire) -> None:
    """
    A handshake that takes too long is ended.
    """
    pair, counts = wire(), Counts()
    pair.serve(Recorder(), counts)
    pair.pass_seconds(10)
    assert (0, 1, 1, 1) == (counts.completed, counts.failed, counts.ended, pair.closed)


def test_no_deadline_after_the_handshake(wire: Wire) -> None:
    """
    An open connection has no deadline of the transport's: those are the protocol's.
    """
    pair, protocol = wire(), Recorder()
    pair.open(protocol)
    pair.pass_seconds(100)
    assert [] == protocol.lost


def test_flush_deadline(wire: Wire) -> None:
    """
    A peer that takes nothing of what is left to send is cut off; one that takes some gets more time.
    """
    pair, protocol = wire(send_buffer=4096, receive_buffer=4096), Recorder()
    transport = pair.open(protocol)
    pair.client.reading = False
    transport.write(b"x" * MEBIBYTE)
    transport.loseConnection()
    pair.pass_seconds(20)
    pair.client.reading = True
    pair.run(lambda: pair.client.received)
    pair.client.reading = False
    pair.pass_seconds(20)
    assert [] == protocol.lost
    pair.pass_seconds(11)
    assert (ConnectionAborted, 1) == (protocol.why, pair.closed)


def test_lingering_close(wire: Wire) -> None:
    """
    A peer that is still sending when it is answered gets the answer, not a reset.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.pauseProducing()
    pair.client.unsent += b"u" * MEBIBYTE
    pair.client.step()
    transport.write(b"413")
    transport.lose_connection_lingering()
    pair.run(lambda: pair.client.end)
    assert (b"413", "close_notify", 0) == (pair.client.received, pair.client.end, pair.closed)
    pair.client.close()
    pair.settle()
    assert (1, ConnectionDone) == (pair.closed, protocol.why)


def test_observer_fault(wire: Wire) -> None:
    """
    A protocol that can't be made ends that connection.
    """
    pair = wire()

    class Unmade(Recorder):
        def connectionMade(self) -> None:
            raise RuntimeError

    protocol = Unmade()
    pair.serve(protocol)
    pair.run(lambda: pair.client.failure)
    assert (ConnectionAborted, 1) == (protocol.why, pair.closed)


def test_close_untold(wire: Wire) -> None:
    """
    A protocol that is done closes with everything said, and hears no more: it has seen to it itself.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.write(b"last")
    assert transport.close_at_once()
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert (b"last", "close_notify", 1, []) == (pair.client.received, pair.client.end, pair.closed, protocol.lost)
    assert (False, False) == (transport.connected, transport.close_at_once())


def test_close_at_once_in_the_reactors_call(wire: Wire) -> None:
    """
    It may be done with in the very call that brought the request.
    """

    def answer(protocol: Recorder, data: bytes) -> None:
        protocol.tls.write(data)
        assert protocol.tls.close_at_once()

    pair, protocol = wire(), Recorder(answer)
    pair.open(protocol)
    pair.client.unsent += b"ping"
    pair.run(lambda: pair.client.end)
    assert (b"ping", "close_notify", [], 1) == (pair.client.received, pair.client.end, protocol.lost, pair.closed)


def test_close_at_once_with_something_unsent(wire: Wire) -> None:
    """
    With bytes that the peer has not taken nothing is done; closing in the ordinary way goes on from there.
    """
    pair, protocol = wire(send_buffer=4096, receive_buffer=4096), Recorder()
    transport = pair.open(protocol)
    pair.client.reading = False
    transport.write(b"x" * MEBIBYTE)
    assert (False, False) == (transport.close_at_once(), transport.disconnecting)
    transport.loseConnection()
    pair.client.reading = True
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert (MEBIBYTE, ConnectionDone) == (len(pair.client.received), protocol.why)


def test_close_at_once_without_room_for_close_notify(wire: Wire) -> None:
    """
    Where even close_notify finds no room, a producer stays registered and the connection open.
    """
    pair, protocol = wire(send_buffer=4096, receive_buffer=4096), Recorder()
    transport = pair.open(protocol)
    producer = Push()
    transport.registerProducer(producer, True)
    filled = fill(pair.near)
    assert (False, False, True) == (transport.close_at_once(), transport.disconnecting, transport.connected)
    drain(pair.client.sock, filled)
    transport.unregisterProducer()
    transport.loseConnection()
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert (1, ConnectionDone) == (pair.closed, protocol.why)
