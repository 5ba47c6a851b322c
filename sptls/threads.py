"""
Blocking work that may never end: done in threads that nobody waits for at the end of the process.

For what a file system that hangs can hold up. A thread pool does not stop while a dead file server has one of its
threads, and its few threads can all be lost that way.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")


class InThread(Protocol):
    """
    A way to do blocking work: calls it elsewhere, and fires in the reactor's thread with what came of it.
    """

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """
        Do *work*; cancelling ends the waiting, not the work.
        """


def daemon_thread(reactor: IReactorFromThreads, name: str) -> InThread:
    """
    Give a way to work in a new thread each time, called *name*; whoever uses it bounds how many run at once.
    """

    def in_thread(work: Callable[[], T], /) -> Deferred[T]:
        outcome: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
                reactor.callFromThread(outcome.errback, error)
            else:
                reactor.callFromThread(outcome.callback, result)

        Thread(target=run, name=name, daemon=True).start()
        return outcome

    return in_thread
