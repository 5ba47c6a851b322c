from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme import concern
from sptls.errors import AcmeProblem, Scope

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
PAGE = "https://letsencrypt.org/docs/rate-limits/"
NAME, DOMAIN, ACCOUNT, CA = Scope.NAME, Scope.REGISTERED_DOMAIN, Scope.ACCOUNT, Scope.CA


def limited(detail: str, operation: str = "newOrder", **more: object) -> AcmeProblem:
    """
    Give a rate limit's problem, received at noon.
    """
    problem = AcmeProblem(429, "rateLimited", detail, operation=operation, **more)  # type: ignore[arg-type]
    return concern.with_concern(problem, NOW)


@pytest.mark.parametrize(
    ("detail", "scope", "subject"),
    [
        ("too many new registrations (10) from this IP address in the last 3h0m0s, retry after 2026", CA, ""),
        ("too many new orders (300) from this account in the last 3h0m0s, retry after 2026", ACCOUNT, ""),
        ('too many failed authorizations (5) for "Click.Example.com" in the last 1h0m0s', NAME, "click.example.com"),
        ("too many failed authorizations recently", NAME, ""),
        ('too many certificates (50) already issued for "example.co.uk" in the last 168h0m0s', DOMAIN, "example.co.uk"),
        ("Error creating new order :: too many certificates already issued for: example.com.", DOMAIN, "example.com"),
        ("too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s", NAME, ""),
        ("too many certificates (5) already issued for this exact set of domains in the last 168h", NAME, ""),
        (
            "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others.",
            NAME,
            "a.example.com",
        ),
        ("too many currently pending authorizations", ACCOUNT, ""),
        ("Service busy; retry later.", CA, ""),
        (f"no, see {PAGE}#new-certificates-per-registered-domain", DOMAIN, ""),
        (f"no, see {PAGE}#authorization-failures-per-identifier-per-account", NAME, ""),
    ],
)
def test_lets_encrypts_words_tell_what_a_limit_is_about(detail: str, scope: Scope, subject: str) -> None:
    """
    Boulder's sentences of the last years, and the sections of its page.
    """
    told = limited(detail).concern
    assert (scope, subject) == (told.scope, told.subject)


def test_the_link_tells_it_too() -> None:
    """
    RFC 8555 §6.6 wants the document about the limit linked.
    """
    assert ACCOUNT is limited("no", links={"help": f"{PAGE}#new-orders-per-account"}).scope


def test_one_identifier_in_the_subproblems_tells_the_name() -> None:
    """
    Several don't: then it is as if there were none.
    """
    one, other = (AcmeProblem(429, "rateLimited", identifier=name) for name in ("A.test", "b.test"))
    assert (NAME, "a.test") == (
        limited("no", subproblems=(one, one)).scope,
        limited("no", subproblems=(one,)).concern.subject,
    )
    assert ACCOUNT is limited("no", subproblems=(one, other)).scope


@pytest.mark.parametrize(
    ("operation", "scope"), [("newOrder", ACCOUNT), ("finalize", ACCOUNT), ("newAccount", CA), ("renewalInfo", CA)]
)
def test_an_unknown_limit_counts_as_the_widest_at_that_operation(operation: str, scope: Scope) -> None:
    """
    Orders are counted for each account, everything else for each address.
    """
    assert scope is limited("slow down", operation).scope


@pytest.mark.parametrize(
    ("kind", "operation", "scope"),
    [
        ("unauthorized", "newOrder", ACCOUNT),
        ("unauthorized", "newAccount", ACCOUNT),
        ("unauthorized", "", NAME),
        ("accountDoesNotExist", "order", ACCOUNT),
        ("userActionRequired", "newOrder", ACCOUNT),
        ("invalidProfile", "newOrder", ACCOUNT),
        ("badSignatureAlgorithm", "newOrder", CA),
        ("rejectedIdentifier", "newOrder", NAME),
        ("caa", "", NAME),
        ("badCSR", "finalize", NAME),
        ("badPublicKey", "finalize", NAME),
        ("orderNotReady", "finalize", NAME),
        ("fancyNewType", "newOrder", NAME),
    ],
)
def test_other_refusals_concern_who_they_are_about(kind: str, operation: str, scope: Scope) -> None:
    """
    One name's refusal stops no other; the account's stops all alike.
    """
    assert scope is concern.with_concern(AcmeProblem(400, kind, operation=operation), NOW).scope


def test_when_to_come_back_is_a_moment() -> None:
    """
    From Retry-After; Boulder's words tell it where the field is missing, and nonsense tells nothing.
    """
    after = limited("too many new orders", retry_after_seconds=90.0)
    assert NOW + timedelta(seconds=90) == after.concern.retry_at
    words = limited("too many new orders (300), retry after 2026-08-01 12:02:00 UTC: see https://…")
    assert (120.0, NOW + timedelta(minutes=2)) == (words.retry_after_seconds, words.concern.retry_at)
    past = limited("retry after 2026-07-01T12:02:00Z")
    assert (0.0, NOW) == (past.retry_after_seconds, past.concern.retry_at)
    far = limited("retry after 9999-07-01T12:02:00Z")
    assert NOW + timedelta(days=7) == far.concern.retry_at
    assert limited("retry after 2026-99-99 12:02:00 UTC").concern.retry_at is None


def test_only_limits_have_their_delay_in_words() -> None:
    """
    In another refusal such words are somebody's text.
    """
    problem = AcmeProblem(403, "caa", "retry after 2026-08-01 12:02:00 UTC")
    assert concern.with_concern(problem, NOW).retry_after_seconds is None


def test_all_else_of_a_problem_stays() -> None:
    """
    Only what it is about is added.
    """
    sub = AcmeProblem(403, "caa", "no", identifier="a.test")
    problem = AcmeProblem(
        403, "compound", "many", subproblems=(sub,), identifier="b.test", operation="newOrder", links={"help": PAGE}
    )
    told = concern.with_concern(problem, NOW)
    assert {**vars(problem), "concern": told.concern} == vars(told)


@given(st.text(), st.text())
def test_any_words_tell_something(detail: str, operation: str) -> None:
    """
    No text is an error.
    """
    assert isinstance(limited(detail, operation).scope, Scope)
