from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwk import JWK, JWKOct
from josepy.jws import JWS

from sptls.acme import jws
from sptls.acme.jws import Account, AccountKey, ExternalAccount
from sptls.errors import BadCertificate

KEY = AccountKey.generate()
URL = "https://ca.test/order"


def protected(body: bytes) -> dict[str, object]:
    """
    Give the protected header of a signed request.
    """
    header: dict[str, object] = json.loads(decode_b64jose(json.loads(body)["protected"]))
    return header


@given(
    payload=st.binary(max_size=100), nonce=st.text("abcXYZ09-_", min_size=1), kid=st.sampled_from(["", f"{URL}/acct"])
)
def test_a_signed_request_verifies(payload: bytes, nonce: str, kid: str) -> None:
    """
    Josepy's own JWS accepts the signature, and gets the payload back.
    """
    signed = JWS.from_json(json.loads(jws.sign(Account(KEY, kid), url=URL, nonce=nonce, payload=payload)))
    assert signed.verify(KEY.jwk.public_key())
    assert payload == signed.payload


def test_signs_in_the_name_of_the_account() -> None:
    """
    With a URL the account is named, and the key is not sent (RFC 8555 §6.2).
    """
    header = protected(jws.sign(Account(KEY, f"{URL}/acct"), url=URL, nonce="n", payload=b""))
    assert {"alg": "ES256", "kid": f"{URL}/acct", "nonce": "n", "url": URL} == header


def test_signs_with_the_bare_key_before_there_is_an_account() -> None:
    """
    Without a URL the public key is sent, and nothing of the private one.
    """
    header = protected(jws.sign(Account(KEY), url=URL, nonce="n", payload=b""))
    assert {"alg", "jwk", "nonce", "url"} == set(header)
    assert {"kty": "EC", "crv": "P-256"}.items() <= KEY.public_jwk().items()
    assert {"kty", "crv", "x", "y"} == set(KEY.public_jwk())
    assert KEY.public_jwk() == header["jwk"]


def test_the_key_authorization_is_token_and_thumbprint() -> None:
    """
    The thumbprint is SHA-256 of the public key's canonical JSON (RFC 7638 §3).
    """
    canonical = json.dumps(KEY.public_jwk(), separators=(",", ":"), sort_keys=True).encode()
    expected = f"token.{encode_b64jose(hashlib.sha256(canonical).digest())}"
    assert expected == jws.key_authorization("token", KEY).key_authorization


def test_binds_an_external_account() -> None:
    """
    The binding is signed with the MAC key, over our public key, for newAccount (RFC 8555 §7.3.4).
    """
    binding = jws.external_account_binding(ExternalAccount("kid-1", b"secret"), KEY, URL)
    signed = JWS.from_json(binding)
    assert signed.verify(JWKOct(key=b"secret"))
    assert KEY.jwk.public_key() == JWK.from_json(json.loads(signed.payload))
    assert {"alg": "HS256", "kid": "kid-1", "url": URL} == json.loads(signed.signature.protected)


@given(st.binary(min_size=1))
def test_reads_a_mac_key_as_cas_hand_it_out(key: bytes) -> None:
    """
    White space around it and padding are fine.
    """
    padded = encode_b64jose(key) + "=" * (-len(encode_b64jose(key)) % 4)
    assert key == ExternalAccount.parse("kid", f" {padded}\n").hmac_key


@pytest.mark.parametrize("text", ["", " \n", "a", "======"])
def test_what_is_no_mac_key_is_refused(text: str) -> None:
    """
    The error does not tell the key.
    """
    with pytest.raises(ValueError, match=r"^not a key in base64url$"):
        ExternalAccount.parse("kid", text)


def test_a_key_survives_its_der() -> None:
    """
    The stored key is the same key.
    """
    assert KEY.thumbprint() == AccountKey.from_der(KEY.to_der()).thumbprint()


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"garbage",
        KEY.to_der().replace(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", b"\x2a\x86\x48\xce\x3d\x03\x01\x7f"),  # no curve
        *(
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048))
        ),
    ],
)
def test_what_is_no_p256_key_is_refused(der: bytes) -> None:
    """
    ES256 takes P-256 keys only.
    """
    with pytest.raises(BadCertificate):
        AccountKey.from_der(der)


def test_secrets_have_no_repr() -> None:
    """
    No key shows up where a value is printed.
    """
    assert "AccountKey()" == repr(KEY)
    assert "secret" not in repr(ExternalAccount("kid", b"secret"))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ],
)
def test_a_certificates_key_signs_with_itself(key: ec.EllipticCurvePrivateKey, algorithm: str) -> None:
    """
    For a revocation (RFC 8555 §7.6): josepy verifies it, and nothing of the private key is sent.
    """
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    body = jws.sign(jws.CertificateKey.from_der(der), url=URL, nonce="n", payload=b"{}")
    header = protected(body)
    assert (algorithm, False) == (header["alg"], "d" in json.dumps(list(header["jwk"])))  # type: ignore[call-overload]
    assert JWS.from_json(json.loads(body)).verify(JWK.from_json(header["jwk"]))  # type: ignore[arg-type]


def test_a_key_that_no_certificate_has_is_refused() -> None:
    """
    As everywhere, without a word of it.
    """
    with pytest.raises(BadCertificate):
        jws.CertificateKey.from_der(b"garbage")
