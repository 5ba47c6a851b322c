from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs import pem
from sptls.certs.csr import generate_key, key_der
from sptls.errors import BadCertificate
from tests.certs.authority import click, der, entity, intermediate, root
from tests.certs.authority import pem as as_pem

EC_KEY = click().key
CHAIN = (click().certificate, intermediate().certificate)
# cryptography warns of some certificates that it reads all the same.
tolerated = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    """
    An RSA key of the smallest usable size.
    """
    key = generate_key("rsa-2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@pytest.mark.parametrize("encoding", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys_are_read_in_every_encoding(encoding: PrivateFormat, rsa_key: rsa.RSAPrivateKey) -> None:
    """
    PKCS#8, SEC1 and PKCS#1 keys are read, from PEM and DER.
    """
    for key in (EC_KEY, rsa_key):
        for form, read in ((Encoding.PEM, pem.key_from_pem), (Encoding.DER, pem.key_from_der)):
            assert key_der(key) == key_der(read(key.private_bytes(form, encoding, NoEncryption())))


def test_text_round_the_blocks_and_line_ends_of_windows_do_not_matter() -> None:
    """
    Text before, between and after the blocks is skipped, with either line end.
    """
    text = b"\xef\xbb\xbfBag Attributes\n" + as_pem(CHAIN[0]) + b"subject=...\n\n" + as_pem(CHAIN[1]) + b"the end"
    assert der(*CHAIN) == pem.chain_from_pem(text)
    assert der(*CHAIN) == pem.chain_from_pem(text.replace(b"\n", b"\r\n"))
    assert key_der(EC_KEY) == key_der(pem.key_from_pem(b"x\n" + click().key_pem.replace(b"\n", b"\r\n") + text))


def test_a_certificate_given_twice_counts_once() -> None:
    """
    A chain holds no certificate twice.
    """
    assert der(*CHAIN) == pem.chain_from_pem(as_pem(*CHAIN, *CHAIN))


def test_parameters_before_an_ec_key_are_skipped() -> None:
    """
    What `openssl ecparam -genkey` writes, parameters and then the key, is read.
    """
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert key_der(EC_KEY) == key_der(pem.key_from_pem(parameters + click().key_pem))


@pytest.mark.parametrize("encoding", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_keys_are_named_as_such(encoding: PrivateFormat) -> None:
    """
    A key with a passphrase is refused with what to do about it, in either form.
    """
    encrypted = EC_KEY.private_bytes(Encoding.PEM, encoding, BestAvailableEncryption(b"secret"))
    with pytest.raises(BadCertificate, match="encrypted; take the passphrase off with: openssl pkey"):
        pem.key_from_pem(encrypted)


def test_unusable_kinds_of_key_are_refused() -> None:
    """
    Keys that TLS clients at large can't use are refused, each with its reason.
    """
    keys = (
        (rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits is too short"),  # noqa: S505 - refused, that is
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1 serves no TLS client"),
        (ed25519.Ed25519PrivateKey.generate(), "neither RSA nor EC"),
    )
    for key, reason in keys:
        with pytest.raises(BadCertificate, match=reason):
            pem.key_from_pem(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "there are 0 private keys in it"),
        (click().key_pem * 2, "there are 2 private keys in it"),
        (click().key_pem[:-30], "cut off"),
        (b"-----BEGIN PRIVATE KEY", "cut off"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key can't be read"),
        (b" " * (pem.MAX_PEM_BYTES + 1), "no key and no chain"),
    ],
)
def test_keys_that_are_none(text: bytes, reason: str) -> None:
    """
    No key, two keys, half a key and nonsense are told apart.
    """
    with pytest.raises(BadCertificate, match=reason):
        pem.key_from_pem(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "there is no certificate in it"),
        (click().key_pem, "there is no certificate in it"),
        (as_pem(CHAIN[0])[:400] + as_pem(CHAIN[1]), "cut off"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate can't be read"),
        (as_pem(*(entity(str(number)).certificate for number in range(11))), "11 certificates are no chain"),
    ],
)
def test_chains_that_are_none(text: bytes, reason: str) -> None:
    """
    No certificate, half of one, nonsense and a heap of them are told apart.
    """
    with pytest.raises(BadCertificate, match=reason):
        pem.chain_from_pem(text)


@tolerated
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_bad_certificate(data: bytes) -> None:
    """
    No bytes make a reader raise anything else.
    """
    framed = b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"
    for read in (pem.chain_from_pem, pem.key_from_pem, pem.key_from_der, pem.certificate_from_der):
        for text in (data, framed, framed.replace(b"CERTIFICATE", b"PRIVATE KEY")):
            with pytest.raises(BadCertificate):
                read(text)


@tolerated
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_changed_certificates_are_read_or_refused(position: int, value: int) -> None:
    """
    A certificate or key with one byte changed is read, or is refused with BadCertificate.
    """
    for original, read in ((der(root().certificate)[0], pem.certificate_from_der), (click().key_der, pem.key_from_der)):
        changed = bytearray(original)
        changed[position % len(changed)] = value
        with suppress(BadCertificate):
            read(bytes(changed))
