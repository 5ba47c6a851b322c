"""
TLS towards upstreams: from an address to a protocol that runs on a verified connection.

The chain is verified by OpenSSL and the name by service-identity, both within the handshake, so that no byte of a
request goes to a stranger (RFC 8446 §4.4.2, RFC 9525). A connection that had an answer makes the next one cheap: its
session is offered (RFC 8446 §2.2), and nothing is verified twice, as it comes from a handshake that was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from zope.interface import implementer

from sptls.addresses import is_address
from sptls.connecting import connected
from sptls.errors import UpstreamError
from sptls.interfaces import IUpstreamConnector
from sptls.tls.contexts import client_context
from sptls.tls.lingering import Lingering
from sptls.tls.openssl import TlsConnection
from sptls.tls.reasons import DONE, TRUNCATED
from sptls.tls.transport import TlsTransport, TransportSurroundings

if TYPE_CHECKING:
    from socket import socket

    from OpenSSL import SSL
    from OpenSSL.crypto import X509
    from twisted.internet._sslverify import IOpenSSLTrustRoot
    from twisted.internet.interfaces import IProtocol, ITransport
    from twisted.python.failure import Failure

    from sptls.deadlines import Deadlines
    from sptls.tls.lingering import SocketReactor

# X509_V_ERR_... of openssl/x509_vfy.h, those that an operator meets, in plain words.
_UNTRUSTED: Final = "is from no CA that is trusted here; `upstream.trust` names a file of more roots"
_FAULTS: Final = {
    2: _UNTRUSTED,
    9: "is not valid yet; one of the two clocks is wrong",
    10: "has expired",
    18: _UNTRUSTED,
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    26: "is not for servers",
}


class TlsClient:
    """
    What the connections to all upstreams share; a handshake takes at most *handshake_seconds*.
    """

    def __init__(self, reactor: SocketReactor, deadlines: Deadlines, handshake_seconds: float) -> None:
        self._lingering = Lingering(reactor, deadlines, _nothing)
        self._surroundings = TransportSurroundings.make(reactor, deadlines, self._lingering, handshake_seconds)
        # The system's roots take a megabyte or two, and upstreams can be many.
        self._contexts: WeakKeyDictionary[IOpenSSLTrustRoot, SSL.Context] = WeakKeyDictionary()

    def connector(self, host: str, port: int, trust: IOpenSSLTrustRoot) -> TlsConnector:
        """
        Give what connects to *host*, a name or an IP address, whose certificate must come from *trust*.
        """
        context = self._contexts.get(trust)
        if context is None:
            context = self._contexts[trust] = client_context(trust, _verify)
        return TlsConnector(self._surroundings, context, host, port)

    def stop(self) -> None:
        """
        Wait no longer for upstreams that do not close their end.
        """
        self._lingering.reset_all()


@implementer(IUpstreamConnector)
class TlsConnector:
    """
    Connects to *port* of one upstream, which must show a certificate for *host*.
    """

    def __init__(self, surroundings: TransportSurroundings, context: SSL.Context, host: str, port: int) -> None:
        self._surroundings, self._context = surroundings, context
        self._host, self._port, self._host_is_address = host, port, is_address(host)
        self._session: SSL.Session | None = None

    async def connect(self, address: str, protocol: IProtocol) -> None:
        """
        Connect *protocol* to *address*, and verify who is there.

        Raises:
            UpstreamError: nobody is there, or somebody else; 502.
        """
        sock = await connected(self._surroundings.reactor, address, self._port)
        try:
            await self._shake_hands(sock, protocol)
        except UpstreamError:
            self._session = None  # in case it was the session that wasn't liked
            raise

    def remember(self, transport: ITransport) -> None:
        """
        Keep the session of *transport*: its tickets came before the answer.
        """
        if isinstance(transport, TlsTransport):
            self._session = transport.session() or self._session

    def fault(self, certificate: X509) -> str | None:
        """
        Tell why *certificate* is not this upstream's, or None if it is.
        """
        check = verify_certificate_ip_address if self._host_is_address else verify_certificate_hostname
        try:
            check(certificate.to_cryptography(), self._host)
        except (VerificationError, CertificateError):
            return f"is not for {self._host}"
        return None

    def _shake_hands(self, sock: socket, protocol: IProtocol) -> Deferred[None]:
        connection = TlsConnection(self._context, sock)
        connection.set_connect_state()
        if not self._host_is_address:  # RFC 6066 §3: a server name is never an address
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        if self._session is not None:
            connection.set_session(self._session)
        handshake = _Handshake(self)
        connection.set_app_data(handshake)
        handshake.begin(TlsTransport(self._surroundings, sock, connection, lambda _alpn: protocol, observer=handshake))
        return handshake.done


class _Handshake:
    """
    Watches one handshake and says how it ended.
    """

    __slots__ = ("_connector", "_fault", "_is_over", "_transport", "done")

    def __init__(self, connector: TlsConnector) -> None:
        self.done: Deferred[None] = Deferred(self._give_up)
        self._connector = connector
        self._fault: str | None = None
        self._is_over = False
        self._transport: TlsTransport | None = None

    def begin(self, transport: TlsTransport) -> None:
        """
        Shake hands on *transport*.
        """
        self._transport = transport
        transport.start()

    def verify(self, certificate: X509, error_number: int, depth: int, chain_is_good: bool) -> bool:
        """
        Tell whether *certificate* will do, *depth* above the upstream's own; OpenSSL's judgement of it is there.
        """
        if not chain_is_good:
            self._fault = _FAULTS.get(error_number, f"does not verify (OpenSSL's error {error_number})")
        elif depth == 0:
            self._fault = self._connector.fault(certificate)
        return self._fault is None

    def handshake_completed(self, transport: TlsTransport) -> None:
        """
        Say so.
        """
        self._settle(None)

    def handshake_failed(self, transport: TlsTransport) -> None:
        """
        Wait for `transport_ended`, which knows why.
        """

    def transport_ended(self, transport: TlsTransport) -> None:
        """
        Say why there is no connection, unless there was one.
        """
        if self._fault is not None:
            self._settle(f"its certificate {self._fault}")
        elif transport.why is not None:
            self._settle(_cause(transport.why))

    def _settle(self, cause: str | None) -> None:
        self._transport = None
        if self._is_over:
            return
        self._is_over = True
        if cause is None:
            self.done.callback(None)
        else:
            self.done.errback(UpstreamError(502, cause))

    def _give_up(self, _: Deferred[None]) -> None:
        self._is_over = True
        if self._transport is not None:
            self._transport.abortConnection()


def _verify(connection: SSL.Connection, certificate: X509, error_number: int, depth: int, ok: int) -> bool:
    """
    Ask the connection's handshake; a context, which others share, can have but one callback.
    """
    handshake: _Handshake = connection.get_app_data()
    return handshake.verify(certificate, error_number, depth, bool(ok))


def _cause(why: Failure) -> str:
    """
    Say in the log's words why a handshake came to nothing.
    """
    if why in (DONE, TRUNCATED):
        return "it closed the connection in the TLS handshake"
    if why.check(ConnectionAborted):
        return "the TLS handshake did not end in time"
    return f"the TLS handshake failed ({', '.join(map(str, why.value.args) if why.value else ())})"


def _nothing() -> None:
    pass
