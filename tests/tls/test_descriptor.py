from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sptls.tls.descriptor import READS_PER_WAKE, WRITES_PER_WAKE
from sptls.tls.openssl import RECORD_BYTES, TlsConnection
from sptls.tls.transport import TlsTransport
from tests.tls.wire import HalfCloseable, Loopback, Recorder, drain, fill, logged

if TYPE_CHECKING:
    import trustme
    from twisted.logger import LogEvent

MEBIBYTE = 1024 * 1024
SMALL = {"send_buffer": 4096, "receive_buffer": 4096}
Wire = Callable[..., Loopback]


@pytest.fixture
def wire(authority: trustme.CA) -> Iterator[Wire]:
    """
    Give a maker of connected pairs, closed after the test.
    """
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(Loopback(authority, **options)))


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    """
    Give what is logged.
    """
    with logged() as events:
        yield events


def echo(protocol: Recorder, data: bytes) -> None:
    """
    Send everything back.
    """
    protocol.tls.write(data)


def test_interface(wire: Wire) -> None:
    """
    The descriptor is what the reactor wants; its number is gone with the socket.
    """
    transport = wire().open(Recorder())
    assert verifyObject(IReadWriteDescriptor, transport)
    assert (True, "tls") == (transport.fileno() > 0, transport.logPrefix())
    transport.abortConnection()
    assert -1 == transport.fileno()


def test_handshake_waits_for_room(wire: Wire) -> None:
    """
    A handshake whose flight finds no room goes on when there is.
    """
    pair, protocol = wire(**SMALL), Recorder(echo)
    pair.client.step()
    filled = fill(pair.near)
    transport = pair.serve(protocol)
    assert ([], [transport]) == (pair.pump.getReaders(), pair.pump.getWriters())
    drain(pair.client.sock, filled)
    pair.client.unsent += b"hello"
    pair.run(lambda: pair.client.received)
    assert b"hello" == pair.client.received


@pytest.mark.parametrize("ignores_eof", [True, False], ids=["as a server", "as a client"])
def test_peer_leaves_in_the_handshake(wire: Wire, ignores_eof: bool) -> None:
    """
    Its end of the stream ends the connection at once; nothing waits, or spins, until a deadline.
    """
    pair, protocol = wire(ignores_eof=ignores_eof), Recorder()
    pair.serve(protocol)
    pair.client.step()
    pair.pump.turn()
    pair.client.sock.shutdown(socket.SHUT_WR)
    pair.settle()
    assert (1, [], []) == (pair.closed, pair.pump.getReaders(), protocol.lost)


@pytest.mark.parametrize("closing", [True, False])
def test_peer_that_closed_and_is_gone(wire: Wire, closing: bool) -> None:
    """
    What is sent after the peer's close_notify, and after it is gone, ends the connection; nothing waits for room.
    """
    pair, protocol = wire(), HalfCloseable()
    transport = pair.open(protocol)
    pair.client.tls.shutdown()
    pair.settle()
    assert ["read"] == protocol.ends
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    if closing:
        transport.loseConnection()
    else:
        transport.write(b"answer")
        transport.write(b"more of it")
    pair.pump.settle()
    assert (1, [], []) == (pair.closed, pair.pump.getReaders(), pair.pump.getWriters())


def test_tickets_wait_for_room(wire: Wire) -> None:
    """
    A handshake whose session tickets find no room goes on when there is, and nothing spins meanwhile.
    """
    pair, protocol = wire(**SMALL), Recorder(echo)
    transport = pair.serve(protocol)
    pair.client.step()
    pair.pump.turn()
    pair.client.reading = False
    pair.client.unsent += b"hello"
    pair.client.step()
    filled = fill(pair.near)
    pair.pump.turn()
    assert ([], [transport]) == (pair.pump.getReaders(), pair.pump.getWriters())
    drain(pair.client.sock, filled)
    pair.client.reading = True
    pair.run(lambda: pair.client.received)
    assert b"hello" == pair.client.received


def test_close_notify_waits_for_room(wire: Wire) -> None:
    """
    A close_notify that finds no room is sent when there is.
    """
    pair, protocol = wire(**SMALL), Recorder()
    transport = pair.open(protocol)
    filled = fill(pair.near)
    transport.loseConnection()
    assert ([transport], True) == (pair.pump.getWriters(), transport.connected)
    drain(pair.client.sock, filled, lambda: pair.pump.turn(0) if transport.connected else None)
    pair.run(lambda: pair.client.end)
    assert ("close_notify", ConnectionDone) == (pair.client.end, protocol.why)


def test_partial_writes(wire: Wire) -> None:
    """
    Writes that the socket takes in pieces arrive whole and in order, with others added in between.
    """
    pair, protocol, sent = wire(**SMALL), Recorder(), bytearray()
    transport = pair.open(protocol)
    for number in range(200):
        piece = bytes([number]) * (number * 17)
        transport.write(piece)
        sent += piece
        if number % 10 == 0:
            pair.client.step()
            pair.pump.turn(0)
    pair.run(lambda: len(pair.client.received) == len(sent))
    assert pair.client.received == sent


def test_reads_are_bounded(wire: Wire) -> None:
    """
    One wake reads so much and no more; the rest waits for the next.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    pair.client.unsent += b"x" * (RECORD_BYTES * READS_PER_WAKE * 2)
    pair.client.step()
    transport.doRead()
    assert READS_PER_WAKE == len(protocol.pieces)
    pair.settle()
    assert RECORD_BYTES * READS_PER_WAKE * 2 == len(protocol.received)


def test_writes_are_bounded(wire: Wire) -> None:
    """
    One wake writes so much and no more, and nothing is lost.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    pair.client.reading = False
    transport.write(b"x" * (16 * MEBIBYTE))
    unsent = len(transport._out)
    pair.client.reading = True
    pair.client.step()
    transport.doWrite()
    # One more for the record that was waiting: OpenSSL finishes it and goes on.
    assert unsent - (WRITES_PER_WAKE + 1) * RECORD_BYTES <= len(transport._out) < unsent
    pair.run(lambda: len(pair.client.received) == 16 * MEBIBYTE)


def test_close_notify_of_the_peer(wire: Wire) -> None:
    """
    A peer that closes gets what is unsent and a close_notify; the protocol is told that it is done.
    """
    pair, protocol = wire(), Recorder(lambda protocol, data: protocol.tls.write(b"y" * MEBIBYTE))
    pair.open(protocol)
    pair.client.unsent += b"x"
    pair.client.step()
    pair.client.tls.shutdown()
    pair.run(lambda: pair.client.end)
    pair.settle()
    assert (MEBIBYTE, "close_notify", ConnectionDone) == (len(pair.client.received), pair.client.end, protocol.why)
    assert (1, {}, {}) == (pair.closed, pair.pump.readers, pair.pump.writers)


def test_peer_that_closes_and_reads(wire: Wire) -> None:
    """
    A half-closeable protocol may answer a peer that sent close_notify already (RFC 8446 §6.1).
    """
    pair, protocol = wire(), HalfCloseable()
    transport = pair.open(protocol)
    pair.client.unsent += b"GET / HTTP/1.1\r\n\r\n"
    pair.client.step()
    pair.client.tls.shutdown()
    pair.settle()
    assert (["read"], None, []) == (protocol.ends, protocol.why, pair.pump.getReaders())
    transport.write(b"the answer")
    transport.loseConnection()
    pair.settle()
    assert (b"the answer", "close_notify") == (pair.client.received, pair.client.end)
    assert (["read"], ConnectionDone) == (protocol.ends, protocol.why)


def test_half_close_after_the_peers(wire: Wire) -> None:
    """
    When both sides said close_notify, it is over.
    """
    pair, protocol = wire(), HalfCloseable()
    transport = pair.open(protocol)
    pair.client.tls.shutdown()
    pair.settle()
    transport.loseWriteConnection()
    pair.settle()
    assert (["read", "write"], ConnectionDone) == (protocol.ends, protocol.why)


def test_end_without_close_notify(wire: Wire) -> None:
    """
    A peer that just closes ends the connection as lost, not as done.
    """
    pair, protocol = wire(), Recorder()
    pair.open(protocol)
    pair.client.sock.shutdown(socket.SHUT_WR)
    pair.settle()
    assert (ConnectionLost, 1) == (protocol.why, pair.closed)
    assert "without close_notify" in str(protocol.lost[0].value)


def test_reset_by_the_peer(wire: Wire) -> None:
    """
    A reset, found while reading, ends the connection as lost.
    """
    pair, protocol = wire(), Recorder()
    pair.open(protocol)
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    pair.pump.settle()
    assert (ConnectionLost, 1) == (protocol.why, pair.closed)
    assert "reset" in str(protocol.lost[0].value)


def test_write_to_a_peer_that_left(wire: Wire) -> None:
    """
    A write that fails ends the connection as lost; the protocol is told later, and what else it writes is dropped.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    transport.pauseProducing()
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    transport.write(b"x")
    transport.write(b"y")
    assert (False, None) == (transport.connected, protocol.why)
    pair.pump.settle()
    assert (ConnectionLost, 1) == (protocol.why, pair.closed)


def test_close_to_a_peer_that_left(wire: Wire) -> None:
    """
    A close_notify that can't be sent ends the connection all the same.
    """
    pair, protocol = wire(), Recorder()
    transport = pair.open(protocol)
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    transport.loseConnection()
    pair.pump.settle()
    assert (ConnectionLost, 1) == (protocol.why, pair.closed)


def test_flush_to_a_peer_that_left(wire: Wire) -> None:
    """
    What is unsent when the peer leaves is dropped, and the producer is stopped rather than asked for more.
    """
    pair, protocol = wire(**SMALL), Recorder()
    transport = pair.open(protocol)
    pair.client.reading = False
    transport.pauseProducing()
    transport.write(b"x" * MEBIBYTE)
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    transport.doWrite()
    assert (ConnectionLost, 1) == (protocol.why, pair.closed)


def test_dead_connection_that_is_only_written(wire: Wire) -> None:
    """
    A connection that the reactor finds dead while it waits for room ends as lost.
    """
    pair, protocol = wire(**SMALL), Recorder()
    transport = pair.open(protocol)
    pair.client.reading = False
    transport.pauseProducing()
    transport.write(b"x" * MEBIBYTE)
    for _ in range(2):
        transport.connectionLost(Failure(CONNECTION_LOST))
    assert (ConnectionLost, 1, {}, {}) == (protocol.why, pair.closed, pair.pump.readers, pair.pump.writers)


def test_garbage_after_the_handshake(wire: Wire) -> None:
    """
    A record that does not decrypt gets an alert, which arrives, and ends the connection as lost.
    """
    pair, protocol = wire(), Recorder()
    pair.open(protocol)
    pair.client.sock.send(b"\x17\x03\x03\x00\x20" + b"garbage." * 4 + b"and more of it")
    pair.run(lambda: pair.client.end)
    assert ConnectionLost is protocol.why
    assert "TLS: " in str(protocol.lost[0].value)
    assert "bad record mac" in str(pair.client.failure)


def test_garbage_instead_of_a_handshake(wire: Wire) -> None:
    """
    Bytes that are no TLS end the connection before there is a protocol.
    """
    pair, protocol = wire(), Recorder()
    pair.client.sock.send(b"GET / HTTP/1.1\r\nHost: click.example.com\r\n\r\n")
    transport = pair.serve(protocol)
    pair.client.close()
    pair.pump.settle()
    assert (False, 1, []) == (transport.connected, pair.closed, pair.asked)


def test_callback_that_raises(wire: Wire, events: list[LogEvent]) -> None:
    """
    What a context's callback raises ends that handshake, and is logged.
    """

    def select(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        raise RuntimeError

    pair, protocol = wire(alpn=(b"h2",), select=select), Recorder()
    pair.serve(protocol)
    pair.run(lambda: pair.client.end)
    assert (1, ["RuntimeError"]) == (pair.closed, [event["kind"] for event in events])


def test_protocol_that_raises(wire: Wire, events: list[LogEvent]) -> None:
    """
    What a protocol raises aborts its connection and is logged once, with the place and without the data.
    """

    def fail(protocol: Recorder, data: bytes) -> None:
        raise ValueError(data)

    pair, protocol = wire(), Recorder(fail)
    pair.open(protocol)
    pair.client.unsent += b"GET /f/secret HTTP/1.1\r\n\r\n"
    pair.run(lambda: pair.client.failure)
    assert (ConnectionAborted, 1, 1) == (protocol.why, pair.closed, len(events))
    assert ("ValueError", True) == (events[0]["kind"], "in fail" in str(events[0]["place"]))
    assert "secret" not in repr(events)


def test_key_update(wire: Wire) -> None:
    """
    A peer that changes its keys, and asks for ours to change, is still understood (RFC 8446 §4.6.3).
    """
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program")
    pair, protocol = wire(), Recorder(echo)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        client = subprocess.Popen(
            [program, "s_client", "-connect", address, "-tls1_3"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        near, _ = listening.accept()
    with client, near:
        assert client.stdin is not None
        near.setblocking(False)
        connection = TlsConnection(pair.connection.get_context(), near)
        connection.set_accept_state()
        TlsTransport(pair.surroundings, near, connection, lambda alpn: protocol).start()
        for line in (b"before\n", b"K\n", b"after\n"):
            client.stdin.write(line)
            client.stdin.flush()
            pair.pump.run(pair.pump.ready)
            pair.pump.settle()
            pair.pump.run(lambda line=line: line in protocol.received or line == b"K\n")  # type: ignore[misc]
        assert b"before\nafter\n" == protocol.received
        protocol.tls.abortConnection()
        client.kill()


def test_renegotiation_while_writing(wire: Wire) -> None:
    """
    A write in the middle of a renegotiation waits for the peer's part of it, also while reading is paused.
    """
    pair, protocol = wire(version=SSL.TLS1_2_VERSION), Recorder()
    transport = pair.open(protocol)
    transport._connection.renegotiate()
    transport.write(b"one ")
    pair.client.step()
    pair.pump.turn()
    transport.pauseProducing()
    transport.write(b"two")
    transport.doWrite()
    assert ([transport], []) == (pair.pump.getReaders(), pair.pump.getWriters())
    pair.run(lambda: b"one two" == pair.client.received)
    pair.settle()
    assert ([], []) == (pair.pump.getReaders(), pair.pump.getWriters())


def test_reading_waits_for_room(wire: Wire) -> None:
    """
    A read that has to write first, and finds no room, goes on when there is; nothing spins meanwhile.
    """
    pair, protocol = wire(version=SSL.TLS1_2_VERSION, **SMALL), Recorder(echo)
    transport = pair.open(protocol)
    transport._connection.renegotiate()
    transport.write(b"one ")
    pair.client.step()
    filled = fill(pair.near)
    pair.pump.turn()
    assert ([], [transport]) == (pair.pump.getReaders(), pair.pump.getWriters())
    drain(pair.client.sock, filled)
    pair.client.unsent += b"two"
    pair.run(lambda: b"one two" == pair.client.received)


def test_renegotiation_by_the_client(wire: Wire) -> None:
    """
    A client that wants to renegotiate is refused without harm.
    """
    pair, protocol = wire(version=SSL.TLS1_2_VERSION), Recorder(echo)
    pair.open(protocol)
    pair.client.tls.renegotiate()
    pair.client.unsent += b"x"
    pair.settle()
    assert protocol.why in (None, ConnectionLost)
    assert pair.closed == len(protocol.lost)
