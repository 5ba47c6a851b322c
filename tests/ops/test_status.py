"""
Tests for `sptls.ops.status`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from sptls.certs.bundle import CertificateBundle
from sptls.certs.precheck_rules import Answer, Seen
from sptls.certs.reach_rules import HTTP_01, Reached, findings
from sptls.deploy.plan import DeployState
from sptls.names import HostName
from sptls.ops.status import (
    DomainStatus,
    check_json,
    domain_json,
    http_json,
    ordered_state,
    own_state,
    passed_through,
    status_text,
)
from sptls.precheck import Check
from sptls.proxy.counters import Counters

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
BUNDLE = CertificateBundle(
    key=b"secret",
    chain=(b"der",),
    names=(HostName("click.example.com"),),
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=89),
    issuer="CN=Test",
    serial="0a",
)


@pytest.mark.parametrize(
    ("now", "faults", "state"),
    [
        (NOW, (), "valid"),
        (NOW, ("it is for another name",), "faulty"),
        (NOW + timedelta(days=89), (), "expired"),
        (NOW + timedelta(days=90), ("it expired",), "expired"),
    ],
)
def test_own_certificate_is_valid_faulty_or_expired(now: datetime, faults: tuple[str, ...], state: str) -> None:
    """
    Expiry goes before other faults, since it is what clients meet first.
    """
    assert state == own_state(BUNDLE, faults, now)


@pytest.mark.parametrize(
    ("state", "source", "expected"),
    [
        ("valid", "https://ca.example/dir", "valid"),
        ("renewing", "https://ca.example/dir", "renewing"),
        ("valid", "https://staging.example/dir", "replacing"),
        ("renewing", "internal", "replacing"),
        ("failing", "https://staging.example/dir", "failing"),
        ("issuing", "https://staging.example/dir", "issuing"),
        ("waiting", "https://staging.example/dir", "waiting"),
    ],
)
def test_certificate_of_another_ca_is_never_said_to_be_good(state: str, source: str, expected: str) -> None:
    """
    It is served while it is valid; that its successor fails to come, or that it has expired, is the worse news.
    """
    assert expected == ordered_state(state, source, ["https://ca.example/dir", "https://second.example/dir"])


def test_domain_without_certificate_has_nulls() -> None:
    """
    What isn't there is null, never an empty string or a made-up moment.
    """
    told = domain_json(DomainStatus("click.example.com", "failing", "https://ca.example/dir", problem="refused"))
    assert {
        "name": "click.example.com",
        "state": "failing",
        "source": "https://ca.example/dir",
        "issuer": None,
        "serial": None,
        "not_before": None,
        "not_after": None,
        "renew_at": None,
        "next_attempt_at": None,
        "problem": "refused",
        "code": "unknown",
        "cause": "refused",
        "who": "operator",
        "advice": "wait for the next attempt",
        "explanation_url": None,
        "dns_changed_at": None,
        "deployment": None,
    } == told


def test_self_check_is_told() -> None:
    """
    Where the DNS leads, who answers, what is wrong; null where there was no answer in time.
    """
    seen = Seen(Answer(addresses=("192.0.2.1",)), Answer())
    reached = (Reached("192.0.2.1", HTTP_01, "wrong", "status 404"),)
    assert {
        "addresses": ["192.0.2.1"],
        "answers": [{"address": "192.0.2.1", "port": 80, "verdict": "wrong", "words": "status 404"}],
        "findings": [
            {
                "code": "wrong-server",
                "cause": "A 192.0.2.1 answers as another server: status 404 on port 80",
                "who": "customer-dns",
                "advice": "remove the name's A record 192.0.2.1, or point it at this proxy",
                "is_fatal": True,
            }
        ],
    } == check_json(Check(seen, reached, findings(reached)))
    assert {"addresses": None, "answers": [], "findings": []} == check_json(Check())


def test_moment_of_a_change_in_the_dns_is_told() -> None:
    """
    While the attempt that it brought is under way.
    """
    told = domain_json(
        DomainStatus("a.example", "issuing", "internal", dns_changed_at=datetime(2026, 8, 1, tzinfo=UTC))
    )
    assert "2026-08-01T00:00:00Z" == told["dns_changed_at"]


def test_deployment_is_told_where_there_is_one() -> None:
    """
    How the files for another server stand: the word, the serial, the problem.
    """
    status = DomainStatus(
        "click.example.com", "valid", "internal", BUNDLE, deployment=DeployState("failing", "", "disk full", NOW)
    )
    assert {
        "state": "failing",
        "serial": None,
        "next_attempt_at": "2026-11-24T12:00:00Z",
        "problem": "disk full",
    } == domain_json(status)["deployment"]


def test_moments_are_utc_to_the_second() -> None:
    """
    Moments read as RFC 3339 in UTC.
    """
    told = domain_json(DomainStatus("click.example.com", "valid", "internal", BUNDLE, renew_at=NOW))
    assert ("2027-02-21T12:00:00Z", "2026-11-24T12:00:00Z", None) == (
        told["not_after"],
        told["renew_at"],
        told["problem"],
    )


def test_answers_are_told_by_class() -> None:
    """
    Counters of answers read 2xx, 4xx; what no status begins with is left out.
    """
    counters = Counters(requests=3, answers=[0, 0, 2, 0, 1, 0, 0, 0, 0, 0])
    told = http_json(counters)
    assert (3, {"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 1, "5xx": 0}) == (told["requests"], told["answers"])


def test_status_counts_states_and_holds_no_secret() -> None:
    """
    The whole is JSON, has the states counted, and nothing of the key.
    """
    domains = [DomainStatus("a.example", "valid", "own", BUNDLE), DomainStatus("b.example", "issuing", "internal")]
    told = "".join(status_text(version="1", serving=True, started_at=NOW, domains=domains, http={"requests": 3}))
    assert {"valid": 1, "issuing": 1} == json.loads(told)["states"]
    assert {"requests": 3} == json.loads(told)["http"]
    assert "secret" not in told


def test_a_name_that_is_passed_through() -> None:
    """
    It has a state, and nothing else that would be known here.
    """
    told = domain_json(passed_through(HostName("passed.example")))
    assert ("passed.example", "passed through", "passthrough") == (told["name"], told["state"], told["source"])
    others = {key: value for key, value in told.items() if key not in {"name", "state", "source"}}
    assert {None} == set(others.values())
