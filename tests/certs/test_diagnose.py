"""
Tests for `sptls.certs.diagnose`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.diagnose import diagnose
from sptls.certs.diagnosis import Diagnosis, Finding, Who, joined
from sptls.errors import (
    AcmeProblem,
    AcmeProtocolError,
    AcmeUnreachable,
    ActionRequired,
    BadCertificate,
    Concern,
    ConfigError,
    DeployError,
    Fault,
    IssuanceFailed,
    NotRevocable,
    OrderCancelled,
    PrecheckFailed,
    Scope,
    SptlsError,
    StoreError,
    ValidationFailed,
)

FINDING = Finding(Diagnosis("dns-elsewhere", Who.CUSTOMER, "it leads elsewhere", "mend it"), is_fatal=True)


@pytest.mark.parametrize(
    ("error", "code", "who"),
    [
        (AcmeProblem(401, "unauthorized", "no", concern=Concern(Scope.ACCOUNT)), "account", Who.OPERATOR),
        (ActionRequired(AcmeProblem(403, "userActionRequired"), "agree"), "account", Who.OPERATOR),
        (AcmeUnreachable("newOrder", "it answered 503"), "ca-failing", Who.CA),
        (AcmeUnreachable("newOrder", "no answer within 30 seconds"), "unreachable", Who.CA),
        (AcmeUnreachable("directory", "DNS lookup failed"), "unreachable", Who.HOST),
        (AcmeProtocolError("newOrder", "no Location"), "protocol", Who.CA),
        (ConfigError((Fault("acme.eab", "wrong"),)), "configuration", Who.OPERATOR),
        (StoreError("/s", "disk full"), "store", Who.HOST),
        (DeployError("/d", "disk full", "free some"), "deploy", Who.HOST),
        (BadCertificate("it has expired"), "bad-certificate", Who.CA),
        (OrderCancelled(), "cancelled", Who.HOST),
        (ValidationFailed("x.example", ()), "no-challenge", Who.OPERATOR),
        (PrecheckFailed("x.example", (FINDING,)), "dns-elsewhere", Who.CUSTOMER),
        (PrecheckFailed("x.example", ()), "unexpected", Who.OPERATOR),
        (TimeoutError(), "timeout", Who.CA),
        (PermissionError(13, "no"), "system", Who.HOST),
        (NotRevocable("no"), "unexpected", Who.OPERATOR),
        (ZeroDivisionError("a secret"), "unexpected", Who.OPERATOR),
    ],
)
def test_every_error_has_a_name(error: Exception, code: str, who: Who) -> None:
    """
    Ours as well as the CA's, and those that nobody expects.
    """
    found = diagnose(error)
    assert (code, who, False) == (found.code, found.who, "secret" in found.cause)


def test_advice_of_an_action_is_the_action() -> None:
    """
    What the CA wants read is in it.
    """
    problem = AcmeProblem(403, "userActionRequired", "terms")
    assert "agree at https://ca.example" == diagnose(ActionRequired(problem, "agree at https://ca.example")).advice


def test_subproblems_tell_what_the_problem_does_not() -> None:
    """
    RFC 8555 §6.7.1: the problem only says that there are some.
    """
    inner = (AcmeProblem(0, "orderNotReady"), AcmeProblem(0, "caa", "forbidden", identifier="x.example"))
    assert "caa-forbids" == diagnose(AcmeProblem(403, "compound", "see below", subproblems=inner)).code
    assert "refused" == diagnose(AcmeProblem(403, "compound", "see below", subproblems=inner[:1])).code


def test_challenge_types_that_fail_alike_are_told_once() -> None:
    """
    And those that fail in other ways each with its name; DNS and CAA explain both.
    """
    refused, reset = AcmeProblem(400, "connection", "Connection refused"), AcmeProblem(400, "connection", "EOF")
    alike = diagnose(ValidationFailed("x", (("tls-alpn-01", refused), ("http-01", refused))))
    assert diagnose(refused) == alike
    unlike = diagnose(ValidationFailed("x", (("tls-alpn-01", refused), ("http-01", reset))))
    assert "connection-refused" == unlike.code
    assert unlike.cause.startswith("tls-alpn-01: the CA's connections")
    assert "; http-01: the server" in unlike.cause
    vague = AcmeProblem(403, "unauthorized", "Failed to connect to x")
    assert "connection-refused" == diagnose(ValidationFailed("x", (("tls-alpn-01", vague), ("http-01", refused)))).code
    assert "connection" == diagnose(ValidationFailed("x", (("tls-alpn-01", vague),))).code
    telling = diagnose(ValidationFailed("x", (("http-01", refused), ("tls-alpn-01", AcmeProblem(400, "caa")))))
    assert "caa-forbids" == telling.code


def test_where_the_ca_was_is_told() -> None:
    """
    At which address; an IPv6 one is often a record that was forgotten.
    """
    found = diagnose(AcmeProblem(400, "connection", "2001:db8::1: Fetching http://x/: Connection refused"))
    assert (True, True) == (found.cause.endswith("(2001:db8::1)"), "AAAA record" in found.advice)
    there = "During secondary validation: 192.0.2.1: Fetching http://x/: Connection refused"
    found = diagnose(AcmeProblem(400, "connection", there))
    assert (True, False) == ("(192.0.2.1), as seen from some" in found.cause, "AAAA record" in found.advice)


TEXTS = st.text(max_size=30) | st.sampled_from(["NXDOMAIN", "Connection refused", "192.0.2.1: x", "it answered 503"])
TYPES = st.text(max_size=12) | st.sampled_from(["dns", "caa", "connection", "rateLimited", "malformed"])
PROBLEMS = st.recursive(
    st.builds(AcmeProblem, st.integers(), TYPES, TEXTS, concern=st.builds(Concern, st.sampled_from(Scope))),
    lambda inner: st.builds(
        AcmeProblem, st.integers(), TYPES, TEXTS, subproblems=st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=5,
)
FAULTS = st.lists(st.builds(Fault, TEXTS, TEXTS), max_size=2).map(tuple)
ERRORS = st.one_of(
    PROBLEMS,
    st.builds(ActionRequired, PROBLEMS, TEXTS),
    st.builds(ValidationFailed, TEXTS, st.lists(st.tuples(TEXTS, PROBLEMS), max_size=3).map(tuple)),
    st.builds(AcmeUnreachable, TEXTS, TEXTS),
    st.builds(AcmeProtocolError, TEXTS, TEXTS),
    st.builds(ConfigError, FAULTS),
    st.builds(StoreError, TEXTS, TEXTS),
    st.builds(DeployError, TEXTS, TEXTS, TEXTS),
    st.builds(BadCertificate, TEXTS),
    st.builds(Exception, TEXTS),
)


def wrapped(error: Exception) -> Exception:
    """
    Give *error* as it ends an attempt, where it can.
    """
    return IssuanceFailed(error, 1) if isinstance(error, SptlsError) else error


@given(ERRORS | ERRORS.map(wrapped))
def test_every_failure_has_a_name_and_words(error: BaseException) -> None:
    """
    Never an exception, never an empty word, never one without an end.
    """
    for found in (diagnose(error), joined(diagnose(error), [FINDING])):
        assert all(
            text.strip() and len(text) < 1000 for text in (found.code, found.cause, found.advice, found.who.words)
        )
