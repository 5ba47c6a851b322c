"""
Refusals that a person must act on: which key of the configuration is wrong, or what to do at the CA. Pure.

Decides what an operator sees of a problem document (RFC 8555 §6.7) that is about the account or the configuration;
what is about a name stays as the CA said it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.errors import AcmeProblem, ActionRequired, ConfigError, Fault, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sptls.errors import SptlsError

# What is said of an external account that is not configured, before the CA is asked and by its refusal.
EXTERNAL_ACCOUNT_WANTED = Fault(
    "acme.eab", "this CA wants an external account: set kid and hmac_key_file to what it gave you"
)
_DEACTIVATED = (
    "it was deactivated or blocked there, so ask the CA; a new account is registered when this one is no longer in the "
    "store (table account)"
)


def profile_fault(profile: str, profiles: Iterable[str]) -> Fault | None:
    """
    Say what is wrong with ordering *profile* where the CA offers *profiles*; None when nothing is.
    """
    offered = sorted(profiles)
    if not profile or profile in offered:
        return None
    return Fault("acme.profile", f"{profile!r} is no profile of this CA's; {_offer(offered)}")


def explained(error: SptlsError, *, has_external_account: bool, profile: str, profiles: Iterable[str]) -> SptlsError:
    """
    Give *error* as the operator should see it; those that nobody here can do anything about as they are.
    """
    if not isinstance(error, AcmeProblem):
        return error
    said = error.detail or error.type
    match error.type:
        case "userActionRequired":
            return ActionRequired(error, _reading(error))
        case "invalidProfile":
            others = sorted(set(profiles) - {profile})
            return _config("acme.profile", f"the CA refuses {profile!r}: {said}; {_offer(others)}")
        case "invalidContact" | "unsupportedContact":
            return _config("acme.contact", f"the CA refuses it: {said}")
        case "externalAccountRequired" if not has_external_account:
            return ConfigError((EXTERNAL_ACCOUNT_WANTED,))
        case "externalAccountRequired" | "unauthorized" if has_external_account and error.operation == "newAccount":
            message = (
                f"the CA refuses this external account: {said}; compare kid and hmac_key_file with what it gave you"
            )
            return _config("acme.eab", message)
        case "unauthorized" if error.scope is Scope.ACCOUNT:
            return ActionRequired(error, _DEACTIVATED)
        case _:
            return error


def _config(place: str, message: str) -> ConfigError:
    return ConfigError((Fault(place, message),))


def _offer(profiles: list[str]) -> str:
    if not profiles:
        return "it offers none to choose from, so leave acme.profile out"
    return f"it offers {', '.join(profiles)}; leave acme.profile out for the CA's own choice"


def _reading(problem: AcmeProblem) -> str:
    """
    Say what to read and where to agree (§7.3.3: the terms in a Link, the place to go to as the problem's instance).
    """
    terms, instance = problem.links.get("terms-of-service"), problem.links.get("instance")
    if terms and instance:
        return f"read its new terms of service, {terms}, and agree to them at {instance}"
    if terms:
        return f"read its new terms of service, {terms}, and agree to them as it says there"
    return f"do what it asks at {instance}" if instance else "ask the CA what to do"
