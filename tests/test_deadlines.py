"""
Deadlines pass in order, up to one tick late and never early, and one that fails does not stop the others.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from sptls.deadlines import DeadlineQueue, Deadlines, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@attrs.define(eq=False)
class Member:
    """
    Something with a deadline, which remembers when it passed.
    """

    clock: Clock
    passed_at: list[float] = attrs.Factory(list)
    then: Callable[[], object] = lambda: None

    def deadline_passed(self) -> None:
        """
        Remember the moment, and do what the test wants.
        """
        self.passed_at.append(self.clock.seconds())
        self.then()


@pytest.fixture
def clock() -> Clock:
    """
    Time that stands still until it is told.
    """
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Iterator[Deadlines]:
    """
    Deadlines that are being looked at, every quarter of a second.
    """
    deadlines = Deadlines(clock, tick_seconds=0.25)
    deadlines.start()
    yield deadlines
    deadlines.stop()
    assert [] == clock.getDelayedCalls()


def run(clock: Clock, seconds: float) -> None:
    """
    Let *seconds* go by in steps that are no multiple of a tick.
    """
    clock.pump([0.1] * round(seconds * 10))


def test_a_deadline_passes_once_within_a_tick(clock: Clock, deadlines: Deadlines) -> None:
    """
    Not before its time, and not again.
    """
    member = Member(clock)
    queue = deadlines.queue(2.0)
    queue.set(member)
    run(clock, 1.9)
    assert [] == member.passed_at
    run(clock, 5)
    assert 1 == len(member.passed_at)
    assert 2.0 <= member.passed_at[0] <= 2.4
    assert 0 == len(queue)


def test_setting_a_deadline_again_starts_it_anew(clock: Clock, deadlines: Deadlines) -> None:
    """
    The last setting counts, also for the order among the others.
    """
    first, second = Member(clock), Member(clock)
    queue = deadlines.queue(2.0)
    queue.set(first)
    queue.set(second)
    run(clock, 1)
    queue.set(first)
    run(clock, 1.5)
    assert (0, 1) == (len(first.passed_at), len(second.passed_at))
    run(clock, 1)
    assert (1, 1) == (len(first.passed_at), len(second.passed_at))


def test_a_cleared_deadline_does_not_pass(clock: Clock, deadlines: Deadlines) -> None:
    """
    Clearing twice, or what was never set, is fine.
    """
    member = Member(clock)
    queue = deadlines.queue(1.0)
    queue.set(member)
    queue.clear(member)
    queue.clear(member)
    run(clock, 3)
    assert [] == member.passed_at


def test_a_member_that_raises_is_logged_and_the_others_expire(clock: Clock, deadlines: Deadlines) -> None:
    """
    One connection's fault stops no other's deadline, in its queue or the next.
    """
    faulty, sound, other = Member(clock, then=lambda: 1 / 0), Member(clock), Member(clock)
    queue = deadlines.queue(1.0)
    queue.set(faulty)
    queue.set(sound)
    deadlines.queue(1.0).set(other)
    with capturedLogs() as events:
        run(clock, 2)
    assert (1, 1, 1) == (len(faulty.passed_at), len(sound.passed_at), len(other.passed_at))
    assert [LogLevel.critical] == [event["log_level"] for event in events]
    assert events[0]["log_failure"].check(ZeroDivisionError)


def test_a_member_may_set_itself_again_when_its_deadline_passes(clock: Clock, deadlines: Deadlines) -> None:
    """
    It waits for the next tick then, even where the queue's time is nothing.
    """
    queue = deadlines.queue(0.0)
    member = Member(clock)
    member.then = lambda: queue.set(member)
    queue.set(member)
    run(clock, 1)
    assert 3 == len(member.passed_at)


def test_a_member_may_clear_the_others_when_its_deadline_passes(clock: Clock, deadlines: Deadlines) -> None:
    """
    What was cleared at the last moment does not pass.
    """
    queue = deadlines.queue(1.0)
    spared = Member(clock)
    queue.set(Member(clock, then=lambda: queue.clear(spared)))
    queue.set(spared)
    run(clock, 2)
    assert [] == spared.passed_at


def test_a_member_may_set_the_others_again_when_its_deadline_passes(clock: Clock, deadlines: Deadlines) -> None:
    """
    What was set again at the last moment passes when that is due, once.
    """
    queue = deadlines.queue(1.0)
    other = Member(clock)
    queue.set(Member(clock, then=lambda: queue.set(other)))
    queue.set(other)
    run(clock, 4)
    (passed_at,) = other.passed_at
    assert 2.0 <= passed_at <= 2.5


def test_nothing_passes_before_start_and_after_stop(clock: Clock) -> None:
    """
    Stopping leaves no timer; starting twice leaves one; stopping twice is fine.
    """
    deadlines = Deadlines(clock)
    member = Member(clock)
    deadlines.queue(0.0).set(member)
    deadlines.stop()
    run(clock, 1)
    deadlines.start()
    deadlines.start()
    assert 1 == len(clock.getDelayedCalls())
    deadlines.stop()
    deadlines.stop()
    run(clock, 1)
    assert ([], []) == (member.passed_at, clock.getDelayedCalls())


def test_a_member_may_stop_everything_when_its_deadline_passes(clock: Clock) -> None:
    """
    No tick comes after that.
    """
    deadlines = Deadlines(clock)
    deadlines.queue(0.0).set(Member(clock, then=deadlines.stop))
    deadlines.start()
    run(clock, 1)
    assert [] == clock.getDelayedCalls()


def stand_still(clock: Clock, seconds: float) -> None:
    """
    Let *seconds* go by at once, and the reactor make the calls that are due, but none of those that these make.
    """
    clock.rightNow += seconds
    for call in list(clock.calls):
        if call.getTime() <= clock.seconds():
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


def test_what_came_while_the_process_stood_still_is_read_first(clock: Clock, deadlines: Deadlines) -> None:
    """
    A paused machine holds no client to have been silent: only who said nothing meanwhile is late.
    """
    spoke, silent = Member(clock), Member(clock)
    queue = deadlines.queue(1.0)
    queue.set(spoke)
    queue.set(silent)
    stand_still(clock, 3)
    assert ([], []) == (spoke.passed_at, silent.passed_at)
    queue.clear(spoke)  # the reactor has read
    stand_still(clock, 0)
    assert ([], [3.0]) == (spoke.passed_at, silent.passed_at)


def test_deadlines_pass_also_where_every_turn_is_late(clock: Clock, deadlines: Deadlines) -> None:
    """
    Too much to do is no reason to keep connections for ever.
    """
    member = Member(clock)
    deadlines.queue(1.0).set(member)
    for _ in range(4):
        stand_still(clock, 1)
    assert 1 == len(member.passed_at)


class Waiter(Waits):
    """
    Waits for one thing at a time.
    """

    def __init__(self) -> None:
        self._deadline = None

    def wait_in(self, *queues: DeadlineQueue | None) -> None:
        """
        Wait in one after the other.
        """
        for queue in queues:
            self._wait_in(queue)


def test_one_that_waits_is_in_one_queue_at_the_most(clock: Clock) -> None:
    """
    To wait for the next thing ends the wait for the one before; set anew in the same queue it stays there once.
    """
    one, other, waiter = DeadlineQueue(clock, 1.0), DeadlineQueue(clock, 2.0), Waiter()
    seen = []
    for queue in (one, one, other, None, None):
        waiter.wait_in(queue)
        seen.append((len(one), len(other)))
    assert [(1, 0), (1, 0), (0, 1), (0, 0), (0, 0)] == seen


def test_what_waits_says_itself_what_becomes_of_it(clock: Clock) -> None:
    """
    A deadline that nobody acts on is a fault, which the log tells.
    """
    queue, waiter = DeadlineQueue(clock, 1.0), Waiter()
    waiter.wait_in(queue)
    with capturedLogs() as events:
        queue.expire(5.0)
    assert ["a deadline could not be acted on"] == [event["log_format"] for event in events]
    with pytest.raises(NotImplementedError):
        waiter.deadline_passed()


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 3), st.booleans()), max_size=30))
def test_whatever_is_set_and_cleared_expires_in_order_and_in_time(steps: list[tuple[int, float, bool]]) -> None:
    """
    A queue agrees with a plain dict of due times.
    """
    clock = Clock()
    passed: list[int] = []
    expected: list[int] = []
    due: dict[int, float] = {}
    queue = DeadlineQueue(clock, 2.0)
    members = [Member(clock, then=partial(passed.append, index)) for index in range(6)]
    for index, seconds, is_set in steps:
        clock.advance(seconds)
        queue.expire(clock.seconds())
        expected += [member for member, at in due.items() if at <= clock.seconds()]
        due = {member: at for member, at in due.items() if at > clock.seconds() and member != index}
        if is_set:
            queue.set(members[index])
            due[index] = clock.seconds() + 2.0
        else:
            queue.clear(members[index])
        assert (expected, len(due)) == (passed, len(queue))
