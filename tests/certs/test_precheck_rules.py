"""
Tests for `sptls.certs.precheck_rules`.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.precheck_rules import (
    Answer,
    Caa,
    Ours,
    Seen,
    ca_domains,
    caa_names,
    caa_of,
    concerns_name,
    judge,
    name_servers,
)
from sptls.errors import AcmeProblem, AcmeUnreachable, Concern, IssuanceFailed, Scope, SptlsError, ValidationFailed
from sptls.names import HostName

HERE, HERE6, ELSEWHERE, ELSEWHERE6 = "192.0.2.1", "2001:db8::1", "198.51.100.1", "2001:db8:bad::1"
OURS = Ours(
    frozenset({HERE, HERE6}), frozenset({"letsencrypt.org"}), "https://ca.example/acct/1", ("tls-alpn-01", "http-01")
)
FINE4, FINE6, NOTHING = Answer(addresses=(HERE,)), Answer(addresses=(HERE6,)), Answer()


def codes(ipv4: Answer, ipv6: Answer, *caa: Answer, ours: Ours = OURS) -> list[tuple[str, bool]]:
    """
    Give what is found, and whether it is fatal.
    """
    return [(one.diagnosis.code, one.is_fatal) for one in judge(Seen(ipv4, ipv6, caa), ours)]


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"),
    [
        (FINE4, FINE6, []),
        (FINE4, NOTHING, []),
        (FINE4, Answer("silent"), []),
        (NOTHING, NOTHING, [("dns-no-address", True)]),
        (Answer("nxdomain"), Answer("nxdomain"), [("dns-nxdomain", True)]),
        (Answer("failed"), NOTHING, [("dns-servfail", False)]),
        (Answer("silent"), Answer("silent"), [("dns-timeout", False)]),
        (Answer(addresses=(ELSEWHERE,)), NOTHING, [("dns-elsewhere", True)]),
        (FINE4, Answer(addresses=(ELSEWHERE6,)), [("dns-stale-ipv6", False)]),
        (Answer(addresses=(HERE, ELSEWHERE)), NOTHING, [("dns-partly-elsewhere", False)]),
    ],
)
def test_addresses_are_judged(ipv4: Answer, ipv6: Answer, expected: list[tuple[str, bool]]) -> None:
    """
    Fatal is only what no CA can get past.
    """
    assert expected == codes(ipv4, ipv6)


def test_without_configured_addresses_only_existence_counts() -> None:
    """
    Behind a load balancer nobody here knows them.
    """
    assert [] == codes(Answer(addresses=(ELSEWHERE,)), NOTHING, ours=Ours())


def test_learnt_addresses_advise_only() -> None:
    """
    They are no proof: this proxy may have moved since; configured ones go before them.
    """
    learnt = Ours(learnt=frozenset({HERE}))
    assert [("dns-perhaps-elsewhere", False)] == codes(Answer(addresses=(ELSEWHERE,)), NOTHING, ours=learnt)
    assert [] == codes(FINE4, NOTHING, ours=learnt)
    assert [] == codes(FINE4, NOTHING, ours=attrs.evolve(OURS, learnt=frozenset({ELSEWHERE})))
    (found,) = judge(Seen(Answer(addresses=(ELSEWHERE,)), NOTHING), learnt)
    assert "validated here lead to 192.0.2.1" in found.diagnosis.cause


def test_ipv6_addresses_come_first() -> None:
    """
    As CAs try them.
    """
    assert (HERE6, HERE) == Seen(FINE4, FINE6).addresses


def test_alias_is_told() -> None:
    """
    The customer has to look at its target.
    """
    gone = Answer("nxdomain", aliases=("old.example",))
    (found,) = judge(Seen(gone, gone), OURS)
    assert "its CNAME's target old.example does not exist in the DNS" == found.diagnosis.cause
    (found,) = judge(Seen(NOTHING, Answer(addresses=(ELSEWHERE6,), aliases=("a.example", "b.example"))), OURS)
    assert f"leads to {ELSEWHERE6} (it is an alias of b.example)" in found.diagnosis.cause


def test_what_a_stranger_wrote_is_one_line_and_short() -> None:
    """
    Names and values in the DNS may have any bytes, and are shown on terminals.
    """
    wrote = "evil\x1b[2J\nnew line \u202e" + "x" * 200
    seen = Seen(Answer(addresses=(ELSEWHERE,), aliases=(wrote,)), NOTHING, (issue(wrote),))
    gone = Seen(Answer("nxdomain", aliases=(wrote,)), NOTHING)
    found = [*judge(seen, OURS), *judge(gone, OURS)]
    assert 3 == len(found)
    assert all(one.diagnosis.cause.isprintable() and len(one.diagnosis.cause) < 250 for one in found)
    assert all("evil [2J new line" in one.diagnosis.cause for one in found)


def issue(*values: str) -> Answer:
    """
    Give an answer with ``issue`` properties.
    """
    return Answer(caa=tuple(Caa(False, "issue", value) for value in values))


@pytest.mark.parametrize(
    ("answer", "is_permitted"),
    [
        (issue("letsencrypt.org"), True),
        (issue(" LetsEncrypt.org. "), True),
        (issue("ca.example", "letsencrypt.org"), True),
        (issue("ca.example"), False),
        (issue(";"), False),
        (issue(""), False),
        (issue("letsencrypt.org; validationmethods=http-01"), True),
        (issue("letsencrypt.org; validationmethods=dns-01,dns-02"), False),
        (issue("letsencrypt.org ;\tvalidationmethods = http-01 ; x = y"), True),
        (issue("letsencrypt.org; accounturi = https://ca.example/acct/2"), False),
        (issue("letsencrypt.org; accounturi=https://ca.example/acct/1"), True),
        (issue("letsencrypt.org; accounturi=https://ca.example/acct/2"), False),
        (issue("letsencrypt.org; accounturi=https://ca.example/acct/1; validationmethods=dns-01"), False),
        (Answer(caa=(Caa(False, "iodef", "mailto:a@b.example"), Caa(False, "issuewild", ";"))), True),
        (Answer(caa=(Caa(False, "tbs", "x"),)), True),
        (Answer(caa=(Caa(True, "tbs", "x"), Caa(False, "issue", "letsencrypt.org"))), False),
    ],
)
def test_caa_records_are_obeyed(answer: Answer, is_permitted: bool) -> None:
    """
    RFC 8659 §4.2, RFC 8657 §3 and §4.
    """
    assert ([] if is_permitted else [("caa-forbids", True)]) == codes(FINE4, FINE6, answer)


def test_closest_records_count() -> None:
    """
    RFC 8659 §3: those above are not looked at, whatever they say.
    """
    assert [] == codes(FINE4, FINE6, NOTHING, issue("letsencrypt.org"), issue(";"))
    assert [("caa-forbids", True)] == codes(FINE4, FINE6, NOTHING, issue(";"), issue("letsencrypt.org"))


def test_what_is_not_known_of_the_ca_permits() -> None:
    """
    No issuer domain, no account and no challenge type: only a record that names nobody forbids.
    """
    parameters = "any.example; accounturi=https://ca.example/acct/9; validationmethods=dns-01"
    assert [] == codes(FINE4, FINE6, issue(parameters), ours=Ours())
    assert [("caa-forbids", True)] == codes(FINE4, FINE6, issue(";"), ours=Ours())


def test_names_are_climbed() -> None:
    """
    From the name to its top-level domain; a wildcard's begin at its parent.
    """
    assert ("a.b.example", "b.example", "example") == caa_names(HostName("a.b.example"))
    assert ("b.example", "example") == caa_names(HostName("*.b.example"))


@pytest.mark.parametrize(
    ("rdata", "expected"),
    [
        (b"\0\5issueletsencrypt.org", Caa(False, "issue", "letsencrypt.org")),
        (b"\x80\3TBSx", Caa(True, "tbs", "x")),
        (b"\0\5issue", Caa(False, "issue", "")),
        (b"\0\6issue", None),
        (b"\0\0issue", None),
        (b"\0", None),
    ],
)
def test_caa_record_is_read(rdata: bytes, expected: Caa | None) -> None:
    """
    RFC 8659 §4.1.
    """
    assert expected == caa_of(rdata)


@given(st.binary(max_size=40), st.text(max_size=40))
def test_any_bytes_give_a_record_or_none(rdata: bytes, value: str) -> None:
    """
    What a stranger's zone holds is judged, whatever it is.
    """
    record = caa_of(rdata)
    records = (Caa(False, "issue", value), *([] if record is None else [record]))
    assert len(judge(Seen(FINE4, FINE6, (Answer(caa=records),)), OURS)) < 2


def test_issuer_domain_is_known_of_lets_encrypt() -> None:
    """
    And of no CA else.
    """
    assert {"letsencrypt.org"} == ca_domains("https://acme-v02.api.letsencrypt.org/directory")
    assert set() == ca_domains("https://notletsencrypt.org/directory") | ca_domains("internal")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# none\nnameserver 192.0.2.53\nnameserver ::1 # six\n", (("192.0.2.53", 53), ("::1", 53))),
        ("nameserver\nnameserver fe80::1%eth0 x\nsearch example\n", (("fe80::1%eth0", 53),)),
        ("nameserver one.example", (("127.0.0.1", 53),)),
        ("nameserver 192.0.2.1\n" * 5, (("192.0.2.1", 53),) * 3),
    ],
)
def test_system_servers_are_read(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    """
    Three at the most, and this machine where there is none, as resolv.conf(5) says.
    """
    assert expected == name_servers(text)


@given(st.text())
def test_any_text_names_servers(text: str) -> None:
    """
    At least one.
    """
    assert 1 <= len(name_servers(text)) <= 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValidationFailed("a.example", ()), True),
        (AcmeProblem(403, "caa"), True),
        (AcmeProblem(429, "rateLimited"), False),
        (AcmeProblem(403, "unauthorized", concern=Concern(Scope.ACCOUNT)), False),
        (AcmeUnreachable("newOrder", "refused"), False),
        (ValueError(), False),
    ],
)
def test_only_failures_of_a_name_are_looked_into(error: Exception, expected: bool) -> None:
    """
    An outage of the CA's is no reason to ask for the DNS of ten thousand names.
    """
    assert expected == concerns_name(error)
    if isinstance(error, SptlsError):
        assert expected == concerns_name(IssuanceFailed(error))


def test_nothing_is_secret_about_ours() -> None:
    """
    Addresses that are shown are cut to a few.
    """
    many = attrs.evolve(OURS, addresses=frozenset(f"192.0.2.{index}" for index in range(200)))
    (found,) = judge(Seen(Answer(addresses=(ELSEWHERE,)), NOTHING), many)
    assert len(found.diagnosis.advice) < 150
