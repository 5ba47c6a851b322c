"""
What a CA's problem document means, by its words and by its type (RFC 8555 §6.7). Pure.

The words are those of Let's Encrypt's Boulder and of Pebble, which tell more than the type does; where they are not
known the type says what it can. Decides nothing about several problems at once: `diagnose` does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs.diagnosis import WAIT, Diagnosis, Who
from sptls.errors import AcmeProblem, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class _Words:
    """
    What the CA's *words* in a problem document of one of *types* (none: of any) mean.
    """

    types: frozenset[str]
    words: re.Pattern[str]
    diagnosis: Diagnosis


def _words(types: str, words: str, code: str, who: Who, cause: str, advice: str) -> _Words:
    return _Words(frozenset(types.split()), re.compile(words, re.IGNORECASE), Diagnosis(code, who, cause, advice))


_POINT_HERE: Final = "point the name's A and AAAA records, every one of them, at this proxy"
_OPEN: Final = "check that the name's DNS leads to this host, and open ports 80 and 443 to the whole internet here"

# The first that fits. Boulder's va/ and bdns/, Pebble's va/va.go; Go's network errors are in both.
_BY_WORDS: Final = (
    _words(
        "",
        r"CAA record|prevents issuance",
        "caa-forbids",
        Who.CUSTOMER,
        "a CAA record in the DNS forbids this CA to issue for the name",
        "let the CAA records of the name (or of the nearest domain above it that has some) allow this CA",
    ),
    _words(
        "",
        r"NXDOMAIN|no such host",
        "dns-nxdomain",
        Who.CUSTOMER,
        "the name does not exist in the DNS",
        "create the name's CNAME, or its A and AAAA records, so that it leads to this proxy",
    ),
    _words(
        "",
        r"DNSSEC|bogus",
        "dns-dnssec",
        Who.CUSTOMER,
        "the DNSSEC signatures of the name's zone do not validate",
        "mend the zone's signatures or the DS record at its parent, or remove the DS record",
    ),
    _words(
        "",
        r"SERVFAIL|server misbehaving|nameservers may be malfunctioning",
        "dns-servfail",
        Who.CUSTOMER,
        "the DNS servers of the name's zone fail",
        "have the zone's DNS servers, its delegation and its DNSSEC signatures looked at",
    ),
    _words(
        "",
        r"timed? ?out looking up|lookup .*(?:timed? ?out|timeout)",
        "dns-timeout",
        Who.CUSTOMER,
        "the DNS servers of the name's zone do not answer the CA",
        "have the zone's DNS servers looked at: they must answer everywhere, over UDP and TCP",
    ),
    _words(
        "",
        r"no valid (?:A |AAAA |IP )",
        "dns-no-address",
        Who.CUSTOMER,
        "the name has no address in the DNS",
        "create the name's A and AAAA records (or a CNAME), so that it leads to this proxy",
    ),
    _words(
        "connection tls unauthorized",
        r"connection refused",
        "connection-refused",
        Who.HOST,
        "the CA's connections to the name are refused: no server listens at its address",
        _OPEN,
    ),
    _words(
        "connection tls unauthorized",
        r"during connect|dial tcp .*timeout|connect.* timed out",
        "connection-timeout",
        Who.HOST,
        "the CA gets no connection to the name: a firewall drops it, or no host has its address",
        _OPEN,
    ),
    _words(
        "connection tls unauthorized",
        r"no route to host|(?:network|host) is? ?unreachable",
        "connection-unroutable",
        Who.CUSTOMER,
        "no route leads to the name's address",
        _POINT_HERE,
    ),
    _words(
        "connection tls unauthorized",
        r"after connect|during read|awaiting headers|deadline exceeded|timeout",
        "connection-slow",
        Who.HOST,
        "the server at the name's address takes connections and answers too late",
        "check that the name's DNS leads to this host, and whether this host is overloaded",
    ),
    _words(
        "connection tls unauthorized",
        r"connection reset|\bEOF\b|broken pipe|error getting validation data",
        "connection-reset",
        Who.HOST,
        "the server at the name's address, or a firewall before it, breaks the CA's connections off",
        "check that the name's DNS leads to this host, and look for a firewall or a proxy before it",
    ),
    _words(
        "connection tls unauthorized malformed",
        r"ALPN protocol|acme-tls|tls: no application protocol|only speaks HTTP|HTTP response to HTTPS",
        "wrong-alpn",
        Who.CUSTOMER,
        "the server that answers on port 443 is not this proxy, or something before it ends TLS",
        f"{_POINT_HERE}; what is before it on port 443 must pass TLS through untouched",
    ),
    _words(
        "connection unauthorized malformed",
        r"invalid response|non-200|did not match this challenge|key authorization|validation certificate|redirect",
        "wrong-answer",
        Who.CUSTOMER,
        "another server than this proxy answered for the name",
        f"{_POINT_HERE}; what is before it must pass /.well-known/acme-challenge/ on",
    ),
    _words(
        "connection unauthorized",
        r"failed to connect to",
        "connection",
        Who.HOST,
        "the CA can't connect to the name's address",
        _OPEN,
    ),
    _words(
        "rejectedIdentifier",
        r"public suffix|valid TLD",
        "name-refused",
        Who.OPERATOR,
        "the CA gives no certificate for the name: it does not end in a domain that can be registered",
        "take the name out of the configuration, or correct it",
    ),
    _words(
        "rateLimited",
        r"temporarily prevented from requesting",
        "paused",
        Who.OPERATOR,
        "the CA has paused the name for our account, after failures for a long time",
        "have the name's DNS set right, then follow the link in the CA's words to end the pause",
    ),
)

# What a problem's type says where its words are not known.
_BY_TYPE: Final[Mapping[str, Diagnosis]] = {
    "dns": Diagnosis("dns", Who.CUSTOMER, "the CA can't look the name up in the DNS", "have the name's DNS looked at"),
    "caa": _BY_WORDS[0].diagnosis,
    "connection": Diagnosis("connection", Who.HOST, "the CA can't connect to the name's address", _OPEN),
    "tls": Diagnosis("tls", Who.CUSTOMER, "TLS with the server at the name's address fails", _POINT_HERE),
    "incorrectResponse": Diagnosis(
        "wrong-answer", Who.CUSTOMER, "another server than this proxy answered for the name", _POINT_HERE
    ),
    "unauthorized": Diagnosis(
        "unauthorized", Who.CUSTOMER, "the CA did not get this proxy's answer from the name's address", _POINT_HERE
    ),
    "malformed": Diagnosis(
        "malformed",
        Who.OPERATOR,
        "the CA could not make sense of our request",
        "check that the CA takes this name; if it does, report it as a fault of sptls, with the CA's words",
    ),
    "serverInternal": Diagnosis("ca-failing", Who.CA, "the CA fails at the moment", "wait: it is tried again"),
    "badNonce": Diagnosis("ca-failing", Who.CA, "the CA refuses every nonce, its own too", "wait: it is tried again"),
}
_OF_THE_NAME: Final = Diagnosis(
    "name-refused",
    Who.OPERATOR,
    "the CA's policy forbids a certificate for the name",
    "check the name's spelling; if it is right, use another CA for it (acme.directory) or ask this one why",
)
_OF_THE_KEY: Final = Diagnosis(
    "key-refused", Who.OPERATOR, "the CA refuses our key or its signature", "choose another acme.key_type"
)
OF_THE_ACCOUNT: Final = Diagnosis(
    "account",
    Who.OPERATOR,
    "the CA does not serve our account",
    "do what the CA's words ask for, then sptls issue NAME",
)
_GROUPS: Final = (
    (frozenset({"rejectedIdentifier", "unsupportedIdentifier"}), _OF_THE_NAME),
    (frozenset({"badCSR", "badPublicKey", "badSignatureAlgorithm"}), _OF_THE_KEY),
    (
        frozenset(
            {
                *("accountDoesNotExist", "externalAccountRequired", "invalidContact", "unsupportedContact"),
                *("userActionRequired", "invalidProfile"),
            }
        ),
        OF_THE_ACCOUNT,
    ),
)
REFUSED: Final = Diagnosis(
    "refused", Who.CA, "the CA refuses the order", "read the CA's words; it is tried again all the same"
)
_BY_SCOPE: Final[Mapping[Scope, Diagnosis]] = {
    scope: Diagnosis(f"rate-limited-{word}", Who.CA_LIMITS, f"the CA's limits {of} are used up", WAIT)
    for scope, word, of in (
        (Scope.NAME, "name", "for the name"),
        (Scope.REGISTERED_DOMAIN, "domain", "for the name's registered domain"),
        (Scope.ACCOUNT, "account", "for our account"),
        (Scope.CA, "ca", "for this host's address, or for everybody,"),
    )
}


def meaning(problem: AcmeProblem) -> Diagnosis | None:
    """
    Give what *problem* means without its subproblems; None where it says nothing itself.
    """
    return _by_words(problem) or _by_type(problem)


def ca_failing() -> Diagnosis:
    """
    Give what it means that a CA answers with a failure of its own.
    """
    return _BY_TYPE["serverInternal"]


def _by_words(problem: AcmeProblem) -> Diagnosis | None:
    # A CA that says "unauthorized" to an order means the account; its words are about no server.
    if problem.scope is Scope.ACCOUNT and problem.type != "rateLimited":
        return None
    for one in _BY_WORDS:
        if (not one.types or problem.type in one.types) and one.words.search(problem.detail):
            return one.diagnosis
    return None


def _by_type(problem: AcmeProblem) -> Diagnosis | None:
    if problem.type == "rateLimited":
        return _BY_SCOPE[problem.scope]
    if problem.scope is Scope.ACCOUNT:
        return OF_THE_ACCOUNT
    for types, diagnosis in _GROUPS:
        if problem.type in types:
            # A refusal of several identifiers says of each what is wrong.
            return diagnosis
    if problem.subproblems:
        return None
    return _BY_TYPE.get(problem.type)
