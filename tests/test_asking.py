"""
Tests for `sptls.asking`.
"""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from sptls.asking import abandonable, all_of, reason


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DNSLookupError("no such\nhost"), "DNSLookupError: DNS lookup failed: no such host."),
        (ResponseNeverReceived([Failure(ValueError("inner"))]), "ValueError: inner"),
        (SSL.Error([("SSL routines", "", "wrong version number")]), "TLS: wrong version number"),
        (SSL.ZeroReturnError(), "ZeroReturnError"),
        (ResponseNeverReceived([Failure(ResponseNeverReceived([Failure(KeyError())]))]), "KeyError"),
    ],
)
def test_the_innermost_cause_is_told_in_one_line(error: Exception, expected: str) -> None:
    """
    The agent's wrappers say nothing to an operator.
    """
    assert expected == reason(error)


def test_abandoned_work_says_nothing_more() -> None:
    """
    What becomes of cancelled work is nobody's concern.
    """
    work: Deferred[int] = Deferred(lambda deferred: deferred.errback(ValueError("of its own")))
    outcome = abandonable(work)
    outcomes: list[object] = []
    outcome.addErrback(lambda failure: outcomes.append(failure.type))
    outcome.cancel()
    assert [CancelledError] == outcomes


def test_work_that_is_not_abandoned_has_its_result() -> None:
    """
    Results and failures pass through.
    """
    done, broken = Deferred[int](), Deferred[int]()
    results: list[object] = []
    abandonable(done).addCallback(results.append)
    abandonable(broken).addErrback(lambda failure: results.append(failure.type))
    done.callback(1)
    broken.errback(ValueError())
    assert [1, ValueError] == results


def test_all_are_asked_at_once() -> None:
    """
    The answers are in the order of the questions, whichever came first.
    """
    asked: list[Deferred[str]] = [Deferred(), Deferred()]
    answers: list[object] = []
    Deferred.fromCoroutine(all_of(awaited(one) for one in asked)).addBoth(answers.append)
    asked[1].callback("second")
    assert [] == answers
    asked[0].callback("first")
    assert [["first", "second"]] == answers


def test_one_that_fails_fails_all_when_they_have_ended() -> None:
    """
    Nothing is left under way, and the failure is the question's own.
    """
    asked: list[Deferred[str]] = [Deferred(), Deferred()]
    answers: list[object] = []
    Deferred.fromCoroutine(all_of(awaited(one) for one in asked)).addErrback(
        lambda failure: answers.append(failure.value)
    )
    error = ValueError("no")
    asked[0].errback(error)
    assert [] == answers
    asked[1].callback("second")
    assert [error] == answers


def test_cancelling_cancels_all() -> None:
    """
    Whoever gives up hears of nothing else.
    """
    cancelled: list[object] = []
    asked: list[Deferred[str]] = [Deferred(cancelled.append), Deferred(cancelled.append)]
    answers: list[object] = []
    asking = Deferred.fromCoroutine(all_of(awaited(one) for one in asked))
    asking.addErrback(lambda failure: answers.append(failure.check(CancelledError)))
    asking.cancel()
    assert (asked, [CancelledError]) == (cancelled, answers)


async def awaited(answer: Deferred[str]) -> str:
    """
    Wait for *answer*.
    """
    return await answer
