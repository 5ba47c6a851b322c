"""
The clients: one process each, blocking, so that they cost the servers nothing but their requests.

*cold*: a new TLS 1.3 connection per request, full handshake, as mail clients do. *keep*: one connection, many requests.
HTTP/2 is `load_http2`'s.
*tls* says whose OpenSSL the clients are made of: Python's ("system", before 3.5 without post-quantum key exchange), or
that of cryptography's wheel ("wheel", which offers X25519MLKEM768 as today's browsers do).
"""

from __future__ import annotations

import multiprocessing
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

from OpenSSL import SSL

Tls = Literal["system", "wheel"]

NAME = "localhost"
TARGET = (
    "/f/a/Hcv1nwnOfCFeZmc3EvMwsQ~~/AALoUwA~/RgRestfaPwRXA3NwY0IKABvaUtBcfA5Pw1IbbmF0aGFuLmR1cmFudEBzcGFya3Bvc3QuY29tWAQAAAAA"
    "?target=http%3A%2F%2Fwww.sparkpost.com"
)
FIELDS = (
    ("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.9"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://mail.example.com/"),
)
REQUEST = f"GET {TARGET} HTTP/1.1\r\nHost: {NAME}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in FIELDS)
ONE = (REQUEST + "Connection: close\r\n\r\n").encode()
MORE = (REQUEST + "\r\n").encode()
_TIMEOUT_SECONDS = 10.0
_READ_BYTES = 16384


class Connection(Protocol):
    """
    A client's connection after its handshake.
    """

    def sendall(self, data: bytes) -> object:
        """
        Send *data*.
        """

    def recv(self, size: int) -> bytes:
        """
        Give what came; nothing at the end.
        """

    def close(self) -> None:
        """
        Close the socket.
        """

    def described(self) -> str:
        """
        Give cipher suite and, where it can be known, group.
        """


class SystemClient:
    """
    Makes connections with Python's `ssl`.
    """

    def __init__(self, ca: str) -> None:
        self._context = ssl.create_default_context(cafile=ca)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.set_alpn_protocols(["http/1.1"])

    def connect(self, port: int) -> Connection:
        """
        Shake hands in full: no session is offered.
        """
        return _SystemConnection(self._context.wrap_socket(connected(port), server_hostname=NAME))


class _SystemConnection:
    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self.sendall, self.recv, self.close = connection.sendall, connection.recv, connection.close

    def described(self) -> str:
        cipher = self._connection.cipher()
        return cipher[0] if cipher else "none"


class WheelClient:
    """
    Makes connections with pyOpenSSL.
    """

    def __init__(self, ca: str) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.load_verify_locations(ca)
        self._context.set_verify(SSL.VERIFY_PEER)
        self._context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self._context.set_alpn_protos([b"http/1.1"])

    def connect(self, port: int) -> Connection:
        """
        Shake hands in full: no session is offered.
        """
        sock = connected(port)
        sock.settimeout(None)  # pyOpenSSL drives the descriptor itself, which must block
        connection = SSL.Connection(self._context, sock)
        connection.set_tlsext_host_name(NAME.encode())
        connection.set_connect_state()
        connection.do_handshake()
        return _WheelConnection(connection, sock)


class _WheelConnection:
    def __init__(self, connection: SSL.Connection, sock: socket.socket) -> None:
        self._connection, self.sendall, self.close = connection, connection.sendall, sock.close

    def recv(self, size: int) -> bytes:
        try:
            return self._connection.recv(size)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return b""

    def described(self) -> str:
        return f"{self._connection.get_cipher_name()} {self._connection.get_group_name()}"


_CLIENTS: dict[Tls, type[SystemClient | WheelClient]] = {"system": SystemClient, "wheel": WheelClient}


def cold(tls: Tls, port: int, ca: str, requests: int) -> None:
    """
    Make *requests* requests, each on a connection of its own.
    """
    client = _CLIENTS[tls](ca)
    for _ in range(requests):
        click(client, port)


def click(client: SystemClient | WheelClient, port: int) -> None:
    """
    Make one request on a connection of its own, and read until the server closes it.
    """
    connection = client.connect(port)
    connection.sendall(ONE)
    answer = b""
    while piece := connection.recv(_READ_BYTES):
        answer += piece
    connection.close()
    _check(answer)


def keep(tls: Tls, port: int, ca: str, requests: int) -> None:
    """
    Make *requests* requests on one connection.
    """
    connection = _CLIENTS[tls](ca).connect(port)
    for _ in range(requests):
        ask(connection)
    connection.close()


def ask(connection: Connection) -> None:
    """
    Make one request on a connection that is kept.
    """
    connection.sendall(MORE)
    answer = b""
    while not _complete(answer):
        piece = connection.recv(_READ_BYTES)
        if not piece:
            raise RuntimeError("the server closed a kept-alive connection")
        answer += piece
    _check(answer)


def negotiated(tls: Tls, port: int, ca: str) -> str:
    """
    Tell what a client and the server at *port* agree on.
    """
    connection = _CLIENTS[tls](ca).connect(port)
    described = connection.described()
    connection.close()
    return described


def shared(client: Callable[[int], None], requests: int, clients: int) -> int:
    """
    Share *requests* among *clients* processes that run *client* with their part of them; give how many were made.

    Raises:
        RuntimeError: a client met something other than a click's answer.
    """
    each = requests // clients
    in_processes(partial(client, each), clients)
    return each * clients


def in_processes(client: Callable[[], None], clients: int) -> None:
    """
    Run *client* in so many processes, and wait until all have ended.

    Raises:
        RuntimeError: a client met something other than a click's answer.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=client) for _ in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a client failed; what it met is printed above")


def connected(port: int) -> socket.socket:
    """
    Give a socket that is connected to *port*.
    """
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _complete(answer: bytes) -> bool:
    head, separator, content = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    fields = head.lower()
    if b"content-length:" in fields:
        return len(content) >= int(fields.split(b"content-length:")[1].split(b"\r\n")[0])
    return content.endswith(b"0\r\n\r\n")


def _check(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 302"):
        raise RuntimeError(f"not a click's answer: {answer[:200]!r}")
