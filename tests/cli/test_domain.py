"""
Tests for `sptls.cli.domain`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.bundle import CertificateBundle
from sptls.certs.diagnosis import Diagnosis, Who
from sptls.cli.domain import Domain
from sptls.names import HostName
from sptls.ops.status import DomainStatus, domain_json, passed_through

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=60)
BUNDLE = CertificateBundle(b"", (b"",), (HostName("a.example"),), NOW, LATER, "CN=R11", "0a")


def test_what_a_daemon_says_is_read() -> None:
    """
    Every field of the status comes out of its JSON as it went in.
    """
    meaning = Diagnosis("refused", Who.CA, "it said no", "ask it")
    status = DomainStatus("a.example", "failing", "internal", BUNDLE, NOW, LATER, "refused", diagnosis=meaning)
    expected = Domain(
        "a.example",
        "failing",
        "internal",
        "CN=R11",
        LATER,
        NOW,
        LATER,
        "refused",
        cause="it said no",
        who="ca",
        advice="ask it",
        serial=BUNDLE.serial,
    )
    assert expected == Domain.of(domain_json(status))
    deployed = {**domain_json(status), "deployment": {"state": "failing", "problem": "exit status 1"}}
    assert attrs.evolve(expected, deploy_problem="exit status 1") == Domain.of(deployed)


def test_nulls_are_nothing() -> None:
    """
    A domain without a certificate has no texts and no moments.
    """
    told = domain_json(DomainStatus("a.example", "waiting", "internal"))
    assert Domain("a.example", "waiting", "internal") == Domain.of(told)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
STATUS = domain_json(DomainStatus("a.example", "valid", "internal", BUNDLE, NOW, LATER))


@given(st.dictionaries(st.sampled_from(list(STATUS)), JSON), st.sets(st.sampled_from(list(STATUS))))
def test_what_another_version_says_is_read_as_far_as_it_is_understood(odd: dict[str, Any], left_out: set[str]) -> None:
    """
    What is not is told by its key; only something without a name is no domain.
    """
    told = {key: value for key, value in {**STATUS, **odd}.items() if key not in left_out}
    try:
        domain = Domain.of(told)
    except ValueError:
        assert not isinstance(told.get("name"), str)
        return
    assert (told["name"], set()) == (domain.name, set(domain.unread) - (odd.keys() | left_out))
    assert isinstance(domain.is_fine(NOW), bool)


@given(JSON)
def test_what_has_no_name_is_no_domain(told: Any) -> None:
    """
    Whatever else it is.
    """
    with pytest.raises(ValueError, match="not the status of a domain"):
        Domain.of(told)


@pytest.mark.parametrize("key", ["state", "source", "issuer", "not_after", "renew_at", "next_attempt_at", "problem"])
def test_what_every_version_says_is_missed(key: str) -> None:
    """
    Without it nobody can say that all is well.
    """
    domain = Domain.of({told: value for told, value in STATUS.items() if told != key})
    assert ((key,), False) == (domain.unread, domain.is_fine(NOW))


@given(st.text())
def test_moment_that_is_none_is_not_understood(text: str) -> None:
    """
    Moments are RFC 3339 in UTC, to the second.
    """
    domain = Domain.of({**STATUS, "not_after": text})
    assert (None, ("not_after",)) == (domain.not_after, domain.unread)


@pytest.mark.parametrize("deployment", ["done", ["done"], {"problem": ["exit status 1"]}])
def test_deployment_that_is_not_understood_is_not_fine(deployment: object) -> None:
    """
    The other server may be serving an old certificate.
    """
    domain = Domain.of({**STATUS, "deployment": deployment})
    assert ("", ("deployment",), False) == (domain.deploy_problem, domain.unread, domain.is_fine(NOW))


def test_what_a_newer_version_says_beside_it_is_left_out() -> None:
    """
    And what an older one does not know yet is nothing.
    """
    newer = {**STATUS, "mood": "good"}
    older = {key: value for key, value in STATUS.items() if key not in {"who", "serial", "deployment", "code"}}
    assert [(), ()] == [Domain.of(told).unread for told in (newer, older)]


@pytest.mark.parametrize(
    ("state", "not_after", "expected"),
    [
        ("valid", LATER, True),
        ("renewing", LATER, True),
        ("replacing", LATER, True),
        ("issuing", None, True),
        ("waiting", None, True),
        ("failing", None, False),
        ("failing", LATER, False),
        ("faulty", LATER, False),
        ("expired", NOW, False),
        ("renewing", NOW, False),
        ("waiting", NOW, False),
    ],
)
def test_failures_and_expired_certificates_are_not_fine(state: str, not_after: datetime | None, expected: bool) -> None:
    """
    A first order that is under way is fine, a renewal that comes too late is not.
    """
    assert expected == Domain("a.example", state, "internal", not_after=not_after).is_fine(NOW)


@pytest.mark.parametrize(
    ("not_after", "expected"), [(None, False), (NOW, False), (LATER, False), (LATER + timedelta(seconds=1), True)]
)
def test_wait_for_a_cas_limits_is_fine_while_a_certificate_lasts_it_out(
    not_after: datetime | None, expected: bool
) -> None:
    """
    A renewal that is put off harms nobody; clients without a certificate are turned away meanwhile.
    """
    waits = Domain("a.example", "waiting", "internal", not_after=not_after, next_attempt_at=LATER)
    assert (True, expected) == (waits.is_put_off, waits.is_fine(NOW))


def test_deployment_that_fails_is_not_fine() -> None:
    """
    The other server may be serving an old certificate.
    """
    assert not Domain("a.example", "valid", "internal", not_after=LATER, deploy_problem="exit status 1").is_fine(NOW)


@pytest.mark.parametrize(
    ("state", "source", "renew_at", "expected"),
    [
        ("valid", "internal", LATER, True),
        ("valid", "internal", NOW, False),
        ("valid", "internal", None, True),
        ("failing", "own", None, True),
        ("failing", "internal", LATER, False),
        ("waiting", "internal", None, False),
        ("replacing", "internal", LATER, False),
    ],
)
def test_order_is_needed_by_what_is_missing_failing_or_due(
    state: str, source: str, renew_at: datetime | None, expected: bool
) -> None:
    """
    A valid certificate that is not due is left alone, and so is the operator's own.
    """
    assert expected == Domain("a.example", state, source, renew_at=renew_at).needs_no_order(NOW)


def test_another_servers_domain_needs_no_order() -> None:
    """
    And nobody needs to look.
    """
    domain = Domain.of(domain_json(passed_through(HostName("passed.example"))))
    assert (True, False, False) == (domain.is_passed_through, domain.is_own, domain.is_ordered)
    assert (True, True) == (domain.needs_no_order(NOW), domain.is_fine(NOW))
