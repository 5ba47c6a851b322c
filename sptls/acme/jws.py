"""
Signing for ACME: account keys, signed requests, key authorizations, external account binding.

Decides the shape of our JWS (RFC 8555 §6.2: flattened JSON, protected header only), of the key authorization (§8.1)
and of an external account binding (§7.3.4). Nonces, URLs and payloads come in; the key and its signatures are the only
randomness. josepy does the cryptography and the encodings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, cast

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwa import ES256, ES384, ES512, HS256, RS256
from josepy.jwk import JWKEC, JWKRSA

from sptls.certs.pem import UNREADABLE, key_from_der
from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from josepy.jwa import JWASignature
    from josepy.jwk import JWK

JsonObject = dict[str, object]

# The one algorithm for each curve that `certs.pem` takes keys on (RFC 7518 §3.4).
_OF_CURVES: Final = {"secp256r1": ES256, "secp384r1": ES384, "secp521r1": ES512}


@attrs.frozen
class AccountKey:
    """
    The key that signs for our account: P-256, so that signatures are ES256 (RFC 7518 §3.4), which every CA takes.
    """

    jwk: JWKEC = attrs.field(repr=False)

    @classmethod
    def generate(cls) -> AccountKey:
        """
        Make a new key; takes a tenth of a millisecond.
        """
        return cls(JWKEC(key=ec.generate_private_key(ec.SECP256R1())))

    @classmethod
    def from_der(cls, der: bytes) -> AccountKey:
        """
        Read a key from PKCS#8.

        Raises:
            BadCertificate: it is not a P-256 key.
        """
        try:
            key = load_der_private_key(der, None)
        except UNREADABLE:
            raise BadCertificate("the account key can't be read") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadCertificate("the account key is not on P-256")
        return cls(JWKEC(key=key))

    def to_der(self) -> bytes:
        """
        Give the key in PKCS#8; a secret.
        """
        return cast("bytes", self.jwk.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))

    def public_jwk(self) -> JsonObject:
        """
        Give the public key as a JWK.
        """
        return cast("JsonObject", self.jwk.public_key().to_json())

    def thumbprint(self) -> str:
        """
        Give the key's thumbprint (RFC 7638), base64url.
        """
        return _base64url(self.jwk.public_key().thumbprint())


@attrs.frozen
class Account:
    """
    Who signs: *key*, and the account's *url* at the CA (the JWS's kid), or "" while it has none.
    """

    key: AccountKey
    url: str = ""


@attrs.frozen
class CertificateKey:
    """
    The key of a certificate, which may sign for its revocation (§7.6), and the *algorithm* that it signs with.
    """

    jwk: JWK = attrs.field(repr=False)
    algorithm: JWASignature

    @classmethod
    def from_der(cls, der: bytes) -> CertificateKey:
        """
        Read a key that a certificate may have (RFC 7518 §3.1).

        Raises:
            BadCertificate: it is none.
        """
        key = key_from_der(der)
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(JWKRSA(key=key), RS256)
        return cls(JWKEC(key=key), _OF_CURVES[key.curve.name])


Signer = Account | CertificateKey


@attrs.frozen
class ExternalAccount:
    """
    What a CA that wants an external account gave its customer (§7.3.4): key identifier and MAC key.
    """

    kid: str
    hmac_key: bytes = attrs.field(repr=False)

    @classmethod
    def parse(cls, kid: str, text: str) -> ExternalAccount:
        """
        Read the MAC key from base64url, as CAs hand it out (§7.3.4); padding and white space around it are fine.

        Raises:
            ValueError: it is not base64url, or empty; the message does not tell the key.
        """
        try:
            key = decode_b64jose(text.strip().rstrip("="))
        except DeserializationError:
            key = b""
        if not key:
            raise ValueError("not a key in base64url")
        return cls(kid, key)


@attrs.frozen
class KeyAuthorization:
    """
    The response to a challenge, in the shape that a txacme responder gets it: `key_authorization` (§8.1).
    """

    key_authorization: str


def key_authorization(token: str, key: AccountKey) -> KeyAuthorization:
    """
    Give what proves, for the challenge with *token*, that the holder of *key* controls the name (§8.1).
    """
    return KeyAuthorization(f"{token}.{key.thumbprint()}")


def sign(signer: Signer, *, url: str, nonce: str, payload: bytes) -> bytes:
    """
    Give the body of a POST to *url* (§6.2): signed for an account, or with a bare key (an account's without a URL).
    """
    if isinstance(signer, CertificateKey):
        algorithm, jwk = signer.algorithm, signer.jwk
    else:
        algorithm, jwk = ES256, signer.key.jwk
    has_url = isinstance(signer, Account) and signer.url
    identity: JsonObject = {"kid": has_url} if has_url else {"jwk": jwk.public_key().to_json()}
    protected = {"alg": algorithm.name, **identity, "nonce": nonce, "url": url}
    return _json(_flattened(algorithm, jwk.key, protected, payload))


def external_account_binding(account: ExternalAccount, key: AccountKey, new_account_url: str) -> JsonObject:
    """
    Give the JWS by which the CA knows whose account *key* will be (§7.3.4).
    """
    protected = {"alg": "HS256", "kid": account.kid, "url": new_account_url}
    return _flattened(HS256, account.hmac_key, protected, _json(key.public_jwk()))


def _flattened(algorithm: JWASignature, key: object, protected: Mapping[str, object], payload: bytes) -> JsonObject:
    """
    Give the flattened JSON serialization of a JWS (RFC 7515 §7.2.2).
    """
    encoded = {"protected": _base64url(_json(protected)), "payload": _base64url(payload)}
    signature = algorithm.sign(key, f"{encoded['protected']}.{encoded['payload']}".encode())
    return {**encoded, "signature": _base64url(signature)}


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(content: bytes) -> str:
    return encode_b64jose(content)
