"""
Timers run on monotonic seconds, whatever is done to the wall clock, and wall time is aware.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.base import ReactorBase

from sptls.clock import run_on_monotonic_time, wall_time


class Reactor(ReactorBase):
    """
    Twisted's own timers, without sockets; nobody waits in here.
    """

    def installWaker(self) -> None:  # noqa: N802 - Twisted's name
        """
        Open no pipe: no other thread wakes this one.
        """


@pytest.fixture
def reactor() -> Reactor:
    """
    A reactor of its own, not installed.
    """
    return Reactor()


def test_wall_time_is_aware_and_now() -> None:
    """
    Validity and stored moments are compared with moments in UTC.
    """
    assert UTC is wall_time().tzinfo
    assert abs(wall_time() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_timer_runs_on_monotonic_seconds(reactor: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Setting the wall clock back a day does not delay it.
    """
    run_on_monotonic_time(reactor)
    called: list[str] = []
    reactor.callLater(0, called.append, "called")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    reactor.runUntilCurrent()
    assert ["called"] == called
    assert time.monotonic() - 5 < reactor.seconds() <= time.monotonic()


def test_timers_that_exist_keep_their_distance(reactor: Reactor) -> None:
    """
    What was to come in an hour comes in an hour; what is overdue comes now; what was cancelled stays so.
    """
    later, overdue, cancelled = (reactor.callLater(3600, lambda: None) for _ in range(3))
    overdue.delay(-7200)
    cancelled.cancel()
    run_on_monotonic_time(reactor)
    now = time.monotonic()
    assert now + 3590 < later.getTime() < now + 3610
    assert now - 10 < overdue.getTime() < now + 10
    assert not cancelled.active()


def test_a_timer_that_exists_can_be_put_off_on_the_new_time(reactor: Reactor) -> None:
    """
    Resetting it reads the same clock as the reactor.
    """
    call = reactor.callLater(3600, lambda: None)
    run_on_monotonic_time(reactor)
    call.reset(60)
    assert time.monotonic() + 50 < call.getTime() < time.monotonic() + 70


def test_timers_come_in_order_after_the_change(reactor: Reactor) -> None:
    """
    Those from before and those from after are in one queue.
    """
    called: list[str] = []
    reactor.callLater(0, called.append, "before")
    reactor.callLater(3600, called.append, "much later")
    reactor.runUntilCurrent()
    reactor.callLater(0, called.append, "new before")
    run_on_monotonic_time(reactor)
    reactor.callLater(0, called.append, "after")
    reactor.runUntilCurrent()
    assert ["before", "new before", "after"] == called
    assert 1 == len(reactor.getDelayedCalls())


def test_changing_twice_changes_nothing(reactor: Reactor) -> None:
    """
    The demo and the service may both ask for it.
    """
    run_on_monotonic_time(reactor)
    call = reactor.callLater(3600, lambda: None)
    due = call.getTime()
    run_on_monotonic_time(reactor)
    assert due == call.getTime()
