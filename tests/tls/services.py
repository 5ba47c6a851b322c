"""
Tracking services on loopback sockets, for what connects to them over TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import trustme
from OpenSSL import SSL
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.ssl import Certificate, trustRootFromCertificates

from tests.tls.wire import TlsClient


class Service:
    """
    Accepts on loopback and shakes hands with *context*; with None it takes connections and says nothing.
    """

    def __init__(self, context: SSL.Context | None, host: str = "127.0.0.1", receive_buffer: int | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.socket(family)
        if receive_buffer is not None:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listening.bind((host, 0))
        self.listening.listen()
        self.listening.setblocking(False)
        self.context = context
        self.sockets: list[socket.socket] = []
        self.connections: list[TlsClient] = []

    @property
    def port(self) -> int:
        """
        Give where it listens.
        """
        port: int = self.listening.getsockname()[1]
        return port

    def step(self) -> None:
        """
        Do what can be done without waiting.
        """
        try:
            sock, _ = self.listening.accept()
        except OSError:  # nobody there, or closed
            pass
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets.append(sock)
            if self.context is not None:
                self.connections.append(TlsClient(sock, accept=self.context))
        for connection in self.connections:
            connection.step()

    def close(self) -> None:
        """
        Let go of everything.
        """
        self.listening.close()
        for sock in self.sockets:
            sock.close()


@contextmanager
def serving(
    context: SSL.Context | None, host: str = "127.0.0.1", receive_buffer: int | None = None
) -> Iterator[Service]:
    """
    Have a service for a while.
    """
    service = Service(context, host, receive_buffer)
    try:
        yield service
    finally:
        service.close()


def service_context(
    authority: trustme.CA, *names: str, not_after: datetime | None = None, version: int | None = None
) -> SSL.Context:
    """
    Give a server's context with a certificate for *names*, that gives out session tickets.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_session_id(b"test")
    if version is not None:
        context.set_max_proto_version(version)
    authority.issue_cert(*names, not_after=not_after).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> IOpenSSLTrustRoot:
    """
    Trust *authority* alone.
    """
    root: IOpenSSLTrustRoot = trustRootFromCertificates([Certificate.loadPEM(authority.cert_pem.bytes())])
    return root
