"""
Certificates and keys in PEM and DER: read, or refused with a reason; what is read survives being written again.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from sptls.certs.bundle import CertificateBundle, faults
from sptls.certs.pem import certificate_from_der, chain_from_pem, key_from_der, key_from_pem
from sptls.errors import BadCertificate
from sptls.names import HostName

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NAME: Final = HostName("a.example")
# An EC key and a certificate of its own for a.example: made for this, used nowhere.
KEY: Final = b"""\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIMZcINrfok3t5Z/vB4ERUn28gxnx9Trd7wBUZ3LAFdYJoAoGCCqGSM49
AwEHoUQDQgAEpGhyqy9M7L9360yzTH6Huf/NsML09s73XTnszDLKS4edBgUg5ypw
2tdKH8e6Gt93wPk2DoGKAKI8+SeRy8oEEw==
-----END EC PRIVATE KEY-----
"""
CERTIFICATE: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUPxuHgAoeI1ZxBbYn+tTmDT8g0kowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyNDExNDM1N1oYDzIxMjYxMDMx
MTE0MzU3WjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASkaHKrL0zsv3frTLNMfoe5/82wwvT2zvddOezMMspLh50GBSDnKnDa
10ofx7oa33fA+TYOgYoAojz5J5HLygQTo2kwZzAdBgNVHQ4EFgQUk9vl/QkbZGPa
tOBSnv76rUUJhMcwHwYDVR0jBBgwFoAUk9vl/QkbZGPatOBSnv76rUUJhMcwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglhLmV4YW1wbGUwCgYIKoZIzj0EAwID
SQAwRgIhAIquT0CcIAPAaLTz7ejXSUGVFUJ8bGpEftoLo/uOIBtoAiEAzxQFWBRK
u520Ut19gNGmmxSt1dpbkzPfgHP/sgTa4uE=
-----END CERTIFICATE-----
"""

SEEDS: Final = (
    CERTIFICATE + KEY,
    KEY + b"text\n" + CERTIFICATE + CERTIFICATE,
    b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END EC PRIVATE KEY-----\n",
    chain_from_pem(CERTIFICATE)[0],
)


def check(data: bytes) -> None:
    """
    See that every reader takes *data* or refuses it as documented.
    """
    for read in (key_from_der, certificate_from_der, key_from_pem):
        with suppress(BadCertificate):
            read(data)
    try:
        chain = chain_from_pem(data)
    except BadCertificate as error:
        assert str(error)
        chain = (data,)
    for key in (data, KEY):
        with suppress(BadCertificate):
            bundle = CertificateBundle.from_pem(key, data)
            assert bundle == CertificateBundle.from_pem(bundle.key_pem(), bundle.chain_pem())
            faults(bundle, _NAME, _NOW)
    with suppress(BadCertificate):
        faults(CertificateBundle.from_der(KEY, chain), _NAME, _NOW)
