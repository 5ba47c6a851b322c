"""
A CA that gives another certificate than the one that was ordered, or none at all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sptls.errors import BadCertificate
from tests.acme_front import forgery
from tests.acme_front.faults import Change, Fault, Say, answer
from tests.faults.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.pebble

DAY = timedelta(days=1)
Chain = list[bytes]


def blocks(pem: bytes) -> Chain:
    """
    Give the certificates of a chain, PEM each.
    """
    return [each.public_bytes(Encoding.PEM) for each in x509.load_pem_x509_certificates(pem)]


def give(world: World, chain: Callable[[Chain], bytes]) -> None:
    """
    Let the CA give another chain in the place of the right one.
    """
    world.front.arm(Fault("certificate", Change(lambda said: said.with_content(chain(blocks(said.content))))))


def forged(world: World, *, name: str = "a.test", is_ours: bool = True, begin: int = -1, end: int = 60) -> bytes:
    """
    Make a chain for the key that was handed in, or another, valid from *begin* to *end* days from now.
    """
    key, now = forgery.handed_in_key(world.front) if is_ours else forgery.other_key(), world.now()
    leaf = forgery.certificate([name], key, now + begin * DAY, now + end * DAY)
    return leaf + forgery.authority(now)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (lambda world: forged(world, is_ours=False), "the private key does not belong to the certificate"),
        (lambda world: forged(world, name="b.test"), "the certificate is for b.test, not for a.test"),
        (lambda world: forged(world, begin=-90, end=-1), "the certificate expired at"),
        (lambda world: forged(world, begin=2), "the certificate is not valid before"),
        (lambda world: forged(world, name="*.a.test"), "not for a.test"),
    ],
    ids=["another key", "another name", "already expired", "not yet valid", "a wildcard below"],
)
def test_a_certificate_that_can_t_be_served_is_refused(
    world: World, chain: Callable[[World], bytes], words: str
) -> None:
    """
    It says why, counts as an order, and the next attempt orders anew.
    """
    give(world, lambda _: chain(world))
    came = world.failure()
    assert isinstance(came.cause, BadCertificate)
    assert words in str(came.cause)
    assert (0, 1) == (came.failed_authorizations, came.orders)
    assert 1 == world.recover().orders


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (lambda _: b"", "no certificate"),
        (lambda _: b"not PEM at all", "no certificate"),
        (lambda right: b"".join(right).replace(b"BEGIN CERTIFICATE", b"BEGIN KITTEN"), ""),
        (lambda right: right[0][:200], ""),
        (lambda right: right[0][:-100] + right[0][-60:], ""),
        (lambda right: right[0] * 200, ""),
        (lambda right: b"".join(right[1:]), "the private key does not belong to the certificate"),
    ],
    ids=["empty", "text", "other blocks", "cut off", "damaged", "far too many", "without ours"],
)
def test_what_is_no_chain_is_refused(world: World, chain: Callable[[Chain], bytes], words: str) -> None:
    """
    Nothing of it is served.
    """
    give(world, chain)
    came = world.failure()
    assert isinstance(came.cause, BadCertificate)
    assert words in str(came.cause)
    assert 1 == world.recover().orders


@pytest.mark.parametrize(
    "chain",
    [
        lambda right: b"".join([right[0], *reversed(right[1:])]),
        lambda right: b"".join(reversed(right)),
        lambda right: b"Bag Attributes\n    friendlyName: x\n" + b"\r\n".join(right),
    ],
    ids=["issuers swapped", "upside down", "text between"],
)
def test_a_chain_in_another_order_is_put_right(world: World, chain: Callable[[Chain], bytes]) -> None:
    """
    The certificate is paid for, and what is served is in order (RFC 8446 §4.4.2).
    """
    give(world, chain)
    bundle = world.bundle()
    leaf, *issuers = [x509.load_der_x509_certificate(der) for der in bundle.chain]
    assert 2 == len(issuers)
    for certificate, issuer in zip([leaf, *issuers], issuers, strict=False):
        certificate.verify_directly_issued_by(issuer)


def test_a_certificate_too_many_is_refused(world: World) -> None:
    """
    A stranger's certificate in the chain could break clients.
    """
    give(world, lambda right: b"".join(right) + forgery.authority(world.now()))
    came = world.failure()
    assert isinstance(came.cause, BadCertificate)
    assert "of the chain is not the issuer of certificate" in str(came.cause)
    assert 1 == world.recover().orders


def test_a_certificate_that_is_there_twice_is_served_once(world: World) -> None:
    """
    Nothing is wrong with the rest.
    """
    give(world, lambda right: right[0] + b"".join(right))
    assert 3 == len(world.bundle().chain)


def test_a_new_certificate_is_taken_though_our_clock_is_a_day_behind(world: World) -> None:
    """
    It is paid for, and of two clocks ours is the wrong one as often as not.
    """
    world.set_by = -DAY
    world.bundle()


def test_every_certificate_has_a_key_of_its_own(world: World) -> None:
    """
    Also the one after a certificate that was refused.
    """
    give(world, lambda _: forged(world, begin=-90, end=-1))
    world.failure()
    refused_key = forgery.handed_in_key(world.front)
    world.recover()
    assert refused_key != forgery.handed_in_key(world.front)


def test_a_lost_download_is_asked_for_again_by_the_next_attempt(world: World) -> None:
    """
    A certificate that was made and never arrived is not ordered a second time.
    """
    world.front.arm(Fault("certificate", Say(answer(500), asks_ca=True), times=6))
    world.failure()
    came = world.recover()
    assert ("order", "certificate") == came.operations
    assert 0 == came.orders
