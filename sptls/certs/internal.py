"""
The internal CA: certificates from a root of our own, for development and demos, behind the same seam as ACME.

The root is made once and kept in the state directory: its key for us alone, its certificate for ``curl --cacert`` and
for browsers. Nothing is validated and nothing can be revoked; no public client trusts it. Decides what stands in the
certificates (RFC 5280 §4.2), not who gets one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from sptls.certs.bundle import CertificateBundle, check
from sptls.certs.csr import PrivateKey, generate_key, key_der, signature_hash, subject_alternative_name
from sptls.certs.pem import certificate_from_der, chain_from_pem, key_from_pem
from sptls.config import INTERNAL_DIRECTORY
from sptls.errors import BadCertificate, IssuanceFailed, NotRevocable, StartError
from sptls.files import make_private_directory, write_private, write_public
from sptls.interfaces import IIssuer, Issued

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.threadpool import ThreadPool

    from sptls.certs.records import RenewalInfo
    from sptls.clock import WallClock
    from sptls.config import KeyType
    from sptls.names import HostName

KEY_FILE: Final = "internal-ca.key.pem"
CERTIFICATE_FILE: Final = "internal-ca.pem"
# A root that is trusted by hand should not have to be trusted again soon.
ROOT_VALIDITY: Final = timedelta(days=3650)
# Clients' clocks may be behind, or ours was ahead when the root was made.
ROOT_BACKDATING: Final = timedelta(days=1)
# What the public CAs give, so that renewal is as it will be.
VALIDITY: Final = timedelta(days=90)


@attrs.frozen
class Root:
    """
    A CA's own certificate and key; it signs end-entity certificates and no other CA's.
    """

    certificate: x509.Certificate
    key: PrivateKey = attrs.field(repr=False)

    @classmethod
    def create(cls, key: PrivateKey, now: datetime) -> Root:
        """
        Make the self-signed certificate of a root with *key*; its subject tells it from other roots.
        """
        key_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sptls"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"sptls internal CA {key_identifier.digest.hex()[:8]}"),
            ]
        )
        builder = (
            _builder(subject, subject, now - ROOT_BACKDATING, now + ROOT_VALIDITY)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(key_identifier, critical=False)
        )
        return cls(builder.sign(key, signature_hash(key)), key)

    def issue(
        self, name: HostName, key: PrivateKey, now: datetime, validity: timedelta = VALIDITY
    ) -> CertificateBundle:
        """
        Make a server certificate for *name* and *key*, valid from *now* on, to the second; never longer than the root.

        The chain is that certificate alone: a client either has the root, or a copy of it changes nothing.

        Raises:
            BadCertificate: the root has expired.
        """
        not_before, expires = now.replace(microsecond=0), self.certificate.not_valid_after_utc
        if now >= expires:
            raise BadCertificate(f"the internal CA's root expired at {expires:%Y-%m-%d %H:%M} UTC")
        issuer_key = self.key.public_key()
        builder = (
            _builder(x509.Name([]), self.certificate.subject, not_before, min(not_before + validity, expires))
            .public_key(key.public_key())
            # Critical because the subject is empty (RFC 5280 §4.2.1.6).
            .add_extension(subject_alternative_name([name]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                _key_usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPrivateKey)), critical=True
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )
        certificate = builder.sign(self.key, signature_hash(self.key))
        return CertificateBundle.from_der(key_der(key), [certificate.public_bytes(Encoding.DER)])

    @property
    def pem(self) -> bytes:
        """
        Give the root's certificate, for clients to trust.
        """
        return self.certificate.public_bytes(Encoding.PEM)


def open_root(directory: Path, now: datetime) -> Root:
    """
    Read the root kept in *directory*, or make one and keep it there; a lost certificate is made again from the key.

    Raises:
        StartError: the files can't be read, written or used; says which and what to do.
    """
    key_path, certificate_path = directory / KEY_FILE, directory / CERTIFICATE_FILE
    try:
        make_private_directory(directory)
        return _read_or_make(key_path, certificate_path, now)
    except (OSError, BadCertificate) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise StartError(
            f"the internal CA's root ({key_path} and {certificate_path}) can't be used: {reason}; "
            "move both files away to have a new one made, which clients have to be told to trust again"
        ) from None


def _read_or_make(key_path: Path, certificate_path: Path, now: datetime) -> Root:
    # A key that is lost can't be made again: with the certificate alone, reading the key is what fails.
    if not key_path.exists() and not certificate_path.exists():
        write_private(key_path, _pem(generate_key("ec-p256")))
    key = key_from_pem(key_path.read_bytes())
    if not certificate_path.exists():
        write_public(certificate_path, Root.create(key, now).pem)
    root = Root(certificate_from_der(chain_from_pem(certificate_path.read_bytes())[0]), key)
    if root.certificate.public_key() != key.public_key():
        raise BadCertificate("the key does not belong to the certificate")
    return root


@implementer(IIssuer)
class InternalCa:
    """
    Issues certificates for any name from *root*, each with a new key made in *threads*.
    """

    directory = INTERNAL_DIRECTORY

    def __init__(
        self,
        root: Root,
        *,
        reactor: IReactorFromThreads,
        wall_clock: WallClock,
        threads: ThreadPool,
        key_type: KeyType = "ec-p256",
        validity: timedelta = VALIDITY,
    ) -> None:
        self._root, self._reactor, self._threads = root, reactor, threads
        self._wall_clock, self._key_type, self._validity = wall_clock, key_type, validity

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Make a checked certificate for *name*, as `IIssuer` says; costs nothing but the time to make a key.
        """
        key: PrivateKey = await deferToThreadPool(self._reactor, self._threads, generate_key, self._key_type)
        now = self._wall_clock()
        try:
            bundle = self._root.issue(name, key, now, self._validity)
            check(bundle, name, now)
        except BadCertificate as cause:
            raise IssuanceFailed(cause) from cause
        return Issued(bundle)

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Give None: this CA has no wishes.
        """
        return None

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Refuse, since nobody would hear of it.

        Raises:
            NotRevocable: always.
        """
        raise NotRevocable(
            "the internal CA can't revoke, it keeps no list that clients ask for; to get rid of a key, remove its root "
            "from the clients"
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """
    Give the extension with these uses and no other (RFC 5280 §4.2.1.3).
    """
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
