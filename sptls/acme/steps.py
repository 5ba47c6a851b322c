"""
What comes next of an order or an authorization, from what the CA said of it (RFC 8555 §7.1.6, as tables).

Decides the next step, which challenge is tried, whether another type is worth a new order, and which of several
chains is taken. Asks nobody; a new order's steps are `issue`'s to carry out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

from sptls.certs.pem import UNREADABLE
from sptls.errors import AcmeProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sptls.acme.messages import Authorization, Challenge, Order


@attrs.frozen
class Authorize:
    """
    The order is pending: each of these authorizations must become valid.
    """

    authorizations: tuple[str, ...]


@attrs.frozen
class Finalize:
    """
    The order is ready: hand in the CSR.
    """


@attrs.frozen
class Wait:
    """
    The CA is at work: ask again, after *retry_after_seconds* if it said so.
    """

    retry_after_seconds: float | None = None


@attrs.frozen
class Download:
    """
    The order is valid: the certificate is at *url*.
    """

    url: str


@attrs.frozen
class Refused:
    """
    The order or authorization came to its end without success, because of *problem*.
    """

    problem: AcmeProblem


@attrs.frozen
class Respond:
    """
    The authorization is pending: one of these challenges must be answered.
    """

    challenges: tuple[Challenge, ...]


@attrs.frozen
class Authorized:
    """
    The authorization is valid.
    """


OrderStep = Authorize | Finalize | Wait | Download | Refused
AuthorizationStep = Respond | Wait | Authorized | Refused

# Faults of the name or of its DNS: every challenge type meets them, and a second failed authorization is wasted
# (Let's Encrypt allows five an hour).
_SAME_FOR_EVERY_TYPE = frozenset({"caa", "dns", "rejectedIdentifier", "unsupportedIdentifier"})


def _pending(authorization: Authorization) -> AuthorizationStep:
    """
    Pending with a challenge that was answered, by us before a lost answer or a restart, is the CA's turn.
    """
    if any(challenge.status in ("processing", "valid") for challenge in authorization.challenges):
        return Wait(authorization.retry_after_seconds)
    return Respond(tuple(challenge for challenge in authorization.challenges if challenge.status == "pending"))


def _validation_problem(authorization: Authorization) -> AcmeProblem:
    errors = (challenge.error for challenge in authorization.challenges if challenge.error)
    return next(errors, None) or _unexplained("the authorization is invalid")


def _unexplained(detail: str) -> AcmeProblem:
    return AcmeProblem(0, "unauthorized", f"{detail}; the CA gave no reason")


_ORDER_STEPS: dict[str, Callable[[Order], OrderStep]] = {
    "pending": lambda order: Authorize(order.authorizations),
    "ready": lambda _: Finalize(),
    "processing": lambda order: Wait(order.retry_after_seconds),
    "valid": lambda order: Download(order.certificate),
    "invalid": lambda order: Refused(order.error or _unexplained("the order is invalid")),
}

_AUTHORIZATION_STEPS: dict[str, Callable[[Authorization], AuthorizationStep]] = {
    "pending": _pending,
    "valid": lambda _: Authorized(),
    "invalid": lambda authorization: Refused(_validation_problem(authorization)),
    "deactivated": lambda _: Refused(_unexplained("the authorization was deactivated")),
    "expired": lambda _: Refused(_unexplained("the authorization expired")),
    "revoked": lambda _: Refused(_unexplained("the authorization was revoked")),
}


def next_of_order(order: Order) -> OrderStep:
    """
    Tell what to do next about *order*.
    """
    return _ORDER_STEPS[order.status](order)


def next_of_authorization(authorization: Authorization) -> AuthorizationStep:
    """
    Tell what to do next about *authorization*.
    """
    return _AUTHORIZATION_STEPS[authorization.status](authorization)


def choose_challenge(challenges: Sequence[Challenge], types: Sequence[str]) -> Challenge | None:
    """
    Give the challenge of the first of *types* that is offered, or None.
    """
    by_type = {challenge.type: challenge for challenge in reversed(challenges)}
    return next((by_type[kind] for kind in types if kind in by_type), None)


def being_validated(challenges: Sequence[Challenge], types: Sequence[str]) -> Challenge | None:
    """
    Give the challenge, of one of *types*, that the CA is validating, or None.
    """
    return choose_challenge([challenge for challenge in challenges if challenge.status == "processing"], types)


def failed_type(authorization: Authorization) -> str:
    """
    Give the type of the challenge that an authorization failed by, "" when the CA does not tell.
    """
    failed = (challenge.type for challenge in authorization.challenges if challenge.status == "invalid")
    return next(failed, "")


def refuses_replacement(problem: AcmeProblem) -> bool:
    """
    Tell whether an order that named the certificate it replaces may be refused for that, and taken without.

    A certificate is replaced once (RFC 9773 §5); one of another account's (imported, or of an account that was lost)
    can't be. A CA has several words for the latter, and asking once more costs nothing.
    """
    return problem.type in ("alreadyReplaced", "malformed", "unauthorized") or problem.status in (404, 409)


def worth_another_type(problem: AcmeProblem) -> bool:
    """
    Tell whether a challenge of another type can succeed where one failed with *problem*.
    """
    return problem.type not in _SAME_FOR_EVERY_TYPE


def has_root(chain_pem: bytes, common_name: str) -> bool:
    """
    Tell whether the last certificate of *chain_pem* was issued by *common_name*; false for what is no chain.
    """
    try:
        issuer = x509.load_pem_x509_certificates(chain_pem)[-1].issuer
    except UNREADABLE:
        return False
    return any(name.value == common_name for name in issuer.get_attributes_for_oid(NameOID.COMMON_NAME))
