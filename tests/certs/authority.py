"""
Certificates for the tests of `sptls.certs`: roots, intermediates and end-entity ones, with every field settable.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


def pem(*certificates: x509.Certificate) -> bytes:
    """
    Give the certificates as PEM blocks, in order.
    """
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def der(*certificates: x509.Certificate) -> tuple[bytes, ...]:
    """
    Give the certificates as DER, in order.
    """
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


@attrs.frozen
class Entity:
    """
    A certificate with its key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def key_pem(self) -> bytes:
        """
        Give the key as PKCS#8 PEM.
        """
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def key_der(self) -> bytes:
        """
        Give the key as PKCS#8 DER.
        """
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def entity(
    common_name: str,
    names: Iterable[str | x509.GeneralName] = (),
    issuer: Entity | None = None,
    *,
    not_before: datetime = NOW - timedelta(days=10),
    not_after: datetime = NOW + timedelta(days=80),
    key: ec.EllipticCurvePrivateKey | None = None,
    serial: int | None = None,
) -> Entity:
    """
    Make a certificate, signed by *issuer* or, without one, by itself.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    general_names = [x509.DNSName(name) if isinstance(name, str) else name for name in names]
    if general_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(general_names), critical=False)
    return Entity(builder.sign((issuer.key if issuer else key), hashes.SHA256()), key)


@lru_cache
def root() -> Entity:
    """
    Give the root that all tests share.
    """
    return entity("Test Root")


@lru_cache
def intermediate() -> Entity:
    """
    Give the intermediate that all tests share.
    """
    return entity("Test Intermediate", issuer=root())


@lru_cache
def click() -> Entity:
    """
    Give the end-entity certificate for click.example.com that all tests share.
    """
    return entity("irrelevant", ["click.example.com"], intermediate())
