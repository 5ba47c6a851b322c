from __future__ import annotations

import ipaddress
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs import bundle as module
from sptls.certs.bundle import CertificateBundle, check, faults
from sptls.errors import BadCertificate
from sptls.names import HostName
from tests.certs.authority import NOW, Entity, click, der, entity, intermediate, pem, root

CLICK = HostName("click.example.com")
CHAIN = der(click().certificate, intermediate().certificate, root().certificate)


def bundled(leaf: Entity, *issuers: Entity) -> CertificateBundle:
    """
    Give the bundle of *leaf* with its key and the certificates of *issuers*.
    """
    return CertificateBundle.from_der(leaf.key_der, der(leaf.certificate, *(one.certificate for one in issuers)))


GOOD = bundled(click(), intermediate(), root())


def test_attributes_repeat_the_end_entity_certificate() -> None:
    """
    Names, validity, issuer and serial are the first certificate's.
    """
    leaf = entity("ignored", ["a.example", "*.B.example"], root(), serial=0xABC)
    bundle = bundled(leaf, root())
    assert (HostName("a.example"), HostName("*.b.example")) == bundle.names
    assert NOW - timedelta(days=10) == bundle.not_before
    assert NOW + timedelta(days=80) == bundle.not_after
    assert bundle.issuer == "CN=Test Root"
    assert bundle.serial == "0abc"


def test_only_host_names_of_subject_alternative_name_count() -> None:
    """
    Addresses, other kinds of names, names that no host can have, repetitions and the common name are left out.
    """
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    odd: list[str | x509.GeneralName] = ["a.example", "bad_name.example", "10.0.0.1", "a.example.", "", address]
    assert (HostName("a.example"),) == bundled(entity("cn.example", odd)).names
    assert bundled(entity("cn.example")).names == ()


def test_a_row_gives_the_same_bundle_without_parsing() -> None:
    """
    The constructor takes the attributes as a store keeps them, and looks at none of them.
    """
    assert CertificateBundle(**attrs.asdict(GOOD, recurse=False)) == GOOD
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    assert CertificateBundle(b"", (), (), moment, moment, "", "").chain == ()


def test_equal_intermediates_are_one_object() -> None:
    """
    Bundles share the bytes of their intermediates, but only so many are remembered.
    """
    copy = tuple(bytes(bytearray(certificate)) for certificate in CHAIN)
    assert attrs.evolve(GOOD, chain=copy).chain[1] is GOOD.chain[1]
    for number in range(module._MAX_SHARED + 10):
        attrs.evolve(GOOD, chain=(b"", b"%d" % number))
    assert len(module._shared) <= module._MAX_SHARED


def test_secrets_have_no_repr() -> None:
    """
    The repr shows no key.
    """
    assert "key" not in repr(GOOD)
    assert repr(GOOD.key) not in repr(GOOD)


def test_pem_round_trip() -> None:
    """
    What is written as PEM reads as the same bundle.
    """
    assert CertificateBundle.from_pem(GOOD.key_pem(), GOOD.chain_pem()) == GOOD


@given(st.permutations([click().key_pem, *(pem(one.certificate) for one in (click(), intermediate(), root()))]))
def test_one_file_in_any_order_gives_the_same_bundle(blocks: list[bytes]) -> None:
    """
    Key and chain in one file are told apart, and the chain put in order, however they are shuffled.
    """
    text = b"".join(blocks)
    assert CertificateBundle.from_pem(text, text) == GOOD


def test_the_end_entity_certificate_is_the_one_with_the_key() -> None:
    """
    An old certificate for the same name but another key goes to the end, where the check finds it.
    """
    old = entity("old", ["click.example.com"], intermediate())
    bundle = CertificateBundle.from_pem(
        click().key_pem, pem(old.certificate, intermediate().certificate, click().certificate)
    )
    assert der(click().certificate, intermediate().certificate, old.certificate) == bundle.chain
    assert faults(bundle, CLICK, NOW) == ("certificate 3 of the chain is not the issuer of certificate 2",)


def test_without_a_fitting_certificate_the_first_one_is_taken() -> None:
    """
    A key that fits no certificate is no reason to read none; the check says it.
    """
    other = entity("other")
    bundle = CertificateBundle.from_pem(other.key_pem, pem(click().certificate, intermediate().certificate))
    assert CHAIN[:2] == bundle.chain
    assert faults(bundle, CLICK, NOW) == ("the private key does not belong to the certificate",)


def test_a_certificate_with_an_unknown_kind_of_key_is_no_end_entity() -> None:
    """
    Keys that cryptography can't read belong to no private key of ours; the certificate is kept in its place.
    """
    certificate = der(click().certificate)[0]
    unknown = certificate.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f"))
    assert unknown != certificate
    bundle = CertificateBundle.from_der(click().key_der, (unknown,))
    assert "the private key does not belong to the certificate" in faults(bundle, CLICK, NOW)


@pytest.mark.parametrize(
    ("own", "name", "covered"),
    [
        ("click.example.com", "click.example.com", True),
        ("click.example.com", "x.click.example.com", False),
        ("*.example.com", "click.example.com", True),
        ("*.example.com", "a.click.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.example.com", True),
        ("click.example.com", "*.example.com", False),
    ],
)
def test_a_wildcard_covers_one_label(own: str, name: str, *, covered: bool) -> None:
    """
    Names are covered as RFC 6125 §6.4.3 says, and the check says the same.
    """
    bundle = bundled(entity("x", [own]))
    assert covered is bundle.covers(HostName(name))
    expected = () if covered else (f"the certificate is for {own}, not for {name}",)
    assert expected == faults(bundle, HostName(name), NOW)


def test_sentences_name_a_few_names() -> None:
    """
    A certificate with many names, or none, is told by the first few.
    """
    many = bundled(entity("x", [f"{letter}.example" for letter in "abcdef"]))
    none = bundled(entity("x"))
    assert faults(many, CLICK, NOW) == (
        "the certificate is for a.example, b.example, c.example, d.example and 2 more, not for click.example.com",
    )
    assert faults(none, CLICK, NOW) == ("the certificate is for no host name at all, not for click.example.com",)


def test_the_key_fits_or_not() -> None:
    """
    A key that is not the certificate's is told without looking at anything else.
    """
    assert GOOD.key_fits()
    assert not attrs.evolve(GOOD, key=entity("other").key_der).key_fits()


def test_validity_includes_its_ends_and_some_tolerance() -> None:
    """
    A bundle is valid from a little before its first moment, for CAs whose clock is ahead, to its last.
    """
    first, last, moment = GOOD.not_before - module.CLOCK_TOLERANCE, GOOD.not_after, timedelta(microseconds=1)
    assert [GOOD.valid_at(when) for when in (first - moment, first, last, last + moment)] == [False, True, True, False]


def test_a_good_bundle_passes() -> None:
    """
    A certificate with its key and its chain in order has no faults while it is valid.
    """
    check(GOOD, CLICK, NOW)
    check(GOOD, CLICK, GOOD.not_after)
    check(GOOD, CLICK, GOOD.not_before - module.CLOCK_TOLERANCE)


def test_validity_of_each_certificate_is_checked() -> None:
    """
    Before and after its validity a certificate is refused, the end-entity one and its issuers alike.
    """
    short = entity("Short", issuer=root(), not_before=NOW - timedelta(days=9), not_after=NOW + timedelta(days=9))
    bundle = bundled(entity("x", ["click.example.com"], short), short)
    assert faults(bundle, CLICK, NOW) == ()
    assert faults(bundle, CLICK, NOW + timedelta(days=10)) == (
        "certificate 2 of the chain expired at 2026-08-10 12:00 UTC",
    )
    assert faults(bundle, CLICK, NOW + timedelta(days=81)) == (
        "the certificate expired at 2026-10-20 12:00 UTC",
        "certificate 2 of the chain expired at 2026-08-10 12:00 UTC",
    )
    assert faults(bundle, CLICK, NOW - timedelta(days=11)) == (
        "certificate 2 of the chain is not valid before 2026-07-23 12:00 UTC",
    )


def test_order_and_signatures_of_the_chain_are_checked() -> None:
    """
    A chain in the wrong order is refused, and so is one whose issuer has the right name and the wrong key.
    """
    shuffled = CertificateBundle.from_der(click().key_der, (CHAIN[0], CHAIN[2], CHAIN[1]))
    assert faults(shuffled, CLICK, NOW) == (
        "certificate 2 of the chain is not the issuer of certificate 1",
        "certificate 3 of the chain is not the issuer of certificate 2",
    )
    impostor = bundled(click(), entity("Test Intermediate"))
    assert faults(impostor, CLICK, NOW) == ("certificate 1 of the chain was not signed by certificate 2",)


def test_a_signature_that_contradicts_itself_is_none() -> None:
    """
    A certificate that names two signature algorithms is refused, as clients refuse it (RFC 5280 §4.1.1.2).
    """
    sha256, sha384 = bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d040303")
    bundle = CertificateBundle.from_der(click().key_der, (CHAIN[0].replace(sha256, sha384, 1), CHAIN[1]))
    assert faults(bundle, CLICK, NOW) == ("certificate 1 of the chain was not signed by certificate 2",)


def test_signatures_of_unknown_kinds_are_left_to_the_client() -> None:
    """
    Where cryptography can't verify with an issuer's key, its name has to do.
    """
    subject = intermediate().certificate.subject
    issuer = (
        x509.CertificateBuilder(subject, subject, None, 1, NOW, NOW + timedelta(days=80))
        .public_key(ed448.Ed448PrivateKey.generate().public_key())
        .sign(ed25519.Ed25519PrivateKey.generate(), None)
    )
    unknown = der(issuer)[0].replace(bytes.fromhex("2b6571"), bytes.fromhex("2b657f"))
    bundle = CertificateBundle.from_der(click().key_der, (CHAIN[0], unknown))
    assert faults(bundle, CLICK, NOW) == ()


def test_all_faults_are_told_at_once() -> None:
    """
    The check's error has every fault, in an order that does not change.
    """
    bundle = CertificateBundle.from_der(entity("other").key_der, (CHAIN[0], CHAIN[2]))
    with pytest.raises(BadCertificate) as caught:
        check(bundle, HostName("a.example"), NOW + timedelta(days=99))
    assert str(caught.value) == (
        "the private key does not belong to the certificate; "
        "the certificate is for click.example.com, not for a.example; "
        "certificate 2 of the chain is not the issuer of certificate 1; "
        "the certificate expired at 2026-10-20 12:00 UTC; certificate 2 of the chain expired at 2026-10-20 12:00 UTC"
    )


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (attrs.evolve(GOOD, key=b"no key"), "the private key can't be read"),
        (attrs.evolve(GOOD, chain=()), "the chain is empty"),
        (attrs.evolve(GOOD, chain=(b"no certificate",)), "a certificate can't be read"),
    ],
)
def test_damaged_rows_are_a_fault(damaged: CertificateBundle, reason: str) -> None:
    """
    A bundle built from a row that was damaged is found by the check, not by an exception of another kind.
    """
    (fault,) = faults(damaged, CLICK, NOW)
    assert fault.startswith(reason)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_changed_pem_is_read_or_refused(position: int, value: int) -> None:
    """
    A PEM file with one byte changed gives a bundle that can be checked, or BadCertificate.
    """
    text = bytearray(click().key_pem + pem(click().certificate, intermediate().certificate))
    text[position % len(text)] = value
    with suppress(BadCertificate):
        faults(CertificateBundle.from_pem(bytes(text), bytes(text)), CLICK, NOW)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_changed_certificates_are_read_or_refused(position: int, value: int) -> None:
    """
    A certificate with one byte of its DER changed gives a bundle that can be checked, or BadCertificate.
    """
    changed = bytearray(CHAIN[0])
    changed[position % len(changed)] = value
    with suppress(BadCertificate):
        faults(CertificateBundle.from_der(click().key_der, (bytes(changed), CHAIN[1])), CLICK, NOW)
