from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.upstream_health import UpstreamHealth, WentBad, WentGood


def test_unreachable_upstream_is_news_at_once_and_once() -> None:
    """
    The first failure to connect is told, the hundred after it are not.
    """
    health = UpstreamHealth()
    news = [health.failed(float(now), "refused", unreachable=True) for now in range(100)]
    assert [WentBad("refused", 1)] == [item for item in news if item is not None]


def test_one_bad_request_is_no_news() -> None:
    """
    A request that breaks between others that don't is that request's trouble.
    """
    health = UpstreamHealth()
    for now in range(50):
        assert health.failed(float(now), "broke off", unreachable=False) is None
        assert health.answered(float(now)) is None
    assert (None, False) == (health.cause, health.troubled)


def test_three_bad_requests_in_a_row_are_news() -> None:
    """
    With no answer between them it is the upstream.
    """
    health = UpstreamHealth()
    news = [health.failed(float(now), "broke off", unreachable=False) for now in range(4)]
    assert [None, None, WentBad("broke off", 3), None] == news


def test_another_cause_is_news() -> None:
    """
    Refused yesterday and a wrong certificate today are two things to know; a broken request on top is not.
    """
    health = UpstreamHealth()
    health.failed(0.0, "refused", unreachable=True)
    assert WentBad("certificate", 2) == health.failed(1.0, "certificate", unreachable=True)
    assert health.failed(2.0, "broke off", unreachable=False) is None
    assert "certificate" == health.cause


def test_recovery_is_news_with_what_it_cost() -> None:
    """
    Good again: how often and how long it was bad.
    """
    health = UpstreamHealth()
    for now in (10.0, 20.0, 30.0):
        health.failed(now, "refused", unreachable=True)
    assert health.answered(39.0) is None
    assert WentGood(3, 31.0) == health.answered(41.0)
    assert (None, False) == (health.cause, health.troubled)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.booleans(), st.booleans()), max_size=300))
def test_news_is_never_a_flood(steps: list[tuple[float, bool, bool]]) -> None:
    """
    Good and bad alternate at most once in ten seconds, whatever the requests do.
    """
    health, now, told = UpstreamHealth(), 0.0, []
    for wait, fails, unreachable in steps:
        now += wait
        news = health.failed(now, "cause", unreachable) if fails else health.answered(now)
        if news is not None:
            told.append((now, type(news)))
    assert [WentBad, WentGood] * (len(told) // 2) + [WentBad] * (len(told) % 2) == [kind for _, kind in told]
    assert all(good - bad >= 10.0 for (bad, _), (good, kind) in pairwise(told) if kind is WentGood)
