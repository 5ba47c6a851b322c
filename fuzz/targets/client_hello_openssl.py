"""
The ClientHello, read by two parsers: where OpenSSL finds a name and protocols in it, we find the same or refuse it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL

from fuzz.targets.pem import CERTIFICATE, KEY
from sptls.tls.client_hello import ClientHello, NeedMore, parse


def _hello(server_name: bytes, protocols: list[bytes], version: int) -> bytes:
    """
    Give what OpenSSL as a client says first; its random parts are replaced.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(version)
    if protocols:
        context.set_alpn_protos(protocols)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if server_name:
        connection.set_tlsext_host_name(server_name)
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        hello = bytearray(connection.bio_read(65536))
    hello[11:43] = bytes(32)
    hello[44 : 44 + hello[43]] = bytes(hello[43])
    return bytes(hello)


_FIRST: Final = _hello(b"a.example", [b"h2", b"http/1.1"], SSL.TLS1_2_VERSION)
SEEDS: Final = (
    _FIRST,
    _hello(b"", [], SSL.TLS1_2_VERSION),
    _hello(b"xn--bcher-kva.example", [b"acme-tls/1"], SSL.TLS1_2_VERSION),
    _FIRST.replace(b"a.example", b"a.exam\x00e"),
    _FIRST.replace(b"\x02h2\x08http/1.1", b"\x0bh2\x08http/1.1"),
    _FIRST[:60],
)


class _Seen:
    """
    What OpenSSL, as a server, found in a hello.
    """

    def __init__(self) -> None:
        self.has_name = False
        self.name: bytes | None = None
        self.protocols: tuple[bytes, ...] | None = None
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self.context.use_privatekey(load_pem_private_key(KEY, None))  # type: ignore[arg-type] # it is an EC key
        self.context.use_certificate(load_pem_x509_certificate(CERTIFICATE))
        self.context.set_tlsext_servername_callback(self._named)
        self.context.set_alpn_select_callback(self._offered)

    def read(self, data: bytes) -> None:
        """
        Take a client's first bytes.
        """
        self.has_name, self.name, self.protocols = False, None, None
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        connection.bio_write(data)
        with suppress(SSL.Error):  # it wants more, or refuses the hello
            connection.do_handshake()

    def _named(self, connection: SSL.Connection) -> None:
        self.has_name, self.name = True, connection.get_servername()

    def _offered(self, _: SSL.Connection, protocols: list[bytes]) -> bytes:
        self.protocols = tuple(protocols)
        return protocols[0]


_SEEN: Final = _Seen()


def check(data: bytes) -> None:
    """
    See that OpenSSL reads no name and no protocols out of a hello but those that we do, where we don't refuse it.
    """
    if not data:
        return
    hello = parse(data)
    _SEEN.read(data)
    if _SEEN.has_name:
        assert not isinstance(hello, NeedMore)
    if isinstance(hello, ClientHello):
        if _SEEN.has_name:
            assert hello.server_name == _SEEN.name
        if _SEEN.protocols is not None:
            assert hello.alpn == _SEEN.protocols
