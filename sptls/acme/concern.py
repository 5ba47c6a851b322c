"""
What a CA's refusal is about: the name, its registered domain, our account, or everybody at the CA.

Decides it from the problem's type, the operation that it came for, and, for rate limits (RFC 8555 §6.6), from the words
and the link to its documents that Let's Encrypt puts in. A limit that can't be told counts as what it may stop at that
operation: better a pause for all names than one refusal after the other.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sptls.acme.retry import LONGEST_RETRY_AFTER_SECONDS
from sptls.errors import AcmeProblem, Concern, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

# Boulder's ratelimits/limiter.go, wfe2 and errors.go; the first that fits. *subject* is what the limit names.
_WORDS: tuple[tuple[Scope, re.Pattern[str]], ...] = tuple(
    (scope, re.compile(words, re.IGNORECASE))
    for scope, words in (
        (Scope.NAME, r"exact set of (?:domains|identifiers|hostnames)"),
        (Scope.NAME, r'too many failed authorizations(?:[^"]*? for "(?P<subject>[^"]+)")?'),
        # An account is paused for the names that failed for months; the CA gives a URL to a person.
        (Scope.NAME, r"temporarily prevented from requesting certificates for (?P<subject>[a-z0-9.*-]*[a-z0-9])?"),
        (Scope.REGISTERED_DOMAIN, r'too many certificates .*already issued for:? "?(?P<subject>[a-z0-9.-]*[a-z0-9])'),
        (Scope.ACCOUNT, r"too many new orders|too many currently pending"),
        (Scope.CA, r"too many (?:new )?registrations|service busy|too many requests"),
    )
)
# The sections of its page on rate limits, which the detail or a link names.
_SECTIONS: tuple[tuple[Scope, str], ...] = (
    (Scope.NAME, "#new-certificates-per-exact-set"),
    (Scope.NAME, "authorization-failures-per-"),
    (Scope.REGISTERED_DOMAIN, "#new-certificates-per-registered-domain"),
    (Scope.ACCOUNT, "#new-orders-per-account"),
    (Scope.CA, "#new-registrations-per-"),
    (Scope.CA, "#overall-requests-limit"),
)
_RETRY_AFTER = re.compile(
    r"retry after (?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?: ?UTC| ?GMT|Z)", re.IGNORECASE
)
# What a limit of unknown kind may be about: orders are counted for each account, all else for each address.
_LIMIT_AT: Mapping[str, Scope] = {"newOrder": Scope.ACCOUNT, "finalize": Scope.ACCOUNT}

# Refusals that every order of this account meets alike.
_OF_THE_ACCOUNT = frozenset(
    {
        *("accountDoesNotExist", "externalAccountRequired", "invalidContact", "unsupportedContact"),
        *("userActionRequired", "invalidProfile"),
    }
)
# Where the CA says "unauthorized" it means the account; for a challenge it means that it saw a wrong answer.
_ACCOUNT_OPERATIONS = frozenset({"newAccount", "newOrder"})
# Of the CA itself, or of our requests to it: no name is to blame.
_OF_THE_CA = frozenset({"badNonce", "badSignatureAlgorithm", "serverInternal"})


def with_concern(problem: AcmeProblem, now: datetime) -> AcmeProblem:
    """
    Give *problem*, which was received at *now*, with what it is about.

    A delay that it has in words only, and no Retry-After, becomes its `retry_after_seconds`.
    """
    scope, subject = _about(problem)
    seconds = problem.retry_after_seconds
    if seconds is None and problem.type == "rateLimited":
        seconds = _seconds_in_words(problem.detail, now)
    retry_at = None if seconds is None else now + timedelta(seconds=seconds)
    return AcmeProblem(
        problem.status,
        problem.type,
        problem.detail,
        subproblems=problem.subproblems,
        identifier=problem.identifier,
        retry_after_seconds=seconds,
        operation=problem.operation,
        concern=Concern(scope, subject, retry_at),
        links=problem.links,
    )


def _about(problem: AcmeProblem) -> tuple[Scope, str]:
    if problem.type == "rateLimited":
        return _limited(problem)
    if problem.type in _OF_THE_ACCOUNT:
        return Scope.ACCOUNT, ""
    if problem.type == "unauthorized" and problem.operation in _ACCOUNT_OPERATIONS:
        return Scope.ACCOUNT, ""
    return (Scope.CA if problem.type in _OF_THE_CA else Scope.NAME), ""


def _limited(problem: AcmeProblem) -> tuple[Scope, str]:
    for scope, words in _WORDS:
        if (match := words.search(problem.detail)) is not None:
            return scope, (match.groupdict().get("subject") or "").lower()
    pointed_at = f"{problem.detail} {problem.links.get('help', '')}"
    for scope, section in _SECTIONS:
        if section in pointed_at:
            return scope, ""
    identifiers = {each.identifier for each in problem.subproblems if each.identifier}
    if len(identifiers) == 1:
        return Scope.NAME, identifiers.pop().lower()
    return _LIMIT_AT.get(problem.operation, Scope.CA), ""


def _seconds_in_words(detail: str, now: datetime) -> float | None:
    match = _RETRY_AFTER.search(detail)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time']}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)
