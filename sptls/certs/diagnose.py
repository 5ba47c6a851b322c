"""
What an error means: any error at all, of a CA's or of ours. Pure.

`diagnose` judges it by its class, several challenge types that failed by the one that tells most, and a problem
document (RFC 8555 §6.7) by `refusal_words` and its subproblems. Decides no moment and no retry: `schedule` does.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs.diagnosis import Diagnosis, Who, cut, joined, once
from sptls.certs.refusal_words import OF_THE_ACCOUNT, REFUSED, ca_failing, meaning
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
    StoreError,
    ValidationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.certs.diagnosis import Finding

_UNREACHABLE: Final = Diagnosis(
    "unreachable",
    Who.CA,
    "the CA could not be reached",
    "wait: it is tried again; if it lasts, look at this host's network, DNS and firewall, and at the CA's status page",
)
_UNTRUSTED: Final = Diagnosis(
    "ca-untrusted",
    Who.HOST,
    "the CA's own HTTPS certificate can't be verified here",
    "let acme.trust name a file with its root; for a public CA, mend this host's roots (ca-certificates) or its clock",
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
            return attrs.evolve(OF_THE_ACCOUNT, advice=cut(error.action) or OF_THE_ACCOUNT.advice)
        case AcmeProblem():
            return _of_problem(error)
        case AcmeUnreachable():
            return _of_outage(error)
        case PrecheckFailed():
            return _of_findings(error.findings)
        case _:
            return _of_ours(error)


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
    cause = once(f"{kind}: {one.cause}" for kind, one in found)
    return attrs.evolve(first, cause=cut(cause), advice=cut(once(one.advice for _, one in found)))


def _of_problem(problem: AcmeProblem) -> Diagnosis:
    found = meaning(problem)
    if found is not None:
        return _located(found, problem.detail)
    # The problem itself only says that there are some (RFC 8555 §6.7.1).
    inner = [_of_problem(one) for one in problem.subproblems]
    return next((one for one in inner if one is not REFUSED), REFUSED)


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
        return ca_failing()
    if "acme.trust" in error.reason:
        return _UNTRUSTED
    return attrs.evolve(_UNREACHABLE, who=Who.HOST) if _AT_HOME.search(error.reason) else _UNREACHABLE


def _of_ours(error: BaseException) -> Diagnosis:
    """
    Give what an error means that no CA's refusal is.
    """
    match error:
        case ConfigError():
            advice = cut("; ".join(map(str, error.faults)))
            cause = "the CA does not go with the configuration"
            return Diagnosis("configuration", Who.OPERATOR, cause, advice or "correct the configuration")
        case StoreError():
            return Diagnosis("store", Who.HOST, "the store can't be used", cut(error.reason) or "look at the disk")
        case DeployError():
            cause = f"{error.path} can't be put in place: {error.reason}"
            return Diagnosis("deploy", Who.HOST, cut(cause), cut(error.advice) or "look at the disk")
        case BadCertificate():
            cause = f"the CA sent a certificate that must not be used: {error.reason}"
            return Diagnosis("bad-certificate", Who.CA, cut(cause), "tell the CA, if it goes on")
        case OrderCancelled():
            return Diagnosis("cancelled", Who.HOST, "the order was given up here before it began", "wait")
        case AcmeError():
            return Diagnosis("protocol", Who.CA, cut(f"{error}"), "check acme.directory; tell the CA, if it goes on")
        case TimeoutError():
            return Diagnosis("timeout", Who.CA, "the CA did not finish the order in time", "wait: it is tried again")
        case OSError():
            cause = f"this host's system refuses something ({type(error).__name__})"
            return Diagnosis("system", Who.HOST, cause, "look at the log, which has the traceback")
        case _:
            return _UNEXPECTED
