"""
Certificates that a CA must not give: made on the way, by a CA of the tests' own, for our key or another.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from tests.acme_front.front import Front

DAY = timedelta(days=1)


@lru_cache
def _authority_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(
    names: Iterable[str], key: CertificatePublicKeyTypes, not_before: datetime, not_after: datetime
) -> bytes:
    """
    Make an end-entity certificate, PEM.
    """
    extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(_name("Forger"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(extension, critical=True)
    )
    return builder.sign(_authority_key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def authority(now: datetime) -> bytes:
    """
    Give the certificate that those made here were issued by, PEM.
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("Forger"))
        .issuer_name(_name("Root of all evil"))
        .public_key(_authority_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * DAY)
        .not_valid_after(now + 400 * DAY)
    )
    return builder.sign(_authority_key(), hashes.SHA256()).public_bytes(Encoding.PEM)


def handed_in_key(front: Front) -> CertificatePublicKeyTypes:
    """
    Give the key of the last signing request that came.
    """
    return front.last("finalize").csr().public_key()


def other_key() -> CertificatePublicKeyTypes:
    """
    Give somebody else's key.
    """
    return ec.generate_private_key(ec.SECP256R1()).public_key()
