from __future__ import annotations

from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from sptls.certs.csr import csr, generate_key, key_der, signature_hash
from sptls.config import KeyType
from sptls.names import HostName

NAMES = (HostName("click.example.com"), HostName("*.example.org"))


@pytest.mark.parametrize(
    ("key_type", "kind", "bits"),
    [
        ("ec-p256", ec.EllipticCurvePrivateKey, 256),
        ("ec-p384", ec.EllipticCurvePrivateKey, 384),
        ("rsa-2048", rsa.RSAPrivateKey, 2048),
    ],
)
def test_key_types_mean_what_they_say(key_type: KeyType, kind: type, bits: int) -> None:
    """
    Each key type gives a key of that algorithm and size.
    """
    key = generate_key(key_type)
    assert isinstance(key, kind)
    assert bits == key.key_size


def test_every_configurable_key_type_is_known() -> None:
    """
    The tables here have every key type that the configuration allows (RSA-4096 takes too long to make in a test).
    """
    from sptls.certs import csr as module

    assert set(get_args(KeyType)) == {*module._CURVES, *module._RSA_BITS}


def test_each_key_is_new() -> None:
    """
    Two keys of a type are two keys.
    """
    assert key_der(generate_key("ec-p256")) != key_der(generate_key("ec-p256"))


def test_key_der_is_pkcs8() -> None:
    """
    What key_der gives is the key, readable without a passphrase.
    """
    key = generate_key("ec-p256")
    read = load_der_private_key(key_der(key), None)
    assert isinstance(read, ec.EllipticCurvePrivateKey)
    assert key.private_numbers() == read.private_numbers()


@pytest.mark.parametrize(("key_type", "hash_type"), [("ec-p256", hashes.SHA256), ("ec-p384", hashes.SHA384)])
def test_hash_is_as_strong_as_the_key(key_type: KeyType, hash_type: type) -> None:
    """
    P-384 signs with SHA-384, the rest with SHA-256.
    """
    assert isinstance(signature_hash(generate_key(key_type)), hash_type)


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_request_holds_the_names_and_the_key_alone(key_type: KeyType) -> None:
    """
    A request has an empty subject, one extension with the names in order, the key's public half and its signature.
    """
    key = generate_key(key_type)
    request = x509.load_der_x509_csr(csr(key, NAMES))
    (extension,) = request.extensions
    assert request.is_signature_valid
    assert x509.Name([]) == request.subject
    assert x509.SubjectAlternativeName([x509.DNSName(name.text) for name in NAMES]) == extension.value
    assert key.public_key() == request.public_key()
