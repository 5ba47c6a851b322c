from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from josepy.json_util import decode_b64jose

from sptls.acme import renewal
from sptls.certs.records import RenewalInfo
from tests.certs.authority import NOW
from tests.certs.stored import CLICK, bundle_for

KEY = ec.generate_private_key(ec.SECP256R1())
# RFC 9773 §4.1's own example.
KEY_IDENTIFIER = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")


def certificate(serial: int, *extensions: x509.ExtensionType) -> bytes:
    """
    Give a certificate with *serial* and *extensions*, DER.
    """
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), serial, NOW, NOW + timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_identifier_is_that_of_the_rfcs_example() -> None:
    """
    Key identifier and serial number, base64url, with the serial's leading zero byte (RFC 9773 §4.1).
    """
    authority = x509.AuthorityKeyIdentifier(KEY_IDENTIFIER, None, None)
    identifier = renewal.certificate_identifier(certificate(0x8765_4321, authority))
    assert "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" == identifier


@given(st.integers(1, 2**159 - 1))
def test_the_serial_is_the_content_of_its_der_integer(serial: int) -> None:
    """
    Never negative, and no more bytes than DER wants.
    """
    authority = x509.AuthorityKeyIdentifier(b"k", None, None)
    encoded = decode_b64jose(renewal.certificate_identifier(certificate(serial, authority)).split(".")[1])
    assert serial == int.from_bytes(encoded, "big", signed=True)
    assert len(encoded) == 1 or encoded[0] or encoded[1] & 0x80


@pytest.mark.parametrize(
    "unnamed",
    [
        b"",
        b"garbage",
        certificate(1),
        certificate(1, x509.AuthorityKeyIdentifier(None, [x509.DNSName("a.test")], 1)),
        certificate(1).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),  # no such version
        # A serial number below zero, as some old CAs gave.
        certificate(1, x509.AuthorityKeyIdentifier(b"k", None, None)).replace(b"\x02\x01\x01", b"\x02\x01\x81", 1),
    ],
)
@pytest.mark.filterwarnings("ignore:Parsed a serial number:UserWarning")
def test_what_can_not_be_named_has_no_identifier(unnamed: bytes) -> None:
    """
    Without a key identifier, or a certificate at all, there is nothing to ask for.
    """
    assert "" == renewal.certificate_identifier(unnamed)


@pytest.mark.parametrize(("said", "expected"), [(None, 43200.0), (0.0, 60.0), (21600.0, 21600.0), (604800.0, 86400.0)])
def test_the_ca_is_asked_again_within_a_minute_and_a_day(said: float | None, expected: float) -> None:
    """
    What it says is kept to bounds (RFC 9773 §4.3.2); twice a day where it says nothing.
    """
    assert expected == renewal.ask_again_seconds(said)


def test_a_window_ends_with_the_certificate() -> None:
    """
    Later moments are of no use, and a window that lies all behind the end is a mistake; one in the past is meant.
    """
    bundle = bundle_for(CLICK)
    day = timedelta(days=1)
    far = RenewalInfo(bundle.not_after - day, bundle.not_after + day, 60.0)
    assert attrs.evolve(far, end=bundle.not_after) == renewal.within_validity(far, bundle)
    past = RenewalInfo(NOW - 9 * day, NOW - 8 * day, 60.0, "https://ca.test/why")
    assert past == renewal.within_validity(past, bundle)
    assert renewal.within_validity(attrs.evolve(far, start=bundle.not_after), bundle) is None
