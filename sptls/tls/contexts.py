"""
Certificates to OpenSSL contexts: the one place that knows versions, cipher suites and options.

Decides what each `tls.policy` offers and how much of OpenSSL's state is kept. A context is built whole and never
changed: a new certificate, or a day for its ticket keys, means a new context, and connections on the old one keep
it. Which certificate a client gets is `served`'s to say. Making one costs about 0.7 ms and 28 KB, so they are made
when first needed and a bounded number of them is kept.

RFC 8446 and RFC 5246 (TLS), RFC 9325 (which of it to use), RFC 7301 (ALPN), RFC 6125 §6.4 (names).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet._sslverify import IOpenSSLTrustRoot  # Twisted exports it nowhere else
from zope.interface import implementer

from sptls.certs.pem import UNREADABLE, certificate_from_der, key_from_der
from sptls.errors import BadCertificate, StartError
from sptls.names import NameTable
from sptls.tls import openssl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from OpenSSL.crypto import X509

    from sptls.certs.bundle import CertificateBundle
    from sptls.config import TlsPolicy
    from sptls.names import HostName

# 28 MB of contexts. A name that is asked for so rarely that it fell out pays 0.7 ms more.
CONTEXTS_KEPT: Final = 1000
# pyOpenSSL has no call for ticket keys: OpenSSL draws them with the context, so its age is theirs (RFC 5077 §5.5).
TICKET_KEYS_SECONDS: Final = 86400.0

# The last of these: what cryptography reads, and OpenSSL does not.
_UNREADABLE: Final = (*UNREADABLE, crypto.Error)

HTTP_1_1: Final = b"http/1.1"
HTTP_2: Final = b"h2"  # RFC 9113 §3.1

# AES-128-GCM first: nobody breaks it, and SHA-384 costs 5 % more a handshake (measured). ChaCha20 before AES-256:
# who gets that far has no AES hardware.
_AEAD: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
# What mail clients on Windows 7 and 8 and macOS before 10.11 have in TLS 1.2: still forward secret.
_CBC: Final = (
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
)
_TLS_1_3_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
_MIN_VERSION: Final[dict[TlsPolicy, int]] = {
    "modern": SSL.TLS1_3_VERSION,
    "intermediate": SSL.TLS1_2_VERSION,
    "compatible": SSL.TLS1_2_VERSION,
}
_TLS_1_2_SUITES: Final[dict[TlsPolicy, bytes]] = {
    "modern": ":".join(_AEAD).encode(),
    "intermediate": ":".join(_AEAD).encode(),
    "compatible": ":".join(_AEAD + _CBC).encode(),
}
# A peer that ends its side of TCP without close_notify counts as one that said it, as in nginx: scripts and old mail
# gateways half-close so and read on. Nothing is cut off unnoticed: HTTP's own framing says where a request ends.
_OPTIONS: Final = (
    SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_IGNORE_UNEXPECTED_EOF
)

# SSL_MODE_NO_AUTO_CHAIN, which pyOpenSSL does not name: else OpenSSL looks in the (empty) store for the issuer of a
# certificate that came without a chain, in every handshake.
_MODE_NO_AUTO_CHAIN: Final = 0x8
# Released buffers: 23 KB an idle connection instead of 48. Partial and moving writes are pyOpenSSL's default.
_MODES: Final = SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN


@attrs.frozen
class ServerContext:
    """
    What a handshake needs: the OpenSSL *context*, and for which names its certificate stands.
    """

    context: SSL.Context
    _names: NameTable[HostName] = attrs.field(repr=False)

    def covers(self, host: bytes) -> bool:
        """
        Tell whether the certificate stands for *host*, any case, trailing dot or not (RFC 6125 §6.4).
        """
        return self._names.get(host) is not None


def server_context(
    bundle: CertificateBundle, policy: TlsPolicy, alpn: tuple[bytes, ...] = (HTTP_2, HTTP_1_1)
) -> ServerContext:
    """
    Build the context that serves *bundle* and takes the first of *alpn* that a client offers.

    The groups are X25519MLKEM768 where OpenSSL has it (3.5), X25519, P-256 and P-384.

    Raises:
        BadCertificate: the key or a certificate can't be read, or the key is of another certificate.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_MIN_VERSION[policy])
    context.set_cipher_list(_TLS_1_2_SUITES[policy])
    context.set_tls13_ciphersuites(_TLS_1_3_SUITES)
    context.set_options(_OPTIONS)
    context.set_mode(_MODES)
    # Sessions resume by ticket. OpenSSL's own cache would keep up to 20,480 sessions a context, for the few clients
    # of TLS 1.2 that have no tickets.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"sptls")  # without one, OpenSSL refuses to resume where client certificates are asked for
    # RFC 7301 §3.2 and nginx answer no overlap with the alert no_application_protocol. Here that would lose a click: a
    # client that offers http/1.0 only, or a name that we don't know, speaks HTTP/1.1 all the same.
    openssl.prefer(context, alpn)
    openssl.limit_groups(context)
    _use_certificate(context, bundle)
    return ServerContext(context, NameTable((name, name) for name in bundle.names))


def client_context(
    trust: IOpenSSLTrustRoot, verify: Callable[[SSL.Connection, X509, int, int, int], bool]
) -> SSL.Context:
    """
    Build the context for connections of ours to servers whose chain leads to *trust*.

    *verify* is asked about each certificate, with OpenSSL's error, the depth and OpenSSL's own answer. TLS 1.2 suites
    and groups are OpenSSL's default, as in nginx: an upstream that is old is an operator's choice. A stream that ends
    without close_notify is an error here: an answer may end with its connection.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_tls13_ciphersuites(_TLS_1_3_SUITES)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # sessions are kept beside it
    context.set_verify(SSL.VERIFY_PEER, verify)
    trust._addCACertsToContext(context)  # noqa: SLF001 - all that an IOpenSSLTrustRoot has
    return context


def stranger_context(protocols: tuple[bytes, ...]) -> SSL.Context:
    """
    Build the context for asking who is at an address: nothing is verified, *protocols* (ALPN) are offered.

    For `reaching` alone, which compares the certificate itself; no byte of a request may go over such a connection.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)  # RFC 8737 §3
    context.set_alpn_protos(list(protocols))
    return context


def _use_certificate(context: SSL.Context, bundle: CertificateBundle) -> None:
    if not bundle.chain:
        raise BadCertificate("the chain is empty")
    first, *issuers = [certificate_from_der(der) for der in bundle.chain]
    try:
        context.use_certificate(first)
        context.use_privatekey(key_from_der(bundle.key))
        for issuer in issuers:
            context.add_extra_chain_cert(issuer)
    except (SSL.Error, crypto.Error) as error:
        # An entry of OpenSSL's error queue is the library, the function and the reason.
        reasons = ", ".join(reason for *_, reason in error.args[0])
        raise BadCertificate(f"OpenSSL can't use it: {reasons}") from error


@attrs.frozen
class _Kept:
    """
    A context in the cache, what it was made of, and until when (monotonic seconds) its ticket keys are good.
    """

    context: ServerContext
    bundle: CertificateBundle
    good_until: float


class ContextCache:
    """
    The contexts in use: the *capacity* asked for last, each a day at most.

    *seconds* is monotonic time, the reactor's.
    """

    def __init__(
        self,
        policy: TlsPolicy,
        capacity: int,
        seconds: Callable[[], float],
        max_age_seconds: float = TICKET_KEYS_SECONDS,
    ) -> None:
        self._policy, self._capacity = policy, capacity
        self._seconds, self._max_age_seconds = seconds, max_age_seconds
        # By the name's text: a str keeps its hash, a HostName computes it each time.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, key: HostName, bundle: CertificateBundle) -> ServerContext:
        """
        Give the context for *bundle*, a new one where *key*'s is of another bundle object or a day old.

        Raises:
            BadCertificate: a new one can't be made; nothing is kept for *key* then.
        """
        text, kept = key.text, self._kept.get(key.text)
        if kept is not None and kept.bundle is bundle and self._seconds() < kept.good_until:
            self._kept.move_to_end(text)
            return kept.context
        self._kept.pop(text, None)
        context = server_context(bundle, self._policy)
        self._kept[text] = _Kept(context, bundle, self._seconds() + self._max_age_seconds)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return context

    def set_policy(self, policy: TlsPolicy) -> None:
        """
        Make contexts by *policy* from now on; connections on the old ones go on.
        """
        if policy != self._policy:
            self._policy = policy
            self.clear()

    def drop(self, key: HostName) -> None:
        """
        Forget *key*'s context, if there is one; connections on it go on.
        """
        self._kept.pop(key.text, None)

    def clear(self) -> None:
        """
        Forget all contexts.
        """
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


def _contents(certificates: tuple[crypto.X509, ...]) -> tuple[x509.Certificate, ...]:
    return tuple(one.to_cryptography() for one in certificates)


@implementer(IOpenSSLTrustRoot)
@attrs.frozen
class _SystemRootsAnd:
    """
    The system's roots and some more, for a client's context; equal to another one with the same.
    """

    # pyOpenSSL compares certificates by identity.
    _extra: tuple[crypto.X509, ...] = attrs.field(eq=_contents)

    @property
    def extra(self) -> tuple[bytes, ...]:
        """
        Give the certificates beside the system's (DER).
        """
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in self._extra)

    def _addCACertsToContext(self, context: SSL.Context) -> None:  # noqa: N802 - Twisted's name
        context.set_default_verify_paths()
        store = context.get_cert_store()
        if store is not None:  # it never is; pyOpenSSL's type says it may be
            for certificate in self._extra:
                store.add_cert(certificate)


def extra_certificates(trust: object) -> tuple[bytes, ...]:
    """
    Give what *trust*, which came from here, has beside the system's roots (DER).
    """
    return trust.extra if isinstance(trust, _SystemRootsAnd) else ()


def trust_in(extra: Iterable[bytes]) -> IOpenSSLTrustRoot:
    """
    Give what a TLS client of ours trusts: the system's roots and the certificates *extra* (DER).

    Raises:
        ValueError: one can't be read.
    """
    try:
        return _trusting(map(x509.load_der_x509_certificate, extra))
    except _UNREADABLE as error:
        raise ValueError(str(error)) from None


def _trusting(certificates: Iterable[x509.Certificate]) -> IOpenSSLTrustRoot:
    return _SystemRootsAnd(tuple(map(crypto.X509.from_cryptography, certificates)))


def client_trust(extra: Path | None) -> IOpenSSLTrustRoot:
    """
    Give what a TLS client of ours trusts: the system's roots and those in the PEM file *extra*.

    It is a `trustRoot` for Twisted's `optionsForClientTLS`. The file is read once, now.

    Raises:
        StartError: the file can't be read, or holds no certificate.
    """
    if extra is None:
        return _SystemRootsAnd(())
    try:
        return _trusting(x509.load_pem_x509_certificates(extra.read_bytes()))
    except OSError as error:
        raise StartError(f"the file of extra roots {extra} can't be read: {error.strerror}") from error
    except _UNREADABLE as error:
        raise StartError(f"the file of extra roots {extra} holds no PEM certificates that can be read") from error
