from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.breaker import FAILURES_THAT_OPEN, Breaker


def opened(at: float = 0.0) -> Breaker:
    """
    Give a breaker that has just opened.
    """
    breaker = Breaker()
    for _ in range(FAILURES_THAT_OPEN):
        breaker.failed(at, 0.5)
    return breaker


def test_closed_at_first_and_after_a_few_failures() -> None:
    """
    A packet lost and a deploy of the CA's are no outage.
    """
    breaker = Breaker()
    for _ in range(FAILURES_THAT_OPEN - 1):
        breaker.failed(0, 0.5)
    assert (None, False) == (breaker.open_until(0), breaker.is_open)


def test_answer_between_failures_starts_the_count_again() -> None:
    """
    Only failures in a row count.
    """
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(0, 0.5)
        breaker.answered()
    assert not breaker.is_open


def test_outage_stops_orders_for_a_while() -> None:
    """
    Half a minute; then an order may begin, and it is the only one.
    """
    breaker = opened()
    assert (30.0, None) == (breaker.open_until(29.9), breaker.open_until(30.0))
    breaker.began()
    assert breaker.open_until(30.0) is not None


def test_probe_that_succeeds_closes() -> None:
    """
    Everything may begin again.
    """
    breaker = opened()
    breaker.began()
    breaker.answered()
    assert (None, False) == (breaker.open_until(30), breaker.is_open)


def test_probes_that_fail_come_less_often() -> None:
    """
    The pause doubles, up to ten minutes.
    """
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(7):
        until = breaker.open_until(now)
        assert until is not None
        pauses.append(until - now)
        now = until
        breaker.began()
        breaker.failed(now, 0.5)
    assert [30, 60, 120, 240, 480, 600, 600] == pauses


def test_order_that_ran_already_changes_no_pause() -> None:
    """
    Thirty-two that fail together are one outage.
    """
    breaker = opened()
    for _ in range(29):
        breaker.failed(1, 0.5)
    assert 30.0 == breaker.open_until(1)


def test_probe_that_is_given_up_lets_another_go() -> None:
    """
    A client that left, or a stop, says nothing of the CA.
    """
    breaker = opened()
    breaker.began()
    breaker.given_up()
    assert breaker.open_until(31) is None


@pytest.mark.parametrize(("asked_seconds", "expected"), [(5.0, 30.0), (90.0, 90.0), (1e9, 600.0)])
def test_retry_after_is_obeyed_within_reason(asked_seconds: float, expected: float) -> None:
    """
    A CA that asks for more gets it, up to the longest pause: its clock may be wrong.
    """
    breaker = Breaker()
    for _ in range(FAILURES_THAT_OPEN):
        breaker.failed(0, 0.5, asked_seconds)
    assert expected == breaker.open_until(0)


@given(st.lists(st.sampled_from(["began", "answered", "failed", "given_up"]), max_size=40), st.floats(0, 0.999))
def test_no_pause_is_longer_than_it_may_be(steps: list[str], fraction: float) -> None:
    """
    Whatever happens, an order may begin within a quarter of an hour.
    """
    breaker = Breaker()
    for step in steps:
        if step == "failed":
            breaker.failed(0, fraction, 1e6)
        else:
            getattr(breaker, step)()
    breaker.given_up()
    assert breaker.open_until(721) is None
