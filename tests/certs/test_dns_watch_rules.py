"""
Tests for `sptls.certs.dns_watch_rules`.
"""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.certs.dns_watch_rules import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_TRIED,
    Changed,
    Same,
    Watched,
    compared,
    concerns_dns,
    failed,
    pause_seconds,
    printed,
)
from sptls.certs.precheck_rules import Answer, Caa, Seen

CA, OTHER_CA = "https://ca.example/dir", "https://other.example/dir"
NOTHING, SILENT = Answer(), Answer("silent")
IN_VAIN = (Finding(Diagnosis("dns-elsewhere", Who.CUSTOMER, "elsewhere", "point it here"), is_fatal=True),)
FORBIDS = Answer(caa=(Caa(False, "issue", "ca.example"),))


def leads(*addresses: str, caa: tuple[Answer, ...] = ()) -> Seen:
    """
    Give what is seen of a name that leads to *addresses*.
    """
    return Seen(Answer(addresses=addresses), NOTHING, caa)


OLD, NEW = leads("198.51.100.1"), leads("192.0.2.1")
FAILED = failed(None, CA, "connection-refused", OLD)


def test_change_is_a_reason_once() -> None:
    """
    The same answer is none, in whatever order its addresses come; nor is one that was tried since it failed.
    """
    assert Same(attrs.evolve(FAILED, looks=1)) == compared(FAILED, OLD, ())
    changed = compared(FAILED, NEW, ())
    assert isinstance(changed, Changed)
    assert "192.0.2.1" == changed.found.words
    assert 0 == changed.watched.looks
    for seen in (NEW, OLD):
        assert isinstance(compared(changed.watched, seen, ()), Same)
    both, turned = leads("192.0.2.1", "192.0.2.2"), leads("192.0.2.2", "192.0.2.1")
    assert isinstance(compared(failed(None, CA, "connection", both), turned, ()), Same)


def test_few_addresses_are_shown() -> None:
    """
    There may be thousands in an answer.
    """
    found = printed(leads(*(f"192.0.2.{number}" for number in range(10, 20))), is_of_caa=False)
    assert found is not None
    assert "192.0.2.10, 192.0.2.11, 192.0.2.12, 192.0.2.13 and 6 more" == found.words


def test_change_that_does_not_help_is_none_until_one_does() -> None:
    """
    The next one is judged for itself.
    """
    same = compared(FAILED, leads("203.0.113.1"), IN_VAIN)
    assert isinstance(same, Same)
    assert isinstance(compared(same.watched, NEW, ()), Changed)


@pytest.mark.parametrize("seen", [None, Seen(SILENT, NOTHING), Seen(NOTHING, Answer("failed"))])
def test_look_without_an_answer_changes_nothing(seen: Seen | None) -> None:
    """
    The resolver may have its own troubles.
    """
    assert Same(attrs.evolve(FAILED, looks=1)) == compared(FAILED, seen, ())


def test_answer_where_there_was_none_at_the_failure_is_a_change() -> None:
    """
    The zone's servers are back.
    """
    watched = failed(None, CA, "dns-timeout", Seen(SILENT, SILENT))
    assert isinstance(compared(watched, NEW, ()), Changed)


def test_name_that_is_gone_differs_from_one_without_addresses_by_what_is_found() -> None:
    """
    Both lead nowhere, and neither is a reason.
    """
    gone = Seen(Answer("nxdomain"), Answer("nxdomain"))
    found = printed(gone, is_of_caa=False)
    assert found is not None
    assert "no address" == found.words
    assert isinstance(compared(FAILED, gone, IN_VAIN), Same)


@pytest.mark.parametrize(("code", "is_changed"), [("dns-nxdomain", True), ("caa-forbids", True), ("connection", False)])
def test_after_a_restart_only_what_the_dns_was_at_fault_for_is_news(code: str, *, is_changed: bool) -> None:
    """
    What the failure was is stored; what was seen then is not, and is taken from the first look.
    """
    watched = Watched(CA, code)
    first = compared(watched, NEW, ())
    assert is_changed == isinstance(first, Changed)
    assert isinstance(compared(first.watched, NEW, ()), Same)
    assert isinstance(compared(first.watched, OLD, ()), Changed)
    still = compared(watched, OLD, IN_VAIN)
    assert isinstance(still, Same)
    assert isinstance(compared(still.watched, NEW, ()), Changed)


def test_caa_counts_where_it_forbade() -> None:
    """
    And is not asked for otherwise.
    """
    watched = failed(None, CA, "caa-forbids", leads("192.0.2.1", caa=(NOTHING, FORBIDS)))
    assert watched.is_of_caa
    assert isinstance(compared(watched, leads("192.0.2.1", caa=(NOTHING, FORBIDS)), ()), Same)
    assert isinstance(compared(watched, leads("192.0.2.1", caa=(NOTHING, NOTHING)), ()), Changed)
    assert isinstance(compared(watched, leads("192.0.2.1", caa=(SILENT, NOTHING)), ()), Same)
    assert isinstance(compared(FAILED, leads("198.51.100.1", caa=(FORBIDS,)), ()), Same)


def test_alias_counts() -> None:
    """
    The customer has begun to move.
    """
    moved = Seen(Answer(addresses=("198.51.100.1",), aliases=("proxy.example",)), NOTHING)
    assert isinstance(compared(FAILED, moved, ()), Changed)


def test_what_was_tried_is_kept_over_attempts_at_one_ca() -> None:
    """
    Another CA knows nothing of it, nor does a failure of another sort of records.
    """
    again = failed(FAILED, CA, "wrong-answer", NEW)
    assert ("wrong-answer", 2) == (again.code, len(again.tried or ()))
    assert FAILED.tried == failed(attrs.evolve(FAILED, looks=3), CA, "connection", None).tried
    assert failed(None, OTHER_CA, "wrong-answer", NEW) == failed(FAILED, OTHER_CA, "wrong-answer", NEW)
    assert 1 == len(failed(FAILED, CA, "caa-forbids", NEW).tried or ())
    assert Watched(CA, "dns") == failed(None, CA, "dns", None)


def test_addresses_that_rotate_are_not_tried_for_ever() -> None:
    """
    Those of a CDN may be others at each look.
    """
    watched, changes = FAILED, 0
    for number in range(2 * MOST_TRIED):
        judged = compared(watched, leads(f"192.0.2.{number}"), ())
        watched, changes = judged.watched, changes + isinstance(judged, Changed)
    assert MOST_TRIED - 1 == changes


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_looks_thin_out_to_one_an_hour(looks: int, fraction: float) -> None:
    """
    None comes sooner than the first, nor later than an hour, give or take a tenth.
    """
    assert 0.9 * FIRST_PAUSE_SECONDS <= pause_seconds(looks, fraction) <= 1.1 * LONGEST_PAUSE_SECONDS
    assert pause_seconds(looks, fraction) <= pause_seconds(looks + 1, fraction)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("dns-nxdomain", True),
        ("caa-forbids", True),
        ("connection-refused", True),
        ("wrong-answer", True),
        ("unauthorized", True),
        ("tls", True),
        ("store", False),
        ("ca-failing", False),
        ("unexpected", False),
    ],
)
def test_failure_that_dns_may_end_is_told_by_its_code(code: str, *, expected: bool) -> None:
    """
    That is what is stored of it.
    """
    assert expected == concerns_dns(Diagnosis(code, Who.CUSTOMER, "cause", "advice"))
    assert not concerns_dns(None)
