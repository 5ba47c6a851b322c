"""
Keys for certificates, and certificate signing requests for them (RFC 2986).

Decides what each key type of the configuration means, and what a CA is asked to put into a certificate: the names as
subjectAltName and nothing else. The subject is empty, since CAs ignore or refuse what it says, and a common name holds
no more than 64 characters. Making keys and signing need randomness; all else here is a function of its arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sptls.config import KeyType
    from sptls.names import HostName

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVES: Final = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1}
_RSA_BITS: Final = {"rsa-2048": 2048, "rsa-4096": 4096}
# Any other exponent is slower or suspect (NIST SP 800-56B §6.2); cryptography takes no other but 3.
_RSA_EXPONENT: Final = 65537


def generate_key(key_type: KeyType) -> PrivateKey:
    """
    Make a new private key; 20 µs for EC, but up to some seconds for RSA, so not in the reactor's thread.
    """
    curve = _CURVES.get(key_type)
    if curve is not None:
        return ec.generate_private_key(curve())
    return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS[key_type])


def key_der(key: PrivateKey) -> bytes:
    """
    Give *key* as PKCS#8 DER, not encrypted: a secret.
    """
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """
    Give the hash that *key* signs with: as strong as the key is (RFC 5480 §4), SHA-256 for RSA.
    """
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    return hashes.SHA384() if strong else hashes.SHA256()


def subject_alternative_name(names: Iterable[HostName]) -> x509.SubjectAlternativeName:
    """
    Give the extension that names *names* (RFC 5280 §4.2.1.6), in their order.
    """
    return x509.SubjectAlternativeName([x509.DNSName(name.text) for name in names])


def csr(key: PrivateKey, names: Iterable[HostName]) -> bytes:
    """
    Give the signing request for *key* and *names* as DER, as finalizing an order takes it (RFC 8555 §7.4).
    """
    # Not critical, as certbot, lego and Go's library send it: CAs take over the names, not the extension.
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        subject_alternative_name(names), critical=False
    )
    return builder.sign(key, signature_hash(key)).public_bytes(Encoding.DER)
