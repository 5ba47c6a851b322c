"""
A certificate with its key and chain: one value, PEM in and out, and every check of one.

Decides what counts as a usable key and certificate, which of several certificates is the end-entity one, in which
order a chain stands (RFC 8446 §4.4.2), whether a name is covered (RFC 6125 §6.4.3), and what is wrong with a bundle.
Decides nothing about when to renew. Names come from the subjectAltName's dNSName entries alone: CAs leave the common
name out of their shorter profiles, and clients ignore it (RFC 9525 §2).
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sptls.certs.csr import key_der
from sptls.certs.pem import UNREADABLE, certificate_from_der, chain_from_pem, key_from_der, key_from_pem
from sptls.errors import BadCertificate, InvalidHostName
from sptls.names import HostName, NameTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from sptls.certs.csr import PrivateKey

# A CA's clock may run ahead of ours, by a day where somebody set ours. The certificate is paid for, clients have the
# right time, and every refusal costs one of five certificates a week.
CLOCK_TOLERANCE: Final = timedelta(hours=25)
KEY_DOES_NOT_FIT: Final = "the private key does not belong to the certificate"
# Enough names to recognise a certificate by in a sentence.
NAMES_IN_A_SENTENCE: Final = 4

# Thousands of bundles have the same intermediates: one copy of their bytes is enough. A pure optimisation, bounded.
_MAX_SHARED: Final = 1024
_shared: dict[bytes, bytes] = {}


def _share(chain: Iterable[bytes]) -> tuple[bytes, ...]:
    """
    Give *chain* with every intermediate replaced by the equal object that was seen first.
    """
    if len(_shared) >= _MAX_SHARED:
        _shared.clear()
    certificates = tuple(chain)
    return certificates[:1] + tuple(_shared.setdefault(der, der) for der in certificates[1:])


@attrs.frozen
class CertificateBundle:
    """
    A certificate that can be served: its *key* (PKCS#8 DER) and *chain* (DER, the end-entity certificate first).

    The other attributes repeat what the end-entity certificate says, so that a store can keep them in columns and
    build a bundle from a row by this constructor, which parses and checks nothing. *not_before* and *not_after* are
    aware, in UTC; *issuer* is an RFC 4514 string; *serial* lower-case hexadecimal with an even number of digits.
    """

    key: bytes = attrs.field(repr=False)
    chain: tuple[bytes, ...] = attrs.field(repr=False, converter=_share)
    names: tuple[HostName, ...]
    not_before: datetime
    not_after: datetime
    issuer: str
    serial: str

    @classmethod
    def from_der(cls, key: bytes, chain: Sequence[bytes]) -> CertificateBundle:
        """
        Read a private key (PKCS#8, SEC1 or PKCS#1) and certificates, the end-entity one first; the order is kept.

        Raises:
            BadCertificate: one of them can't be read or used. Whether they fit each other is for `check` to say.
        """
        return _bundle(key_from_der(key), [certificate_from_der(der) for der in chain])

    @classmethod
    def from_pem(cls, key_pem: bytes, chain_pem: bytes) -> CertificateBundle:
        """
        Read a private key and certificates; text round the PEM blocks is skipped, both may be the same file.

        The end-entity certificate is the one that has the key (the first where none has), then come its issuers in
        order. A certificate that belongs to neither stays, at the end, where `check` finds it.

        Raises:
            BadCertificate: no or several keys, no or too many certificates, or one that can't be read or used.
        """
        key = key_from_pem(key_pem)
        return _bundle(key, _in_order(key, [certificate_from_der(der) for der in chain_from_pem(chain_pem)]))

    def key_pem(self) -> bytes:
        """
        Give the private key as a PKCS#8 PEM block: a secret.
        """
        return key_from_der(self.key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def chain_pem(self) -> bytes:
        """
        Give the chain as PEM blocks, the end-entity certificate first (RFC 8555 §9.1).
        """
        return b"".join(certificate_from_der(der).public_bytes(Encoding.PEM) for der in self.chain)

    def key_fits(self) -> bool:
        """
        Tell whether the private key belongs to the end-entity certificate; no handshake is possible otherwise.
        """
        return _has_key(certificate_from_der(self.chain[0]), key_from_der(self.key))

    def valid_at(self, moment: datetime) -> bool:
        """
        Tell whether *moment* is inside the validity, as far as the attributes tell (RFC 5280 §4.1.2.5).
        """
        return self.not_before - CLOCK_TOLERANCE <= moment <= self.not_after

    def covers(self, name: HostName) -> bool:
        """
        Tell whether a client that asked for *name* takes this certificate for it (RFC 6125 §6.4.3).
        """
        return name in self.names or NameTable((own, own) for own in self.names).get(name.wire) is not None


def check(bundle: CertificateBundle, name: HostName, now: datetime) -> None:
    """
    Make sure that *bundle* can be served for *name* at the moment *now*.

    Raises:
        BadCertificate: it can't; the message has everything that `faults` finds.
    """
    found = faults(bundle, name, now)
    if found:
        raise BadCertificate("; ".join(found))


def faults(bundle: CertificateBundle, name: HostName, now: datetime) -> tuple[str, ...]:
    """
    Give everything that keeps *bundle* from being served for *name* at the moment *now*, a sentence each.

    Reads the key and the certificates themselves, not the attributes that repeat what they say.
    """
    try:
        key, certificates = key_from_der(bundle.key), [certificate_from_der(der) for der in bundle.chain]
        read = _bundle(key, certificates)
    except BadCertificate as error:
        return (error.reason,)
    found = [*_order_faults(certificates), *_validity_faults(certificates, now)]
    if not read.covers(name):
        found.insert(0, f"the certificate is for {_listed(read.names)}, not for {name}")
    if not _has_key(certificates[0], key):
        found.insert(0, KEY_DOES_NOT_FIT)
    return tuple(found)


def _bundle(key: PrivateKey, certificates: Sequence[x509.Certificate]) -> CertificateBundle:
    """
    Give the bundle of what has been read, its attributes from the first certificate.
    """
    if not certificates:
        raise BadCertificate("the chain is empty")
    first = certificates[0]
    serial = f"{first.serial_number:x}"
    return CertificateBundle(
        key=key_der(key),
        chain=tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates),
        names=_names(first),
        not_before=first.not_valid_before_utc,
        not_after=first.not_valid_after_utc,
        issuer=first.issuer.rfc4514_string(),
        serial=serial.zfill(len(serial) + len(serial) % 2),
    )


def _names(certificate: x509.Certificate) -> tuple[HostName, ...]:
    """
    Give the host names, wildcard ones too; what else subjectAltName holds (addresses, service names) is left out.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    found: dict[HostName, None] = {}
    for text in extension.value.get_values_for_type(x509.DNSName):
        try:
            found[HostName.parse(text)] = None
        except InvalidHostName:
            continue
    return tuple(found)


def _in_order(key: PrivateKey, certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """
    Put the certificate that has *key* first, each one's issuer next, and what is left over last.
    """
    left = list(certificates)
    path = [left.pop(next((index for index, one in enumerate(left) if _has_key(one, key)), 0))]
    while (issuer := next((one for one in left if _is_issued_by(path[-1], one)), None)) is not None:
        left.remove(issuer)
        path.append(issuer)
    return path + left


def _has_key(certificate: x509.Certificate, key: PrivateKey) -> bool:
    try:
        public_key = certificate.public_key()
    except UNREADABLE:
        return False
    return _spki(public_key) == _spki(key.public_key())


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    return certificate.issuer == issuer.subject and _is_signed_by(certificate, issuer)


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """
    Tell whether *issuer*'s key made the signature; True where cryptography does not know the algorithm.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (TypeError, UnsupportedAlgorithm):
        return True
    except (InvalidSignature, ValueError):
        return False
    return True


def _order_faults(certificates: Sequence[x509.Certificate]) -> Iterator[str]:
    """
    Say of each certificate but the last when the next one is not its issuer.
    """
    for position, (certificate, issuer) in enumerate(pairwise(certificates), start=1):
        if certificate.issuer != issuer.subject:
            yield f"certificate {position + 1} of the chain is not the issuer of certificate {position}"
        elif not _is_signed_by(certificate, issuer):
            yield f"certificate {position} of the chain was not signed by certificate {position + 1}"


def _validity_faults(certificates: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    """
    Say of each certificate when *now* is outside its validity (RFC 5280 §4.1.2.5).
    """
    for position, certificate in enumerate(certificates, start=1):
        which = "the certificate" if position == 1 else f"certificate {position} of the chain"
        if now > certificate.not_valid_after_utc:
            yield f"{which} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if now + CLOCK_TOLERANCE < certificate.not_valid_before_utc:
            yield f"{which} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"


def _listed(names: Sequence[HostName]) -> str:
    shown = ", ".join(name.text for name in names[:NAMES_IN_A_SENTENCE])
    more = len(names) - NAMES_IN_A_SENTENCE
    return (shown or "no host name at all") + (f" and {more} more" if more > 0 else "")
