"""
Tests for `sptls.cli.wording`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sptls.cli import wording
from sptls.cli.domain import Domain

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
DOMAIN = Domain("a.example", "valid", "https://ca.example/dir")


def _domain(**more: Any) -> Domain:
    return attrs.evolve(DOMAIN, **more)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CN=R11,O=Let's Encrypt,C=US", "R11"),
        ("O=Let's Encrypt,CN=R11", "R11"),
        ("OU=a+CN=b,O=c", "b"),
        (r"CN=a\, b\+c,O=d", "a, b+c"),
        ("O=No Common Name", "O=No Common Name"),
        ("", "-"),
        ("CN=", "-"),
    ],
)
def test_issuer_is_told_by_its_common_name(name: str, expected: str) -> None:
    """
    RFC 4514's escapes are undone; where there is no common name, all of it is told.
    """
    assert expected == wording.issuer(_domain(issuer=name))


@given(st.text(st.characters(categories=["L", "N", "P", "Zs", "S"]), min_size=1, max_size=16))
def test_common_name_survives_its_escapes(text: str) -> None:
    """
    Whatever characters it has that a terminal does not obey.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    assert (wording.plain(text) or "-") == wording.issuer(_domain(issuer=name.rfc4514_string()))


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (None, "no certificate"),
        (timedelta(days=89, hours=3), "2027-02-21 15:00 (89 days left)"),
        (timedelta(days=1), "2026-11-25 12:00 (1 day left)"),
        (timedelta(hours=5, minutes=59), "2026-11-24 17:59 (5 hours left)"),
        (timedelta(minutes=1), "2026-11-24 12:01 (1 minute left)"),
        (timedelta(seconds=30), "2026-11-24 12:00 (30 s left)"),
        (timedelta(0), "expired 2026-11-24 12:00, 0 s ago"),
        (timedelta(days=-3, hours=-1), "expired 2026-11-21 11:00, 3 days ago"),
    ],
)
def test_validity_counts_what_is_left(left: timedelta | None, expected: str) -> None:
    """
    In the greatest unit, rounded down: nobody is promised a day that is not there.
    """
    assert expected == wording.validity(_domain(not_after=None if left is None else NOW + left), NOW)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"source": "own"}, "yours to renew"),
        ({"renew_at": NOW + timedelta(days=30)}, "renewal 2026-12-24 12:00 UTC (in 30 days)"),
        ({"renew_at": NOW}, "order is due"),
        ({"state": "waiting"}, "order is due"),
        ({"state": "renewing", "renew_at": NOW - timedelta(days=1)}, "order under way"),
        ({"state": "issuing"}, "order under way"),
        (
            {"state": "failing", "next_attempt_at": NOW + timedelta(minutes=5)},
            "attempt 2026-11-24 12:05 UTC (in 5 minutes)",
        ),
        ({"state": "failing", "next_attempt_at": NOW}, "order is due"),
        ({"state": "issuing", "dns_changed_at": NOW}, "DNS changed at 2026-11-24 12:00 UTC, trying again"),
        (
            {"state": "failing", "dns_changed_at": NOW, "next_attempt_at": NOW + timedelta(minutes=5)},
            "DNS changed at 2026-11-24 12:00 UTC, trying again 2026-11-24 12:05 UTC (in 5 minutes)",
        ),
    ],
)
def test_next_step_is_what_comes_first(more: dict[str, Any], expected: str) -> None:
    """
    An attempt after a failure goes before the renewal that it is for.
    """
    assert expected == wording.next_step(_domain(**more), NOW)


@pytest.mark.parametrize(
    ("problem", "deploy_problem", "expected"),
    [
        ("", "", ""),
        ("refused", "", "refused"),
        ("", "exit status 1", "deployment: exit status 1"),
        ("refused", "exit status 1", "refused; deployment: exit status 1"),
    ],
)
def test_problems_are_told_with_where_they_are(problem: str, deploy_problem: str, expected: str) -> None:
    """
    The certificate's first.
    """
    assert expected == wording.problem(_domain(problem=problem, deploy_problem=deploy_problem))


@pytest.mark.parametrize(("who", "expected"), [("ca", "no such name; to act: the CA"), ("a newer one", "a newer one")])
def test_cause_goes_before_the_words_and_says_who_must_act(who: str, expected: str) -> None:
    """
    Whom only a newer daemon knows is told as it says.
    """
    domain = _domain(problem="NXDOMAIN", cause="no such name", who=who)
    assert wording.problem(domain).endswith(expected)


def test_explanation_holds_what_there_is() -> None:
    """
    One line each; who has an own certificate needs no CA.
    """
    orders = [("https://ca.example/dir", ("http-01",)), ("internal", ())]
    told = dict(wording.explanation(_domain(state="failing", problem="NX\nDOMAIN", cause="none"), orders, NOW))
    assert ("none", "NX DOMAIN") == (told["cause"], told["in its own words"])
    assert {"to act", "what to do", "deployment"}.isdisjoint(told)
    asked = [words for title, words in wording.explanation(_domain(issuer=""), orders, NOW) if title == "will be asked"]
    assert ["https://ca.example/dir by http-01", "internal"] == asked
    own = dict(wording.explanation(_domain(source="own", problem="bad", cause="bad"), orders, NOW))
    assert {"will be asked", "in its own words"}.isdisjoint(own)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"addresses": None}, ["its DNS gave no answer in time"]),
        ({"addresses": []}, ["leads to no address"]),
        (
            {
                "addresses": ["192.0.2.1", "192.0.2.2"],
                "answers": [
                    {"address": "192.0.2.1", "port": 80, "verdict": "ours", "words": ""},
                    {"address": "192.0.2.2", "port": 80, "verdict": "wrong", "words": "status 404"},
                    {"address": "192.0.2.3", "port": 80, "verdict": "unasked", "words": ""},
                ],
                "findings": [{"cause": "another server", "advice": "point it here"}],
            },
            [
                "leads to 192.0.2.1, 192.0.2.2",
                "192.0.2.1 port 80: this proxy answers",
                "192.0.2.2 port 80: status 404",
                "another server; point it here",
            ],
        ),
    ],
)
def test_what_was_seen_is_told(check: dict[str, Any], expected: list[str]) -> None:
    """
    Of what was not asked nothing.
    """
    told = wording.explanation(_domain(), (), NOW, check)
    assert expected == [words for title, words in told if title in {"seen from here", "", "found"}]


@pytest.mark.parametrize(
    "check",
    [
        {},
        {"addresses": "192.0.2.1", "answers": None, "findings": None},
        {"addresses": [], "answers": ["ours"], "findings": []},
        {"addresses": [], "answers": [{"verdict": "ours"}], "findings": []},
        {"addresses": [], "answers": [{"address": "::1", "port": 80, "verdict": "", "words": {}}], "findings": []},
        {"addresses": [], "answers": [], "findings": [{"code": "dns"}]},
    ],
)
def test_what_another_version_saw_is_told_as_far_as_it_is_understood(check: dict[str, Any]) -> None:
    """
    And that there is more is said, in no odd words.
    """
    told = list(wording.explanation(_domain(), (), NOW, check))
    assert ("seen from here", "more, in words of another version that this command does not know") in told
    assert not any("None" in words or "{" in words for _, words in told)


@pytest.mark.parametrize(
    ("theirs", "unread", "expected"),
    [
        ("1.0", (), ""),
        (None, (), ""),
        ("2.0", (), "the daemon is of another version (sptls 2.0; this command: 1.0); restart it, or"),
        (
            ["\x1b"],
            ("state", "renew_at"),
            "the daemon is of another version (this command: sptls 1.0); what it says of",
        ),
        ("1.0", ("state",), "the daemon is of another version (this command: sptls 1.0); what it says of state is not"),
    ],
)
def test_another_version_is_told(theirs: object, unread: tuple[str, ...], expected: str) -> None:
    """
    By its number, or by what is not understood.
    """
    told = wording.other_version(theirs, "1.0", [_domain(unread=unread), _domain(unread=unread)])
    assert (told[: len(expected)], bool(expected)) == (expected, bool(told))


def test_what_is_not_told_is_not_made_up() -> None:
    """
    A certificate of which nothing is known may well be there.
    """
    domain = _domain(unread=("not_after", "next_attempt_at"))
    assert ("not told", "not told") == (wording.validity(domain, NOW), wording.next_step(domain, NOW))


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], "0 domains"),
        (["valid"], "1 domain: 1 valid"),
        (["failing", "valid", "valid"], "3 domains: 2 valid, 1 failing"),
    ],
)
def test_domains_are_counted_by_state(states: list[str], expected: str) -> None:
    """
    The greatest number comes first.
    """
    assert expected == wording.count([_domain(state=state) for state in states])


@given(st.text())
def test_no_text_moves_a_terminals_cursor(text: str) -> None:
    """
    A CA's words stay on their line.
    """
    cleaned = wording.plain(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in cleaned)
    assert text.strip() == cleaned or any(not character.isprintable() or character in "\r\n" for character in text)


def test_another_servers_domain_is_told_as_such() -> None:
    """
    Its certificate is not missing, and no CA will be asked for one.
    """
    domain = _domain(state="passed through", source="passthrough")
    assert "the other server's" == wording.validity(domain, NOW)
    assert "the other server's to renew" == wording.next_step(domain, NOW)
    titles = [title for title, _ in wording.explanation(domain, [("https://ca.example", ["http-01"])], NOW)]
    assert "will be asked" not in titles
