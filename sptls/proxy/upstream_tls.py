"""
TLS towards an upstream: the session of a connection that answered makes the next one cheap (RFC 8446 §2.2).

Checks nothing itself: *options* (Twisted's `optionsForClientTLS`) verify chain and name of every full handshake, and a
session is only kept from a connection on which that succeeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol


@implementer(IOpenSSLClientConnectionCreator)
class ResumingTls:
    """
    Makes the client side of TLS connections to one upstream.
    """

    def __init__(self, options: IOpenSSLClientConnectionCreator) -> None:
        self._options = options
        self._session: SSL.Session | None = None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802, N803 - Twisted's
        """
        Give a connection that offers the last session, if there is one; the upstream may decline it.
        """
        connection = self._options.clientConnectionForTLS(tlsProtocol)
        if self._session is not None:
            connection.set_session(self._session)
        return connection

    def remember(self, connection: SSL.Connection) -> None:
        """
        Keep the session of *connection*, which is verified and has had an answer: the tickets came before that.
        """
        session = connection.get_session()
        if session is not None:
            self._session = session

    def forget(self) -> None:
        """
        Begin with a full handshake next time.
        """
        self._session = None


def tls_cause(error: BaseException) -> str | None:
    """
    Tell in plain words what was wrong in TLS, or None when *error* is of another kind.
    """
    if isinstance(error, VerificationError):
        return "its certificate is for another name"
    if isinstance(error, SSL.Error):
        reasons = [str(part[-1]) for part in error.args[0]] if error.args and isinstance(error.args[0], list) else []
        return f"TLS failed ({', '.join(reasons) or 'no reason given'})"
    return None
