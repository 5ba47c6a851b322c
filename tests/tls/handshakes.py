"""
TLS handshakes in memory: both sides by OpenSSL, no socket.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import attrs
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from sptls.certs.bundle import CertificateBundle

Issue = Callable[..., CertificateBundle]


@attrs.frozen
class Handshake:
    """
    A handshake that is done: both connections, and how many bytes the *server* sent for it.
    """

    server: SSL.Connection
    client: SSL.Connection
    server_bytes: int

    def chain(self) -> tuple[bytes, ...]:
        """
        Give the certificates that the client got, as DER.
        """
        certificates = self.client.get_peer_cert_chain(as_cryptography=True) or []
        return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def client_context(*alpn: bytes, version: int = SSL.TLS1_3_VERSION, suites: bytes = b"") -> SSL.Context:
    """
    Give a client's context that offers *alpn*, TLS up to *version*, and *suites* where some are named.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if suites and version == SSL.TLS1_3_VERSION:
        context.set_tls13_ciphersuites(suites)
    elif suites:
        context.set_cipher_list(suites)
    return context


def shake_hands(
    server_context: SSL.Context,
    client: SSL.Context | None = None,
    name: bytes = b"click.example.com",
    session: SSL.Session | None = None,
) -> Handshake:
    """
    Connect *client* to *server_context* and give both sides after the handshake, tickets included.

    Raises:
        SSL.Error: one of them refused.
    """
    ours, theirs = SSL.Connection(server_context, None), SSL.Connection(client or client_context(), None)
    ours.set_accept_state()
    theirs.set_connect_state()
    theirs.set_tlsext_host_name(name)
    if session is not None:
        theirs.set_session(session)
    server_bytes = 0
    for _ in range(4):
        for source, target in ((theirs, ours), (ours, theirs)):
            with suppress(SSL.WantReadError):
                source.do_handshake()
            with suppress(SSL.WantReadError):
                sent = source.bio_read(65536)
                target.bio_write(sent)
                server_bytes += len(sent) if source is ours else 0
    ours.do_handshake()
    theirs.do_handshake()
    with suppress(SSL.WantReadError):
        theirs.recv(1)  # takes the tickets
    return Handshake(ours, theirs, server_bytes)
