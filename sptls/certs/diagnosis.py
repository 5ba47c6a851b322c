"""
What a failure means: its cause in plain words, who must act, and what to do. Pure.

`diagnose` judges any error by its type, by the type of a problem document (RFC 8555 §6.7) and its subproblems, and by
the words in which Let's Encrypt's Boulder and Pebble say what happened. `joined` adds what a look at the name's DNS
found. Decides no moment and no retry: `schedule` does.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from typing import TYPE_CHECKING, Final

import attrs

from sptls.errors import (
    AcmeError,
    AcmeProblem,
    AcmeUnreachable,
    ActionRequired,
    BadCertificate,
    ConfigError,
    DeployError,
    IssuanceFailed,
    OrderCancelled,
    PrecheckFailed,
    Scope,
    StoreError,
    ValidationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A CA's problem documents can be long, and so can what is put together of many; this much of each text is kept.
_MOST_CHARACTERS: Final = 600


class Who(Enum):
    """
    Who must act so that the next attempt succeeds.
    """

    CUSTOMER = "customer-dns"
    CA_LIMITS = "ca-limits"
    HOST = "host"
    CA = "ca"
    OPERATOR = "operator"

    @property
    def words(self) -> str:
        """
        Name them as people do.
        """
        return _WHO_WORDS[self]


_WHO_WORDS: Final[Mapping[Who, str]] = {
    Who.CUSTOMER: "the customer (DNS)",
    Who.CA_LIMITS: "nobody, the CA's limits must refill",
    Who.HOST: "whoever runs this host",
    Who.CA: "the CA",
    Who.OPERATOR: "the operator of sptls",
}


@attrs.frozen
class Diagnosis:
    """
    What is wrong: a stable *code* for programs, the *cause* in plain words, *who* must act, and what to do (*advice*).
    """

    code: str
    who: Who
    cause: str
    advice: str


@attrs.frozen
class Finding:
    """
    What a look at the name from here found; *is_fatal* where no validation can succeed before it is mended.
    """

    diagnosis: Diagnosis
    is_fatal: bool


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
_WAIT: Final = "nothing needs to be done: it is tried again when they allow it"
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
_OF_THE_ACCOUNT: Final = Diagnosis(
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
        _OF_THE_ACCOUNT,
    ),
)
_REFUSED: Final = Diagnosis(
    "refused", Who.CA, "the CA refuses the order", "read the CA's words; it is tried again all the same"
)
_BY_SCOPE: Final[Mapping[Scope, Diagnosis]] = {
    scope: Diagnosis(f"rate-limited-{word}", Who.CA_LIMITS, f"the CA's limits {of} are used up", _WAIT)
    for scope, word, of in (
        (Scope.NAME, "name", "for the name"),
        (Scope.REGISTERED_DOMAIN, "domain", "for the name's registered domain"),
        (Scope.ACCOUNT, "account", "for our account"),
        (Scope.CA, "ca", "for this host's address, or for everybody,"),
    )
}

_UNREACHABLE: Final = Diagnosis(
    "unreachable",
    Who.CA,
    "the CA could not be reached",
    "wait: it is tried again; if it lasts, look at this host's network, DNS and firewall, and at the CA's status page",
)
# What stands between us and any CA, as Twisted and OpenSSL word it.
_AT_HOME: Final = re.compile(r"DNS lookup|no route|network is unreachable|too many open files|certificate", re.I)
_UNEXPECTED: Final = Diagnosis(
    "unexpected",
    Who.OPERATOR,
    "something went wrong in sptls that it does not know",
    "report it as a fault of sptls, with the traceback in the log; it is tried again all the same",
)
_NO_CHALLENGE: Final = Diagnosis(
    "no-challenge",
    Who.OPERATOR,
    "the CA offers no challenge type for the name that is configured",
    "let acme.challenges name one that the CA offers, or leave it out",
)
# A certificate of our own making that can't be served.
UNSERVABLE: Final = Diagnosis(
    "damaged",
    Who.OPERATOR,
    "the certificate that came can't be served",
    "report it as a fault of sptls, with the log; another one is ordered",
)
# The names whose DNS is at fault fail alike by each challenge type, and that says more than what else failed.
_MOST_TELLING: Final = ("caa-forbids", "dns")
# What says no more than the problem's type; another challenge type may have failed with a reason.
_VAGUE: Final = frozenset({"connection", "unauthorized", "tls", "refused"})
_SECONDARY: Final = "During secondary validation: "


def diagnose(error: BaseException) -> Diagnosis:
    """
    Give what *error* means. Whatever it is, there is an answer, and no word of it is empty.
    """
    match error:
        case IssuanceFailed():
            return diagnose(error.cause)
        case ValidationFailed():
            return _of_challenges(error.failures)
        case ActionRequired():
            return attrs.evolve(_OF_THE_ACCOUNT, advice=_cut(error.action) or _OF_THE_ACCOUNT.advice)
        case AcmeProblem():
            return _of_problem(error)
        case AcmeUnreachable():
            return _of_outage(error)
        case PrecheckFailed():
            return _of_findings(error.findings)
        case _:
            return _of_ours(error)


def waiting(because: str) -> Diagnosis:
    """
    Give what it means that a name waits with no failure of its own, *because* the CA's limits or its outage ask for it.
    """
    return Diagnosis("waiting", Who.CA_LIMITS, _cut(because) or "the CA's limits allow no order yet", _WAIT)


def of_own(words: str) -> Diagnosis:
    """
    Give what it means that a certificate which the operator brings has the faults that *words* tell.
    """
    advice = "put a certificate and its key that fit the name into the files; they are taken up by themselves"
    return Diagnosis("own-certificate", Who.OPERATOR, _cut(words) or "its files can't be used", advice)


def unnamed(words: str) -> Diagnosis:
    """
    Give what can be said of a failure of which only the *words* were stored, by an older sptls.
    """
    return Diagnosis("unknown", Who.OPERATOR, _cut(words) or "no cause was stored", "wait for the next attempt")


def joined(diagnosis: Diagnosis, findings: Sequence[Finding]) -> Diagnosis:
    """
    Give *diagnosis* with what a look from here found beside it; what explains the failure comes first.
    """
    fatal = [finding.diagnosis for finding in findings if finding.is_fatal]
    first = fatal[0] if fatal else diagnosis
    every = (*fatal, diagnosis, *(finding.diagnosis for finding in findings if not finding.is_fatal))
    return Diagnosis(
        first.code, first.who, _cut(_once(one.cause for one in every)), _cut(_once(one.advice for one in every))
    )


def _of_findings(findings: Sequence[Finding]) -> Diagnosis:
    return joined(findings[0].diagnosis, findings[1:]) if findings else _UNEXPECTED


def _of_challenges(failures: Sequence[tuple[str, AcmeProblem]]) -> Diagnosis:
    """
    Give what the failures of every challenge type tried mean together.
    """
    found = [(kind, _of_problem(problem)) for kind, problem in failures]
    if not found:
        return _NO_CHALLENGE
    for telling in _MOST_TELLING:
        for _, one in found:
            if one.code.startswith(telling):
                return one
    first = next((one for _, one in found if one.code not in _VAGUE), found[0][1])
    if all(one == first for _, one in found):
        return first
    cause = _once(f"{kind}: {one.cause}" for kind, one in found)
    return attrs.evolve(first, cause=_cut(cause), advice=_cut(_once(one.advice for _, one in found)))


def _of_problem(problem: AcmeProblem) -> Diagnosis:
    found = _by_words(problem) or _by_type(problem)
    if found is not None:
        return _located(found, problem.detail)
    # The problem itself only says that there are some (RFC 8555 §6.7.1).
    inner = [_of_problem(one) for one in problem.subproblems]
    return next((one for one in inner if one is not _REFUSED), _REFUSED)


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
        return _OF_THE_ACCOUNT
    for types, diagnosis in _GROUPS:
        if problem.type in types:
            # A refusal of several identifiers says of each what is wrong.
            return diagnosis
    if problem.subproblems:
        return None
    return _BY_TYPE.get(problem.type)


def _located(diagnosis: Diagnosis, detail: str) -> Diagnosis:
    """
    Add where the CA was when it happened: at which address, or at a part of its vantage points only.
    """
    is_secondary = detail.startswith(_SECONDARY)
    address = _address(detail.removeprefix(_SECONDARY))
    cause, advice = diagnosis.cause, diagnosis.advice
    if address:
        cause += f" ({address})"
    if ":" in address:
        advice += "; or remove the name's AAAA record, if that is not an address of this proxy"
    if is_secondary:
        cause += ", as seen from some of the CA's vantage points only"
        advice += "; no firewall or DNS server may treat parts of the world differently"
    return attrs.evolve(diagnosis, cause=cause, advice=advice)


def _address(detail: str) -> str:
    """
    Give the IP address with which Boulder begins what it says of a connection, or "".
    """
    text = detail.partition(": ")[0]
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return ""


def _of_outage(error: AcmeUnreachable) -> Diagnosis:
    if error.reason.startswith("it answered"):
        return _BY_TYPE["serverInternal"]
    return attrs.evolve(_UNREACHABLE, who=Who.HOST) if _AT_HOME.search(error.reason) else _UNREACHABLE


def _of_ours(error: BaseException) -> Diagnosis:
    """
    Give what an error means that no CA's refusal is.
    """
    match error:
        case ConfigError():
            advice = _cut("; ".join(map(str, error.faults)))
            cause = "the CA does not go with the configuration"
            return Diagnosis("configuration", Who.OPERATOR, cause, advice or "correct the configuration")
        case StoreError():
            return Diagnosis("store", Who.HOST, "the store can't be used", _cut(error.reason) or "look at the disk")
        case DeployError():
            cause = f"{error.path} can't be put in place: {error.reason}"
            return Diagnosis("deploy", Who.HOST, _cut(cause), _cut(error.advice) or "look at the disk")
        case BadCertificate():
            cause = f"the CA sent a certificate that must not be used: {error.reason}"
            return Diagnosis("bad-certificate", Who.CA, _cut(cause), "tell the CA, if it goes on")
        case OrderCancelled():
            return Diagnosis("cancelled", Who.HOST, "the order was given up here before it began", "wait")
        case AcmeError():
            return Diagnosis("protocol", Who.CA, _cut(f"{error}"), "check acme.directory; tell the CA, if it goes on")
        case TimeoutError():
            return Diagnosis("timeout", Who.CA, "the CA did not finish the order in time", "wait: it is tried again")
        case OSError():
            cause = f"this host's system refuses something ({type(error).__name__})"
            return Diagnosis("system", Who.HOST, cause, "look at the log, which has the traceback")
        case _:
            return _UNEXPECTED


def _once(texts: Iterable[str]) -> str:
    """
    Join *texts*, each of them once.
    """
    return "; ".join(dict.fromkeys(texts))


def _cut(text: str) -> str:
    return text.strip()[:_MOST_CHARACTERS]
