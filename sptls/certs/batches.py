"""
Writes that wait for the same disk go to it together: in one transaction, which takes as long as one of them alone.

Between a CA's answer and the moment when it is on the disk a kill -9 costs what the CA has answered; with 32 orders at
a time, each synced by itself, that was a third of a second. Whoever waits still hears of its own work's outcome, and no
sooner than that is on the disk. Works are done in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

Work = Callable[[], Any]


class Worker(Protocol):
    """
    Where blocking work is done: one piece after the other, always in the same thread.
    """

    def start(self) -> None:
        """
        Get ready to work.
        """

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Do *work* after all that was given before.
        """

    def stop(self) -> None:
        """
        Finish what was given and end.
        """


@attrs.frozen(eq=False)
class _Waiting:
    work: Work
    is_write: bool
    done: Deferred[Any] = attrs.field(factory=Deferred)

    def end(self, outcome: Any) -> None:
        """
        Tell who waits.
        """
        if isinstance(outcome, Exception):
            self.done.errback(Failure(outcome))
        else:
            self.done.callback(outcome)


@attrs.define(eq=False)
class Batches:
    """
    Gives works to *worker*; *together* does several that write, and gives what each returned or raised.
    """

    worker: Worker
    together: Callable[[Sequence[Work]], list[Any]]
    # Internal state
    _waiting: list[_Waiting] = attrs.field(init=False, factory=list)
    _is_working: bool = attrs.field(init=False, default=False)

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Do *work* after all that was given before; cancelling ends the waiting, not the work.
        """
        return self._give(_Waiting(work, is_write=False))

    def write(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Do *work*, which only writes, after all that was given before, perhaps with others.
        """
        return self._give(_Waiting(work, is_write=True))

    def _give(self, waiting: _Waiting) -> Deferred[Any]:
        self._waiting.append(waiting)
        if not self._is_working:
            self._work()
        return waiting.done

    def _work(self) -> None:
        batch = list(takewhile(lambda one: one.is_write, self._waiting)) or self._waiting[:1]
        del self._waiting[: len(batch)]
        self._is_working = True
        working = self.worker.run(partial(self.together, [one.work for one in batch]))
        working.addBoth(self._ended, batch)

    def _ended(self, result: list[Any] | Failure, batch: list[_Waiting]) -> None:
        # The next are at work before those who waited ask for more.
        self._is_working = False
        if self._waiting:
            self._work()
        outcomes = [result.value] * len(batch) if isinstance(result, Failure) else result
        for one, outcome in zip(batch, outcomes, strict=True):
            one.end(outcome)
