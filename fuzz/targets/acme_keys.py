"""
Keys for ACME, from the store and from an operator's file: read, or refused without a word of them; they can sign.
"""

from __future__ import annotations

import json
from typing import Final

from fuzz.targets.pem import KEY
from sptls.acme.jws import Account, AccountKey, CertificateKey, ExternalAccount, external_account_binding, sign
from sptls.certs.csr import key_der
from sptls.certs.pem import key_from_pem
from sptls.errors import BadCertificate

_DER: Final = key_der(key_from_pem(KEY))
_URL: Final = "https://ca.example/new-account"
_OURS: Final = AccountKey.from_der(_DER)

SEEDS: Final = (
    _DER,
    # P-256's object identifier, changed to one that nobody knows.
    _DER.replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f"),
    b"zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
    b" AAEC_-8= \n",
    b"a",
    b"",
)


def check(data: bytes) -> None:
    """
    See that every reader takes *data* or refuses it as documented.
    """
    try:
        key = AccountKey.from_der(data)
    except BadCertificate as error:
        assert str(error).startswith("the account key ")
    else:
        assert key.thumbprint() == AccountKey.from_der(key.to_der()).thumbprint()
        _check_signed(sign(Account(key), url=_URL, nonce="n", payload=b"{}"))
    try:
        signer = CertificateKey.from_der(data)
    except BadCertificate as error:
        assert str(error)
    else:
        _check_signed(sign(signer, url=_URL, nonce="n", payload=b"{}"))
    text = data.decode("latin-1")
    try:
        account = ExternalAccount.parse("kid", text)
    except ValueError as error:
        assert str(error) == "not a key in base64url"
    else:
        assert account.hmac_key
        _check_signed(json.dumps(external_account_binding(account, _OURS, _URL)).encode())


def _check_signed(body: bytes) -> None:
    assert {"protected", "payload", "signature"} == json.loads(body).keys()
