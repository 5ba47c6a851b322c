from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from sptls.tls.openssl import CLOSED, RECORD_BYTES, WANTS_READ, WANTS_WRITE, AcceptedConnection, TlsConnection, prefer
from tests.tls.wire import TlsClient, server_ssl, tcp_pair

if TYPE_CHECKING:
    import trustme


class Pair:
    """
    A server's connection and its client, on two sockets.
    """

    def __init__(self, context: SSL.Context, alpn: tuple[bytes, ...] = ()) -> None:
        self.near, self.far = tcp_pair(send_buffer=4096)
        self.server = AcceptedConnection(context, self.near.fileno())
        self.client = TlsClient(self.far, alpn=alpn)

    def shake_hands(self) -> None:
        """
        Shake hands.
        """
        for _ in range(3):
            self.client.step()
            self.server.shake_hands()
        self.client.step()

    def close(self) -> None:
        """
        Let go of both sockets.
        """
        self.near.close()
        self.far.close()


@pytest.fixture
def pair(authority: trustme.CA) -> Iterator[Pair]:
    """
    Give a connected pair before its handshake.
    """
    pair = Pair(server_ssl(authority))
    yield pair
    pair.close()


@pytest.fixture
def shaken(pair: Pair) -> Pair:
    """
    Give one that has shaken hands.
    """
    pair.shake_hands()
    return pair


def test_handshake(pair: Pair) -> None:
    """
    A handshake waits for the client's two flights, and is complete with the second.
    """
    assert WANTS_READ is pair.server.shake_hands()
    pair.client.step()
    assert WANTS_READ is pair.server.shake_hands()
    pair.client.step()
    assert pair.server.shake_hands() is None


def test_handshake_with_no_client_of_tls(pair: Pair) -> None:
    """
    What is over is an error of pyOpenSSL's, with OpenSSL's reason.
    """
    pair.far.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(SSL.Error, match="http request"):
        pair.server.shake_hands()


def test_handshake_with_nobody(pair: Pair) -> None:
    """
    A client that closed is told apart from one that is slow.
    """
    pair.far.close()
    with pytest.raises(SSL.SysCallError):
        pair.server.shake_hands()


def test_error_that_somebody_left_is_gone_with_the_first_connection_that_fails(shaken: Pair) -> None:
    """
    Before OpenSSL 4 each connection takes what is in the queue for its own failure, where it would only have to wait.
    """
    lib: Any = Binding.lib
    assert 1 != lib.SSL_CTX_use_certificate_chain_file(shaken.server.get_context()._context, b"/no/such/file")
    shaken.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    shaken.far.close()
    with pytest.raises(SSL.Error):
        shaken.server.read_some()
    assert 0 == lib.ERR_peek_error()


def test_reading(shaken: Pair) -> None:
    """
    A read gives a record at most, waits when nothing is there, and tells the end.
    """
    assert WANTS_READ is shaken.server.read_some()
    shaken.client.tls.send(b"x" * RECORD_BYTES)
    shaken.client.tls.send(b"y")
    assert [b"x" * RECORD_BYTES, b"y", WANTS_READ] == [shaken.server.read_some() for _ in range(3)]
    shaken.client.tls.shutdown()
    assert CLOSED is shaken.server.read_some()


def test_what_was_read_stays_as_it_was(shaken: Pair) -> None:
    """
    All connections read into one buffer, and none sees another's bytes.
    """
    shaken.client.tls.send(b"first")
    first = shaken.server.read_some()
    shaken.client.tls.send(b"other")
    assert (b"first", b"other") == (first, shaken.server.read_some())


def test_writing(shaken: Pair) -> None:
    """
    A write tells how much was sent, of bytes and of what may change.
    """
    assert (3, 4, 3) == (
        shaken.server.write_some(b"one"),
        shaken.server.write_some_from(bytearray(b"-two")),
        shaken.server.write_some_from(memoryview(b"-three")[3:]),
    )
    shaken.client.step()
    assert b"one-tworee" == shaken.client.received


def test_writing_without_room(shaken: Pair) -> None:
    """
    A write that finds no room waits, and is done when it is repeated; so is close_notify.
    """
    record, sent = b"x" * RECORD_BYTES, 0
    while (written := shaken.server.write_some(record)) is not WANTS_WRITE:
        assert isinstance(written, int)
        sent += written
    while shaken.server.write_some_from(bytearray(record)) is WANTS_WRITE:
        shaken.client.step()
    while shaken.server.say_close_notify() is not None:
        shaken.client.step()
    shaken.client.step()
    assert (sent + RECORD_BYTES, "close_notify") == (len(shaken.client.received), shaken.client.end)


def test_memory_of_a_connection_is_given_back(authority: trustme.CA) -> None:
    """
    A connection that is let go of leaves nothing behind, and its socket alone.
    """
    context = server_ssl(authority)
    near, far = socket.socketpair()
    with near, far:
        for _ in range(3):
            AcceptedConnection(context, near.fileno())
        assert 1 == far.send(b"x")
        assert b"x" == near.recv(1)


@pytest.mark.parametrize(
    ("ours", "offered", "agreed"),
    [
        ((b"h2", b"http/1.1"), (b"http/1.1", b"h2"), b"h2"),
        ((b"h2", b"http/1.1"), (b"http/1.1",), b"http/1.1"),
        ((b"h2", b"http/1.1"), (b"\x0a\x0a", b"http/1.1", b"http/1.0"), b"http/1.1"),
        ((b"h2", b"http/1.1"), (b"x\x02h2",), b""),
        ((b"h2", b"http/1.1"), (b"http/1.0",), b""),
        ((b"h2", b"http/1.1"), (), b""),
        ((b"acme-tls/1",), (b"http/1.1", b"acme-tls/1"), b"acme-tls/1"),
    ],
)
def test_alpn(authority: trustme.CA, ours: tuple[bytes, ...], offered: tuple[bytes, ...], agreed: bytes) -> None:
    """
    The first of ours that a client offers is agreed, and known at both ends; without one it goes on.
    """
    context = server_ssl(authority)
    prefer(context, ours)
    pair = Pair(context, offered)
    pair.shake_hands()
    assert (agreed, agreed) == (pair.server.agreed_alpn(), pair.client.tls.get_alpn_proto_negotiated())
    pair.close()


def test_client_side(authority: trustme.CA) -> None:
    """
    A client's connection has the same calls, and pyOpenSSL's own.
    """
    near, far = tcp_pair()
    with near, far:
        connection = TlsConnection(SSL.Context(SSL.TLS_METHOD), near)
        connection.set_connect_state()
        server = TlsClient(far, accept=server_ssl(authority))
        while connection.shake_hands() is WANTS_READ:
            server.step()
        assert (2, b"") == (connection.write_some(b"hi"), connection.agreed_alpn())
        server.step()
        assert (b"hi", "TLSv1.3") == (server.received, connection.get_protocol_version_name())
