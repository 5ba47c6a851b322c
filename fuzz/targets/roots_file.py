"""
The operator's file of roots: certificates to trust besides the system's, or a sentence.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from fuzz.targets.pem import CERTIFICATE
from sptls.errors import StartError
from sptls.tls.contexts import client_trust, trust_in

_DER: Final = load_pem_x509_certificate(CERTIFICATE).public_bytes(Encoding.DER)


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode("ascii")


SEEDS: Final = (
    CERTIFICATE + CERTIFICATE,
    # X.509 of a version that there is not.
    _pem(_DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")),
    _pem(_DER[:-1]),
    b"# no roots yet\n",
)


def check(data: bytes) -> None:
    """
    See that a file of any content is read or refused.
    """
    with TemporaryDirectory() as root:
        path = Path(root) / "roots.pem"
        path.write_bytes(data)
        try:
            client_trust(path)
        except StartError as error:
            assert str(error).startswith(f"the file of extra roots {path} ")
    with suppress(ValueError):
        trust_in([data])
