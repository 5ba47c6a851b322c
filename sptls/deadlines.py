"""
Coarse deadlines: one timer for all connections, none per connection.

Every queue has one duration, so its members expire in the order in which they were set, and setting or clearing
one is a move in a dict (about 0.4 µs on a busy machine; `callLater` costs several times that). A deadline passes up to
one tick late, never early. Time is the reactor's, which runs on monotonic seconds (`clock.run_on_monotonic_time`).

Time in which the process itself stood still (a machine that was paused, a processor that others had) is nobody's
silence: what came meanwhile is read before a deadline passes.
"""

from __future__ import annotations

from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_log = Logger()


class Expires(Protocol):
    """
    What can have a deadline: anything hashable by identity.
    """

    def deadline_passed(self) -> None:
        """
        Be told that the deadline passed; it is cleared already.
        """


class Waits:
    """
    Something that waits for one thing at a time: it is in one queue at the most, *_deadline*, None for none.
    """

    __slots__ = ("_deadline",)

    _deadline: DeadlineQueue | None

    def deadline_passed(self) -> None:
        """
        Be told that the deadline passed; the queue has let go of it.
        """
        raise NotImplementedError

    def _wait_in(self, queue: DeadlineQueue | None) -> None:
        """
        Wait anew in *queue*, and in no other one; None: for nothing.
        """
        if self._deadline is not None and self._deadline is not queue:
            self._deadline.clear(self)
        if queue is not None:
            queue.set(self)
        self._deadline = queue


class DeadlineQueue:
    """
    The members that wait for one kind of thing, each at most *seconds* from when it was last set.
    """

    __slots__ = ("_due", "_now", "seconds")

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._now = clock.seconds
        self._due: dict[Expires, float] = {}  # the first to expire is the first in it

    def set(self, member: Expires) -> None:
        """
        Let *member* expire this queue's seconds from now, whatever was set before.
        """
        due = self._due
        if member in due:
            del due[member]  # else it would keep its place
        due[member] = self._now() + self.seconds

    def clear(self, member: Expires) -> None:
        """
        Forget *member*; fine when it is not in here.
        """
        self._due.pop(member, None)

    def expire(self, now: float) -> None:
        """
        Tell every member whose time is over; one that raises is logged and does not stop the others.
        """
        due = self._due
        # Each at most once: a member that sets itself again must not keep this loop going. Gathered first: to look for
        # a dict's first member again after each that was taken out of it takes time in the square of their number.
        for member in [*takewhile(lambda member: due[member] <= now, due)]:
            if due.get(member, inf) > now:  # cleared, or set again, by one before it
                continue
            del due[member]
            try:
                member.deadline_passed()
            except Exception:  # noqa: BLE001 - one connection's fault must not stop every other's deadline
                _log.failure("a deadline could not be acted on")

    def __len__(self) -> int:
        return len(self._due)


class Deadlines:
    """
    All queues of a process, looked through every *tick_seconds* while running.
    """

    def __init__(self, clock: IReactorTime, tick_seconds: float = 0.25) -> None:
        self._clock, self._tick_seconds = clock, tick_seconds
        self._queues: list[DeadlineQueue] = []
        self._call: IDelayedCall | None = None
        self._due_seconds, self._is_late = 0.0, False

    def queue(self, seconds: float) -> DeadlineQueue:
        """
        Make a queue whose members expire *seconds* after they were last set.
        """
        queue = DeadlineQueue(self._clock, seconds)
        self._queues.append(queue)
        return queue

    def start(self) -> None:
        """
        Begin to look; until `stop`. Once is enough.
        """
        self.stop()
        self._schedule()

    def stop(self) -> None:
        """
        Look no more: after this no tick comes.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        self._due_seconds, self._is_late = self._clock.seconds() + self._tick_seconds, False
        self._call = self._clock.callLater(self._tick_seconds, self._tick)

    def _tick(self) -> None:
        now = self._clock.seconds()
        if now > self._due_seconds + self._tick_seconds and not self._is_late:
            # The reactor reads what there is to be read between this turn and the next. Once: where every turn is late,
            # deadlines pass all the same.
            self._is_late = True
            self._call = self._clock.callLater(0, self._tick)
            return
        self._schedule()
        for queue in self._queues:
            queue.expire(now)
