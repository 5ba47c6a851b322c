"""
Tests for `sptls.certs.refusal_words`.
"""

from __future__ import annotations

import pytest

from sptls.acme.concern import with_concern
from sptls.certs.refusal_words import REFUSED, ca_failing, meaning
from sptls.clock import wall_time
from sptls.errors import AcmeProblem, Concern, Scope

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
    assert code == (meaning(problem) or REFUSED).code


def test_what_the_account_is_refused_is_about_no_server() -> None:
    """
    Whatever words the CA has for it.
    """
    problem = AcmeProblem(401, "unauthorized", "Connection refused", concern=Concern(Scope.ACCOUNT))
    assert "account" == getattr(meaning(problem), "code", "")


def test_problem_of_several_says_nothing_itself() -> None:
    """
    RFC 8555 §6.7.1: its subproblems do; and a CA that fails is one that says so.
    """
    inner = AcmeProblem(0, "caa")
    assert None is meaning(AcmeProblem(403, "malformed", subproblems=(inner,)))
    assert ca_failing() == meaning(AcmeProblem(500, "serverInternal"))
