from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme import steps
from sptls.acme.messages import Authorization, AuthorizationStatus, Challenge, ChallengeStatus, Order, OrderStatus
from sptls.errors import AcmeProblem
from tests.acme.fake_ca import AUTHORITY

CA = "https://ca.test"
PROBLEM = AcmeProblem(403, "caa", "forbidden")


def order(status: OrderStatus, error: AcmeProblem | None = None) -> Order:
    """
    Give an order with *status*.
    """
    return Order(CA, status, (f"{CA}/z1", f"{CA}/z2"), f"{CA}/f", f"{CA}/cert", error, 2.0)


def challenge(
    kind: str = "http-01", status: ChallengeStatus = "pending", error: AcmeProblem | None = None
) -> Challenge:
    """
    Give a challenge.
    """
    return Challenge(kind, f"{CA}/{kind}", status, "token", error)


def authorization(status: AuthorizationStatus, *challenges: Challenge) -> Authorization:
    """
    Give an authorization with *status*.
    """
    return Authorization(CA, status, "a.test", challenges, 2.0)


@pytest.mark.parametrize(
    ("given_order", "expected"),
    [
        (order("pending"), steps.Authorize((f"{CA}/z1", f"{CA}/z2"))),
        (order("ready"), steps.Finalize()),
        (order("processing"), steps.Wait(2.0)),
        (order("valid"), steps.Download(f"{CA}/cert")),
        (order("invalid", PROBLEM), steps.Refused(PROBLEM)),
    ],
)
def test_the_next_step_of_an_order(given_order: Order, expected: steps.OrderStep) -> None:
    """
    Each status of an order has one next step (RFC 8555 §7.1.6).
    """
    assert expected == steps.next_of_order(given_order)


@pytest.mark.parametrize(
    ("given_authorization", "expected"),
    [
        (authorization("pending", challenge(), challenge("x")), steps.Respond((challenge(), challenge("x")))),
        (authorization("pending", challenge(), challenge("x", "invalid")), steps.Respond((challenge(),))),
        (authorization("pending"), steps.Respond(())),
        (authorization("pending", challenge(), challenge("x", "processing")), steps.Wait(2.0)),
        (authorization("pending", challenge("x", "valid")), steps.Wait(2.0)),
        (authorization("valid", challenge(status="valid")), steps.Authorized()),
        (authorization("invalid", challenge(), challenge("x", "invalid", PROBLEM)), steps.Refused(PROBLEM)),
    ],
)
def test_the_next_step_of_an_authorization(
    given_authorization: Authorization, expected: steps.AuthorizationStep
) -> None:
    """
    Each status of an authorization has one next step; a challenge that is being validated is the CA's turn.
    """
    assert expected == steps.next_of_authorization(given_authorization)


@given(st.sampled_from(get_args(OrderStatus)))
def test_every_status_of_an_order_has_a_step(status: OrderStatus) -> None:
    """
    The table has no gap.
    """
    assert isinstance(steps.next_of_order(order(status)), steps.OrderStep)


@given(
    st.sampled_from(get_args(AuthorizationStatus)),
    st.lists(st.sampled_from(get_args(ChallengeStatus)).map(lambda status: challenge(status=status))),
)
def test_every_status_of_an_authorization_has_a_step(status: AuthorizationStatus, challenges: list[Challenge]) -> None:
    """
    The table has no gap, and only what is valid counts as authorized.
    """
    step = steps.next_of_authorization(authorization(status, *challenges))
    assert (status == "valid") == isinstance(step, steps.Authorized)


@pytest.mark.parametrize("status", ["invalid", "deactivated", "expired", "revoked"])
def test_an_end_without_a_reason_says_so(status: AuthorizationStatus) -> None:
    """
    A refusal always has a problem to show.
    """
    step = steps.next_of_authorization(authorization(status))
    assert isinstance(step, steps.Refused)
    assert status in step.problem.detail
    assert isinstance(steps.next_of_order(order("invalid")), steps.Refused)


def test_chooses_the_first_type_that_is_offered() -> None:
    """
    Our order of preference decides, not the CA's.
    """
    offered = (challenge("dns-01"), challenge("http-01"), challenge("tls-alpn-01"))
    assert "tls-alpn-01" == getattr(steps.choose_challenge(offered, ("tls-alpn-01", "http-01")), "type", None)
    assert "http-01" == getattr(steps.choose_challenge(offered[:2], ("tls-alpn-01", "http-01")), "type", None)
    assert steps.choose_challenge(offered, ()) is None
    assert steps.choose_challenge((), ("http-01",)) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("connection", True), ("unauthorized", True), ("tls", True), ("caa", False), ("dns", False)],
)
def test_another_type_is_worth_a_try_unless_the_name_itself_is_at_fault(kind: str, expected: bool) -> None:
    """
    A failed authorization is a budget; CAA and DNS meet every type.
    """
    assert expected == steps.worth_another_type(AcmeProblem(403, kind))


def test_knows_the_root_of_a_chain() -> None:
    """
    The last certificate's issuer counts; what is no chain has no root.
    """
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    csr = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=False)
    key = ec.generate_private_key(ec.SECP256R1())
    chain = AUTHORITY.issue(csr.sign(key, hashes.SHA256()), datetime(2026, 8, 1, tzinfo=UTC))
    assert steps.has_root(chain, "Fake Root")
    assert not steps.has_root(chain, "Other Root")
    assert not steps.has_root(b"", "Fake Root")


@pytest.mark.parametrize(
    ("good", "odd"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),  # no such version
        (b"\x0c\x06a.test", b"\x0c\x06\xff.test"),  # no UTF-8
    ],
)
def test_certificate_that_can_not_be_read_has_no_root(good: bytes, odd: bytes) -> None:
    """
    A CA's mistake in one of several chains leaves the others.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    begin = datetime(2026, 8, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert steps.has_root(ssl.DER_cert_to_PEM_cert(der).encode(), "a.test")
    assert good in der
    assert not steps.has_root(ssl.DER_cert_to_PEM_cert(der.replace(good, odd)).encode(), "a.test")


def test_the_challenge_that_is_being_validated_is_answered_again() -> None:
    """
    One of a type that we have, where the CA says which it is at work on.
    """
    challenges = (challenge("dns-01", "processing"), challenge("http-01", "processing"), challenge("tls-alpn-01"))
    assert challenges[1] == steps.being_validated(challenges, ("http-01", "tls-alpn-01"))
    assert steps.being_validated(challenges, ("tls-alpn-01",)) is None


def test_the_type_that_failed_is_found() -> None:
    """
    Only one of an authorization's challenges is ever answered; some CAs drop the others, or all.
    """
    challenges = (challenge("dns-01"), challenge("http-01", "invalid"))
    assert "http-01" == steps.failed_type(authorization("invalid", *challenges))
    assert "" == steps.failed_type(authorization("invalid"))


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (409, "alreadyReplaced", True),
        (409, "conflict", True),
        (403, "unauthorized", True),
        (404, "notFound", True),
        (400, "malformed", True),
        (429, "rateLimited", False),
        (400, "accountDoesNotExist", False),
        (400, "rejectedIdentifier", False),
    ],
)
def test_a_replacement_may_be_what_is_refused(status: int, kind: str, expected: bool) -> None:
    """
    Then the order is worth asking for without; limits and faults of the name would meet it again.
    """
    assert expected is steps.refuses_replacement(AcmeProblem(status, kind))
