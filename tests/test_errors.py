"""
Every error carries its facts and says its sentence, and is caught under the name of who can fix it.
"""

from __future__ import annotations

import copy
import inspect

import pytest

from sptls import errors
from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.errors import (
    AcmeError,
    AcmeProblem,
    AcmeProtocolError,
    AcmeUnreachable,
    ActionRequired,
    BadCertificate,
    Concern,
    ConfigError,
    ControlError,
    DaemonNotRunning,
    DeployError,
    Fault,
    InvalidHostName,
    IssuanceFailed,
    MalformedBody,
    MalformedMessage,
    NotRevocable,
    OrderCancelled,
    PrecheckFailed,
    Scope,
    SptlsError,
    StartError,
    StoreError,
    UpstreamError,
    ValidationFailed,
)

DNS_PROBLEM = AcmeProblem(400, "dns", "no A record for click.example.com", identifier="click.example.com")
ALL = [
    (ConfigError((Fault("workers", "must be 1"), Fault("", "empty"))), "workers: must be 1\nempty"),
    (StartError("port 443 is taken"), "port 443 is taken"),
    (InvalidHostName("a\nb", "odd"), "'a\\nb' is not a host name: odd"),
    (AcmeProblem(429, "rateLimited"), "the CA refused with rateLimited: no detail given"),
    (
        AcmeProblem(400, "compound", "two names", subproblems=(DNS_PROBLEM,)),
        "the CA refused with compound: two names; "
        "the CA refused with dns (click.example.com): no A record for click.example.com",
    ),
    (
        ActionRequired(AcmeProblem(403, "userActionRequired", "new terms"), "agree to them"),
        "the CA refuses our account: new terms; agree to them",
    ),
    (
        DeployError("/etc/tls/a/privkey.pem", "the disk is full", "free some space"),
        "/etc/tls/a/privkey.pem can't be put in place: the disk is full; free some space",
    ),
    (DaemonNotRunning("/var/lib/sptls"), "no sptls daemon is running with the state directory /var/lib/sptls"),
    (
        PrecheckFailed("a.example", (Finding(Diagnosis("x", Who.CUSTOMER, "no such name", "make it"), True),)),
        "a.example was not ordered, the CA could not validate it: no such name",
    ),
    (ControlError("it did not answer"), "the daemon can't be asked: it did not answer"),
    (NotRevocable("no list of revoked certificates"), "no list of revoked certificates"),
    (AcmeProtocolError("new-order", "no Location"), "the CA's answer to new-order breaks the protocol: no Location"),
    (AcmeUnreachable("directory", "refused"), "the CA could not be reached for directory: refused"),
    (
        ValidationFailed("click.example.com", (("http-01", DNS_PROBLEM), ("tls-alpn-01", AcmeProblem(403, "tls")))),
        "click.example.com failed validation (http-01: no A record for click.example.com; tls-alpn-01: tls)",
    ),
    (
        ValidationFailed("click.example.com", ()),
        "click.example.com can't be validated: the CA offered no challenge type that is configured",
    ),
    (IssuanceFailed(AcmeUnreachable("directory", "refused"), 2), "the CA could not be reached for directory: refused"),
    (OrderCancelled(), "the order was cancelled before it cost anything at the CA"),
    (BadCertificate("expired"), "expired"),
    (StoreError("/var/lib/sptls/store", "disk full"), "the store /var/lib/sptls/store can't be used: disk full"),
    (MalformedBody("bad chunk size"), "bad chunk size"),
    (MalformedMessage("2 bytes"), "a message between worker and parent is unusable: 2 bytes"),
    (UpstreamError(504, "no answer in 30 s"), "no answer in 30 s (answered 504)"),
]


@pytest.mark.parametrize(("error", "sentence"), ALL)
def test_an_error_says_what_happened(error: SptlsError, sentence: str) -> None:
    """
    The sentence is one that an operator can act on.
    """
    assert sentence == str(error)


@pytest.mark.parametrize("error", [error for error, _ in ALL])
def test_an_error_can_be_copied_with_its_facts(error: SptlsError) -> None:
    """
    Twisted copies exceptions when it passes them between threads and Deferreds.
    """
    twin = copy.copy(error)
    assert (vars(error), str(error)) == (vars(twin), str(twin))


def test_every_error_of_the_module_is_tested_here() -> None:
    """
    A new error class needs a line in the table above.
    """
    ours = {value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, SptlsError)}
    assert {SptlsError, AcmeError} == ours - {type(error) for error, _ in ALL}


def test_what_the_ca_asked_for_is_kept() -> None:
    """
    Every error of a CA has a delay, or None.
    """
    assert 60 == AcmeProblem(429, "rateLimited", retry_after_seconds=60).retry_after_seconds
    assert 5 == AcmeUnreachable("finalize", "503", retry_after_seconds=5).retry_after_seconds
    assert AcmeProtocolError("finalize", "not JSON").retry_after_seconds is None


def test_a_bad_name_is_a_value_error_too() -> None:
    """
    Whoever parses values needs one except clause.
    """
    assert isinstance(InvalidHostName("", "empty"), ValueError)


def test_what_an_attempt_cost_is_kept_beside_its_cause() -> None:
    """
    The renewer counts failed authorizations, whatever the cause was.
    """
    cause = ValidationFailed("click.example.com", (("http-01", DNS_PROBLEM),))
    failed = IssuanceFailed(cause, 1)
    assert (cause, 1) == (failed.cause, failed.failed_authorizations)
    assert 0 == IssuanceFailed(cause).failed_authorizations


def test_every_error_of_a_ca_tells_whom_it_stops() -> None:
    """
    What a refusal is about is told with it; what is no refusal meets everybody.
    """
    limited = AcmeProblem(429, "rateLimited", concern=Concern(Scope.REGISTERED_DOMAIN, "example.com"))
    assert (Scope.REGISTERED_DOMAIN, "example.com") == (limited.scope, limited.concern.subject)
    assert Scope.NAME is DNS_PROBLEM.scope
    assert Scope.NAME is ValidationFailed("click.example.com", ()).scope
    assert Scope.CA is AcmeUnreachable("directory", "refused").scope
    action = ActionRequired(AcmeProblem(429, "unauthorized", retry_after_seconds=9), "ask")
    assert (Scope.ACCOUNT, 9) == (action.scope, action.retry_after_seconds)
