"""
Certificates that a CA gave, as ACME asks about them: a name for it, or none; a root, or another one.
"""

from __future__ import annotations

import re
import ssl
import warnings
from typing import Final

from fuzz.targets.pem import CERTIFICATE
from sptls.acme.renewal import certificate_identifier
from sptls.acme.steps import has_root

_DER: Final = ssl.PEM_cert_to_DER_cert(CERTIFICATE.decode())
# RFC 9773 §4.1.
_IDENTIFIER: Final = re.compile(r"(?:[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+)?")

SEEDS: Final = (
    _DER,
    # X.509 of a version that there is not.
    _DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
    # A negative serial number.
    _DER.replace(b"\x02\x14\x3f", b"\x02\x14\xbf"),
    # A CA that is told by an X.400 address.
    _DER.replace(b"\x55\x1d\x23\x04\x18\x30\x16\x80", b"\x55\x1d\x23\x04\x18\x30\x16\xa1"),
    # An issuer whose name is no UTF-8.
    _DER.replace(b"\x0c\x09a.example", b"\x0c\x09\xff.example"),
    b"",
)


def check(data: bytes) -> None:
    """
    See that any bytes have an identifier or none, and that no chain of them breaks the choice among several.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Parsed a serial number", UserWarning)
        assert _IDENTIFIER.fullmatch(certificate_identifier(data))
        has_root(data, "a.example")
        has_root(CERTIFICATE + ssl.DER_cert_to_PEM_cert(data).encode(), "a.example")
