"""
What renewal information needs (RFC 9773): a certificate's identifier, how soon to ask again, which windows make sense.

Decides none of the moments of a renewal: that is `certs.schedule`'s, which gets the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from josepy.json_util import encode_b64jose

from sptls.certs.pem import UNREADABLE

if TYPE_CHECKING:
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import RenewalInfo

# Twice a day, as Let's Encrypt's integration guide wants it, where the CA does not say.
USUAL_SECONDS = 12 * 3600.0
# RFC 9773 §4.3.2: limits to what a Retry-After may ask for, a minute and a day.
SHORTEST_SECONDS = 60.0
LONGEST_SECONDS = 86400.0


def certificate_identifier(certificate: bytes) -> str:
    """
    Give how renewal information calls *certificate*, DER (§4.1); "" for one that can't be named, or read.
    """
    try:
        read = x509.load_der_x509_certificate(certificate)
        authority = read.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        serial_number = read.serial_number
    except (*UNREADABLE, x509.ExtensionNotFound):
        return ""
    if authority.key_identifier is None or serial_number < 0:
        return ""
    # The content of a DER INTEGER (X.690 §8.3): a zero byte first where the top bit would be a sign.
    serial = serial_number.to_bytes(serial_number.bit_length() // 8 + 1, "big")
    return f"{encode_b64jose(authority.key_identifier)}.{encode_b64jose(serial)}"


def ask_again_seconds(retry_after_seconds: float | None) -> float:
    """
    Give after how long it is worth asking again, when the CA said *retry_after_seconds* or nothing (§4.3).
    """
    if retry_after_seconds is None:
        return USUAL_SECONDS
    return min(max(retry_after_seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


def within_validity(info: RenewalInfo, bundle: CertificateBundle) -> RenewalInfo | None:
    """
    Give *info* with a window that ends no later than *bundle* does; None where all of it is later: that is a mistake.
    """
    if info.start >= bundle.not_after:
        return None
    return attrs.evolve(info, end=min(info.end, bundle.not_after))
