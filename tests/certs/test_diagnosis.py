"""
Tests for `sptls.certs.diagnosis`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme.concern import with_concern
from sptls.certs.diagnosis import Diagnosis, Finding, Who, diagnose, joined, of_own, unnamed, waiting
from sptls.clock import wall_time
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

# What Let's Encrypt's Boulder says (va/, bdns/, policy/), and what Pebble and Go's own network errors do.
SAID = [
    ("dns", "DNS problem: NXDOMAIN looking up A for x.example - check that a DNS record exists", "dns-nxdomain"),
    (
        "dns",
        "DNS problem: SERVFAIL looking up A for x - the domain's nameservers may be malfunctioning",
        "dns-servfail",
    ),
    ("dns", "DNS problem: SERVFAIL looking up CAA for x: DNSSEC: DNSKEY Missing", "dns-dnssec"),
    ("dns", "DNS problem: query timed out looking up CAA for x.example", "dns-timeout"),
    ("dns", "no valid A records found for x.example; no valid AAAA records found for x.example", "dns-no-address"),
    ("dns", "No valid IP addresses found for x.example", "dns-no-address"),
    ("dns", "something new", "dns"),
    ("caa", "CAA record for x.example prevents issuance", "caa-forbids"),
    ("caa", "", "caa-forbids"),
    (
        "connection",
        "192.0.2.1: Fetching http://x/: Timeout during connect (likely firewall problem)",
        "connection-timeout",
    ),
    ("connection", "192.0.2.1: Fetching http://x/: Connection refused", "connection-refused"),
    ("connection", "192.0.2.1: Fetching http://x/: Connection reset by peer", "connection-reset"),
    ("connection", "192.0.2.1: Fetching http://x/: Error getting validation data", "connection-reset"),
    ("connection", "192.0.2.1: Timeout after connect (your server may be slow or overloaded)", "connection-slow"),
    ("connection", 'Get "http://x/": dial tcp 192.0.2.1:80: connect: no route to host', "connection-unroutable"),
    ("connection", "lookup x.example on 127.0.0.1:53: no such host", "dns-nxdomain"),
    ("connection", "something new", "connection"),
    ("unauthorized", "192.0.2.1: Invalid response from http://x/.well-known/acme-challenge/t: 404", "wrong-answer"),
    ("unauthorized", "Non-200 status code from HTTP: http://x/ returned 404", "wrong-answer"),
    ("unauthorized", "The key authorization file from the server did not match this challenge", "wrong-answer"),
    ("unauthorized", "Incorrect validation certificate for tls-alpn-01 challenge.", "wrong-answer"),
    ("unauthorized", 'Cannot negotiate ALPN protocol "acme-tls/1" for tls-alpn-01 challenge', "wrong-alpn"),
    ("unauthorized", "Failed to connect to 127.0.0.1:443 for the tls-alpn-01 challenge", "connection"),
    ("unauthorized", "something new", "unauthorized"),
    ("tls", "192.0.2.1: remote error: tls: no application protocol", "wrong-alpn"),
    ("tls", "remote error: tls: handshake failure", "tls"),
    ("incorrectResponse", "", "wrong-answer"),
    ("rejectedIdentifier", "the domain name is forbidden by policy", "name-refused"),
    ("rejectedIdentifier", "Domain name does not end with a valid public suffix (TLD)", "name-refused"),
    ("unsupportedIdentifier", "", "name-refused"),
    ("badCSR", "weak", "key-refused"),
    ("malformed", "", "malformed"),
    ("serverInternal", "down", "ca-failing"),
    ("badNonce", "", "ca-failing"),
    ("userActionRequired", "terms changed", "account"),
    ("accountDoesNotExist", "", "account"),
    ("rateLimited", 'too many failed authorizations (5) for "x.example" in the last 1h0m0s', "rate-limited-name"),
    ("rateLimited", 'too many certificates (50) already issued for "example.com" in 168h0m0s', "rate-limited-domain"),
    ("rateLimited", "too many new orders (300) from this account", "rate-limited-account"),
    ("rateLimited", "Service busy; retry later.", "rate-limited-ca"),
    ("rateLimited", "Your account is temporarily prevented from requesting certificates for x.example", "paused"),
    ("orderNotReady", "", "refused"),
]


@pytest.mark.parametrize(("type_", "detail", "code"), SAID)
def test_what_cas_say_has_a_name(type_: str, detail: str, code: str) -> None:
    """
    Their words tell more than the type does.
    """
    problem = with_concern(AcmeProblem(400, type_, detail), wall_time())
    assert code == diagnose(IssuanceFailed(problem)).code


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


def test_findings_that_explain_a_failure_go_first() -> None:
    """
    Others only stand beside it.
    """
    failure = diagnose(AcmeProblem(400, "connection", "Connection refused"))
    hint = Finding(Diagnosis("dns-slow", Who.CUSTOMER, "slow", "hurry"), is_fatal=False)
    assert failure == joined(failure, [])
    beside = joined(failure, [hint])
    assert ("connection-refused", True) == (beside.code, beside.cause.endswith("; slow"))
    first = joined(failure, [hint, FINDING])
    assert ("dns-elsewhere", Who.CUSTOMER, True) == (
        first.code,
        first.who,
        first.cause.startswith("it leads elsewhere"),
    )


def test_what_is_no_error_has_a_meaning_too() -> None:
    """
    A wait, a failure that an older sptls stored, a certificate of the operator's own.
    """
    assert ("waiting", Who.CA_LIMITS, "until then") == (
        waiting("until then").code,
        waiting("until then").who,
        waiting("until then").cause,
    )
    assert "refused" == unnamed("refused").cause
    assert ("own-certificate", Who.OPERATOR) == (of_own("expired").code, of_own("expired").who)


TEXTS = st.text(max_size=30) | st.sampled_from([detail for _, detail, _ in SAID])
TYPES = st.text(max_size=12) | st.sampled_from([type_ for type_, _, _ in SAID])
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


@given(ERRORS | ERRORS.map(wrapped), TEXTS)
def test_every_failure_has_a_name_and_words(error: BaseException, words: str) -> None:
    """
    Never an exception, never an empty word, never one without an end.
    """
    for found in (diagnose(error), waiting(words), unnamed(words), of_own(words), joined(diagnose(error), [FINDING])):
        assert all(
            text.strip() and len(text) < 1000 for text in (found.code, found.cause, found.advice, found.who.words)
        )
