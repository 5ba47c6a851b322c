"""
Which certificates of another program are taken over, and whose they count as.
"""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.bundle import CertificateBundle
from sptls.certs.intake import Keep, Offer, Outcome, Refuse, Take, judge
from sptls.certs.records import StoredCertificate
from sptls.certs.schedule import renewal_moment
from sptls.config import DIRECTORIES
from sptls.names import HostName
from tests.certs.authority import NOW, der, entity
from tests.certs.stored import CA, CLICK, bundle_for, stored

LETS_ENCRYPT, STAGING = DIRECTORIES["letsencrypt"], DIRECTORIES["letsencrypt-staging"]
BUNDLE = bundle_for(CLICK, NOW - timedelta(days=30), NOW + timedelta(days=60))
BY_LETS_ENCRYPT = attrs.evolve(BUNDLE, issuer="CN=R11,O=Let's Encrypt,C=US")
BY_STAGING = attrs.evolve(BUNDLE, issuer="CN=R11,O=(STAGING) Let's Encrypt,C=US")


def judged(
    bundle: CertificateBundle = BUNDLE,
    held: CertificateBundle | None = None,
    *,
    server: str = "",
    directories: tuple[str, ...] = (CA,),
    name: HostName = CLICK,
    fraction: float = 0.5,
) -> Take | Keep | Refuse:
    """
    Judge an offer.
    """
    return judge(Offer(name, bundle, server), held, directories, NOW, fraction)


def taken(decision: Take | Keep | Refuse) -> StoredCertificate:
    """
    Give what is to be stored.
    """
    assert isinstance(decision, Take)
    return decision.certificate


@pytest.mark.parametrize(
    ("bundle", "server", "directories", "directory"),
    [
        (BUNDLE, "", (CA, LETS_ENCRYPT), CA),
        (BUNDLE, LETS_ENCRYPT, (CA, LETS_ENCRYPT), LETS_ENCRYPT),
        (BUNDLE, "https://elsewhere.example/dir", (CA, LETS_ENCRYPT), CA),
        (BY_LETS_ENCRYPT, "", (CA, LETS_ENCRYPT), LETS_ENCRYPT),
        (BY_LETS_ENCRYPT, "", (CA,), CA),
        (BY_LETS_ENCRYPT, CA, (LETS_ENCRYPT, CA), CA),
        (BY_STAGING, "", (CA, STAGING), STAGING),
        (attrs.evolve(BUNDLE, issuer=r"CN=x\,O=Let's Encrypt"), "", (CA, LETS_ENCRYPT), CA),
    ],
)
def test_it_counts_as_of_the_ca_that_it_came_from_or_the_first(
    bundle: CertificateBundle, server: str, directories: tuple[str, ...], directory: str
) -> None:
    """
    Never of one that isn't configured: it would be ordered anew at once.
    """
    assert directory == taken(judged(bundle, server=server, directories=directories)).directory


@given(st.floats(0, 1, exclude_max=True))
def test_it_is_renewed_at_the_usual_part_of_its_life(fraction: float) -> None:
    """
    As if it had been ordered here.
    """
    expected = renewal_moment(BUNDLE.not_before, BUNDLE.not_after, BUNDLE.not_before, fraction)
    assert expected == taken(judged(fraction=fraction)).renew_at


@given(st.floats(0, 1, exclude_max=True))
def test_it_is_not_due_at_once_because_another_program_renews_later(fraction: float) -> None:
    """
    On the 59th of 90 days a day is left; on the 61st it is late.
    """
    now = NOW.replace(microsecond=0)
    soon = taken(judged(bundle_for(CLICK, now - timedelta(days=59), now + timedelta(days=31)), fraction=fraction))
    assert timedelta() <= soon.renew_at - now <= timedelta(days=1)
    late = taken(judged(bundle_for(CLICK, now - timedelta(days=61), now + timedelta(days=29)), fraction=fraction))
    assert late.renew_at < now


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (BUNDLE, Keep("it is there already")),
        (bundle_for(CLICK, NOW, NOW + timedelta(days=60)), Keep("one that is valid as long is there")),
        (bundle_for(CLICK, NOW, NOW + timedelta(days=61)), Keep("one that is valid as long is there")),
    ],
)
def test_what_is_there_stays_where_it_is_as_good(held: CertificateBundle, expected: Keep) -> None:
    """
    Importing twice changes nothing.
    """
    assert expected == judged(held=held)


def test_what_is_valid_longer_takes_the_place_of_what_is_there() -> None:
    """
    A back-up is older, another program's may be newer.
    """
    assert BUNDLE == taken(judged(held=bundle_for(CLICK, NOW, NOW + timedelta(days=59)))).bundle


def _self_signed() -> CertificateBundle:
    own = entity("click.example.com", ["click.example.com"])
    return CertificateBundle.from_der(own.key_der, der(own.certificate))


def _for_wildcard() -> CertificateBundle:
    return bundle_for(HostName("*.example.com"))


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        (bundle_for(HostName("other.example.com")), "not for exactly the name click.example.com"),
        (_for_wildcard(), "not for exactly the name click.example.com"),
        (bundle_for(CLICK, NOW - timedelta(days=90), NOW - timedelta(days=1)), "the certificate expired at"),
        (attrs.evolve(BUNDLE, key=bundle_for(CLICK).key), "the private key does not belong to the certificate"),
        (_self_signed(), "is signed by itself"),
        (BY_STAGING, "staging CA; no client trusts it"),
    ],
)
def test_what_clients_would_not_take_is_refused(bundle: CertificateBundle, reason: str) -> None:
    """
    It would keep a good one from being ordered.
    """
    decision = judged(bundle)
    assert isinstance(decision, Refuse)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Take(stored()), Outcome("taken", f"renewal 2026-09-20, by {CA}")),
        (Keep("as good"), Outcome("kept", "as good")),
        (Refuse("bad"), Outcome("refused", "bad")),
    ],
)
def test_people_are_told_what_came_of_it(decision: Take | Keep | Refuse, expected: Outcome) -> None:
    """
    In a word, and why.
    """
    assert expected == Outcome.of(decision)
