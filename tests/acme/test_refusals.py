from __future__ import annotations

import pytest

from sptls.acme import refusals
from sptls.errors import AcmeProblem, AcmeUnreachable, ActionRequired, Concern, ConfigError, Scope, SptlsError

TERMS = "https://ca.test/terms/2"
VISIT = "https://ca.test/agree"
OF_THE_ACCOUNT = Concern(Scope.ACCOUNT)


def explained(error: SptlsError, *, has_external_account: bool = False) -> SptlsError:
    """
    Explain *error* where "shortlived" is configured, and "classic" was offered beside it.
    """
    return refusals.explained(
        error, has_external_account=has_external_account, profile="shortlived", profiles=["shortlived", "classic"]
    )


def test_a_profile_that_is_offered_is_no_fault() -> None:
    """
    Neither is none at all, which is the CA's own choice.
    """
    assert refusals.profile_fault("shortlived", ["classic", "shortlived"]) is None
    assert refusals.profile_fault("", []) is None


def test_an_unknown_profile_is_told_with_the_known_ones() -> None:
    """
    The operator sees which key is wrong and what it may say.
    """
    fault = refusals.profile_fault("shortlife", ["tlsserver", "classic"])
    assert fault is not None
    assert (
        "acme.profile: 'shortlife' is no profile of this CA's; it offers classic, tlsserver; "
        "leave acme.profile out for the CA's own choice" == str(fault)
    )
    assert "none to choose from" in str(refusals.profile_fault("x", []))


def test_a_withdrawn_profile_is_the_operators_to_change() -> None:
    """
    What else there is to choose stands beside the CA's words.
    """
    cause = explained(AcmeProblem(400, "invalidProfile", "retired"))
    assert isinstance(cause, ConfigError)
    assert "acme.profile: the CA refuses 'shortlived': retired; it offers classic;" in str(cause)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (
            {"terms-of-service": TERMS, "instance": VISIT},
            f"read its new terms of service, {TERMS}, and agree to them at {VISIT}",
        ),
        ({"terms-of-service": TERMS}, f"read its new terms of service, {TERMS}, and agree to them as it says there"),
        ({"instance": VISIT}, f"do what it asks at {VISIT}"),
        ({}, "ask the CA what to do"),
    ],
)
def test_changed_terms_are_told_with_their_address(links: dict[str, str], expected: str) -> None:
    """
    A person must read and agree; the sentence says what and where (RFC 8555 §7.3.3).
    """
    problem = AcmeProblem(403, "userActionRequired", "new terms", links=links, concern=OF_THE_ACCOUNT)
    cause = explained(problem)
    assert isinstance(cause, ActionRequired)
    assert (expected, Scope.ACCOUNT) == (cause.action, cause.scope)
    assert "the CA refuses our account: new terms; " in str(cause)


def test_a_deactivated_account_is_told() -> None:
    """
    Nobody but a person can find out why, and nothing is registered in its place behind their back.
    """
    problem = AcmeProblem(401, "unauthorized", "account is deactivated", operation="newOrder", concern=OF_THE_ACCOUNT)
    cause = explained(problem)
    assert isinstance(cause, ActionRequired)
    assert "account is deactivated; it was deactivated or blocked there, so ask the CA" in str(cause)


@pytest.mark.parametrize("kind", ["unauthorized", "externalAccountRequired"])
def test_a_wrong_external_account_is_the_configurations(kind: str) -> None:
    """
    The key to look at is named.
    """
    problem = AcmeProblem(403, kind, "bad MAC", operation="newAccount", concern=OF_THE_ACCOUNT)
    cause = explained(problem, has_external_account=True)
    assert isinstance(cause, ConfigError)
    assert "acme.eab: the CA refuses this external account: bad MAC" in str(cause)


def test_a_missing_external_account_and_bad_contacts_are_the_configurations() -> None:
    """
    Also where the CA's directory did not say so before.
    """
    assert (refusals.EXTERNAL_ACCOUNT_WANTED,) == getattr(
        explained(AcmeProblem(403, "externalAccountRequired")), "faults", None
    )
    assert "acme.contact: the CA refuses it: no such host" == str(
        explained(AcmeProblem(400, "invalidContact", "no such host"))
    )


@pytest.mark.parametrize(
    "error",
    [
        AcmeProblem(403, "unauthorized", "wrong key authorization"),
        AcmeProblem(403, "rejectedIdentifier", "policy"),
        AcmeUnreachable("newOrder", "refused"),
    ],
)
def test_what_is_about_a_name_or_the_ca_stays(error: SptlsError) -> None:
    """
    Nothing is made of it here.
    """
    assert error is explained(error)
