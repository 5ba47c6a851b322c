"""
Private keys and certificates out of PEM (RFC 7468) and DER: which ones can be read, and which of those can be used.

Decides the limits of what is read, and which kinds of key serve TLS clients at large. What belongs together, and in
which order, is `bundle`'s. Any bytes give a value or `BadCertificate`; no message holds a part of a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, load_pem_private_key

from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from sptls.certs.csr import PrivateKey

# A chain is two or three certificates of 1-2 KB; twenty times that is no chain but a mistake.
MAX_PEM_BYTES: Final = 131072
# Three are usual; x/crypto's ACME client stops at five. Every pair of them may have to be compared.
MAX_CHAIN_LENGTH: Final = 10
# OpenSSL refuses smaller ones at its default security level, and so do the public CAs.
MIN_RSA_BITS: Final = 2048
# secp256k1 and the like load everywhere and are negotiated nowhere.
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")

_BEGIN: Final = b"-----BEGIN "
_DASHES: Final = b"-----"
_CERTIFICATE_LABELS: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
# All that cryptography raises on bytes that are not what they should be.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    KeyError,  # before 50: a name with text of no known kind
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def chain_from_pem(chain_pem: bytes) -> tuple[bytes, ...]:
    """
    Give the certificates in *chain_pem* as DER, in the order of the text, each once; other blocks are skipped.

    Raises:
        BadCertificate: there is none, there are too many, or one can't be read.
    """
    blocks = [block for label, block in _pem_blocks(chain_pem) if label in _CERTIFICATE_LABELS]
    if not blocks:
        raise BadCertificate("there is no certificate in it (no PEM block -----BEGIN CERTIFICATE-----)")
    try:
        found = dict.fromkeys(x509.load_pem_x509_certificate(block).public_bytes(Encoding.DER) for block in blocks)
    except UNREADABLE as error:
        raise BadCertificate(f"a certificate can't be read: {error}") from None
    if len(found) > MAX_CHAIN_LENGTH:
        raise BadCertificate(f"{len(found)} certificates are no chain (at most {MAX_CHAIN_LENGTH})")
    return tuple(found)


def key_from_pem(pem: bytes) -> PrivateKey:
    """
    Give the one private key in *pem*; other blocks are skipped.

    Raises:
        BadCertificate: there is none or more than one, it is encrypted, or no key that can be used.
    """
    blocks = [block for label, block in _pem_blocks(pem) if label.endswith(b"PRIVATE KEY")]
    if len(blocks) != 1:
        raise BadCertificate(f"there are {len(blocks)} private keys in it, instead of one")
    # RFC 5958 says it in the label, RFC 1421 §4.6.1.1 in a header.
    if b"ENCRYPTED" in blocks[0]:
        raise BadCertificate(
            "the private key is encrypted; take the passphrase off with: openssl pkey -in KEY -out NEW"
        )
    try:
        return _usable(load_pem_private_key(blocks[0], None))
    except UNREADABLE:
        raise BadCertificate("the private key can't be read") from None


def key_from_der(der: bytes) -> PrivateKey:
    """
    Give the private key in *der*: PKCS#8, SEC1 (EC) or PKCS#1 (RSA), not encrypted.

    Raises:
        BadCertificate: it is none of them, or no key that can be used.
    """
    try:
        return _usable(load_der_private_key(der, None))
    except UNREADABLE:
        # What cryptography says of a key is long, and none of it helps; nor must any of the key get out.
        raise BadCertificate("the private key can't be read") from None


def _usable(key: PrivateKeyTypes) -> PrivateKey:
    """
    Give *key* if TLS clients at large can use it, or say why not.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < MIN_RSA_BITS:
            raise BadCertificate(f"an RSA key of {key.key_size} bits is too short (at least {MIN_RSA_BITS})")
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in CURVES:
            raise BadCertificate(
                f"an EC key on {key.curve.name} serves no TLS client (any of {', '.join(CURVES)} does)"
            )
        return key
    raise BadCertificate("the private key is neither RSA nor EC, which is what mail clients can use")


def certificate_from_der(der: bytes) -> x509.Certificate:
    """
    Give the certificate in *der*, with every field that is used here read once, so that none fails later.

    Raises:
        BadCertificate: it is no certificate.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.extensions
        _ = certificate.issuer.rfc4514_string(), certificate.subject
    except UNREADABLE as error:
        raise BadCertificate(f"a certificate can't be read: {error}") from None
    return certificate


def _pem_blocks(pem: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Find the PEM blocks (RFC 7468) in *pem*: the label and the whole block of each, in one pass.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise BadCertificate(f"{len(pem)} bytes are no key and no chain (at most {MAX_PEM_BYTES})")
    begin = pem.find(_BEGIN)
    while begin >= 0:
        label = pem[begin + len(_BEGIN) : pem.find(_DASHES, begin + len(_BEGIN))]
        last_line = b"-----END " + label + _DASHES
        following = pem.find(_BEGIN, begin + 1)
        end = pem.find(last_line, begin, following if following >= 0 else None)
        if end < 0:
            raise BadCertificate("a PEM block in it is cut off")
        yield label, pem[begin : end + len(last_line)]
        begin = following
