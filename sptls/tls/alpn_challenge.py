"""
tls-alpn-01: the certificates that prove to a CA that a name is ours (RFC 8737).

Keeps the open challenges, each as a context ready to serve, and gives the listener the one for a server name. Does
not decide which client gets it: the listener asks for a hello that offers acme-tls/1, before any other look-up.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.internet.defer import succeed
from txacme.interfaces import IResponder
from zope.interface import implementer

from sptls.certs.bundle import CertificateBundle
from sptls.certs.csr import generate_key, key_der, signature_hash, subject_alternative_name
from sptls.certs.reach_rules import is_of_probe
from sptls.clock import wall_time
from sptls.interfaces import IAlpnChallenges
from sptls.names import HostName, fold
from sptls.tls.contexts import server_context

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from sptls.clock import WallClock
    from sptls.tls.contexts import ServerContext

ACME_TLS_1: Final = b"acme-tls/1"
ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
# Nobody checks it (RFC 8737 §3); a validator's clock may be a day off all the same.
_VALIDITY: Final = timedelta(days=7)
_OCTET_STRING_HEADER: Final = b"\x04\x20"  # DER, 32 bytes


class Response(Protocol):
    """
    The response to a challenge, as txacme's responders take it.
    """

    @property
    def key_authorization(self) -> str:
        """
        The token and the account key's thumbprint (RFC 8555 §8.1).
        """


@implementer(IResponder, IAlpnChallenges)
class TlsAlpn01Responder:
    """
    Answers tls-alpn-01 challenges on the sockets that serve traffic; one key for all of their certificates.
    """

    challenge_type = "tls-alpn-01"

    def __init__(self, now: WallClock = wall_time) -> None:
        self._now = now
        self._key = generate_key("ec-p256")
        # Two orders may be open for one name (an operator's and the renewer's): the latest is answered, and the
        # other again when that is over.
        self._open: dict[bytes, list[tuple[str, ServerContext]]] = {}

    def start_responding(self, server_name: str, challenge: object, response: Response) -> Deferred[None]:
        """
        Answer the challenge from now on; the Deferred has fired. Costs about a millisecond.

        Raises:
            InvalidHostName: *server_name* is no host name.
        """
        name, key_authorization = HostName.parse(server_name), response.key_authorization
        bundle = CertificateBundle.from_der(key_der(self._key), (self._certificate(name, key_authorization),))
        context = server_context(bundle, "intermediate", (ACME_TLS_1,))
        answers = self._open.setdefault(name.wire, [])
        # A self-check that runs while a CA validates must not answer in a challenge's place.
        answers.insert(0 if is_of_probe(key_authorization) else len(answers), (key_authorization, context))
        return succeed(None)

    def stop_responding(self, server_name: str, challenge: object, response: Response) -> Deferred[None]:
        """
        Answer this challenge no more, nor care if it was not answered; the Deferred has fired.
        """
        wire = HostName.parse(server_name).wire
        left = [answer for answer in self._open.pop(wire, ()) if answer[0] != response.key_authorization]
        if left:
            self._open[wire] = left
        return succeed(None)

    def alpn_context(self, server_name: bytes | None) -> ServerContext | None:
        """
        Give the context that answers the open challenge for *server_name*, or None when none is open.
        """
        answers = None if server_name is None else self._open.get(fold(server_name))
        return answers[-1][1] if answers else None

    def _certificate(self, name: HostName, key_authorization: str) -> bytes:
        """
        Make the self-signed certificate of RFC 8737 §3, as DER.
        """
        digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tls-alpn-01 challenge")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(issuer)
            .issuer_name(issuer)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - _VALIDITY)
            .not_valid_after(self._now() + _VALIDITY)
            .add_extension(subject_alternative_name([name]), critical=False)
            .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, _OCTET_STRING_HEADER + digest), critical=True)
        )
        return certificate.sign(self._key, signature_hash(self._key)).public_bytes(Encoding.DER)
