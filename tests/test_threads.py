from __future__ import annotations

import threading
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING, cast

import pytest

from sptls.threads import InThread, daemon_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads


class Reactor:
    """
    The part of a reactor that threads call: what they hand over waits in a queue.
    """

    def __init__(self) -> None:
        self.calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(self, work: Callable[..., object], *args: object) -> None:  # noqa: N802
        """
        Take *work* from a thread.
        """
        self.calls.put(partial(work, *args))


@pytest.fixture
def reactor() -> Reactor:
    """
    A reactor that the test turns by hand.
    """
    return Reactor()


@pytest.fixture
def in_thread(reactor: Reactor) -> InThread:
    """
    The way into threads of that reactor.
    """
    return daemon_thread(cast("IReactorFromThreads", reactor), "a name")


def test_work_is_done_elsewhere_and_its_outcome_comes_back_here(reactor: Reactor, in_thread: InThread) -> None:
    """
    The work runs in a daemon thread of that name; its result fires when the reactor gets to it, not before.
    """
    results: list[threading.Thread] = []
    in_thread(threading.current_thread).addCallback(results.append)
    call = reactor.calls.get(timeout=10)
    assert not results
    call()
    (thread,) = results
    assert (thread.name, thread.daemon) == ("a name", True)
    assert thread is not threading.current_thread()


def test_failures_come_back_too(reactor: Reactor, in_thread: InThread) -> None:
    """
    What the work raises, the Deferred fails with.
    """
    deferred = in_thread(lambda: 1 // 0)
    reactor.calls.get(timeout=10)()
    failures: list[type[BaseException] | None] = []
    deferred.addErrback(lambda failure: failures.append(failure.type))
    assert failures == [ZeroDivisionError]


def test_an_outcome_that_nobody_waits_for_any_more_is_dropped(reactor: Reactor, in_thread: InThread) -> None:
    """
    Cancelling ends the waiting at once; the late result is no error.
    """
    released = threading.Event()
    deferred = in_thread(lambda: released.wait(10))
    deferred.addErrback(lambda _: None)
    deferred.cancel()
    released.set()
    reactor.calls.get(timeout=10)()
    assert deferred.called
