"""
Tests for `sptls.certs.diagnosis`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.diagnosis import Diagnosis, Finding, Who, joined, of_own, unnamed, waiting

FINDING = Finding(Diagnosis("dns-elsewhere", Who.CUSTOMER, "it leads elsewhere", "mend it"), is_fatal=True)


def test_findings_that_explain_a_failure_go_first() -> None:
    """
    Others only stand beside it.
    """
    failure = Diagnosis("connection-refused", Who.HOST, "refused", "open it")
    hint = Finding(Diagnosis("dns-slow", Who.CUSTOMER, "slow", "hurry"), is_fatal=False)
    assert failure == joined(failure, [])
    beside = joined(failure, [hint])
    assert ("connection-refused", True) == (beside.code, beside.cause.endswith("; slow"))
    first = joined(failure, [hint, FINDING])
    assert ("dns-elsewhere", Who.CUSTOMER, True) == (
        first.code,
        first.who,
        first.cause.startswith("it leads elsewhere"),
    )


def test_what_is_no_error_has_a_meaning_too() -> None:
    """
    A wait, a failure that an older sptls stored, a certificate of the operator's own.
    """
    assert ("waiting", Who.CA_LIMITS, "until then") == (
        waiting("until then").code,
        waiting("until then").who,
        waiting("until then").cause,
    )
    assert "refused" == unnamed("refused").cause
    assert ("own-certificate", Who.OPERATOR) == (of_own("expired").code, of_own("expired").who)


@given(st.text(max_size=2000))
def test_no_word_is_empty_nor_without_an_end(words: str) -> None:
    """
    Whatever was stored or said.
    """
    for found in (waiting(words), unnamed(words), of_own(words), joined(of_own(words), [FINDING] * 99)):
        assert all(text.strip() and len(text) < 700 for text in (found.cause, found.advice, found.who.words))
