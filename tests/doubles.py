"""
Doubles that several folders use: a reactor in memory whose threads are the caller's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure


class InlineReactor(MemoryReactorClock):
    """
    A reactor in memory; what is called from a thread is called at once, and stopping is counted.

    It runs from the beginning, unless `running` is set to False: then `begin` has it run.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running = True
        self.stops = 0

    def begin(self) -> None:
        """
        Begin to run.
        """
        self.running = True
        for call, args, kwargs in self.whenRunningHooks:
            call(*args, **kwargs)

    def callFromThread(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Call now.
        """
        call(*args, **kwargs)

    def getDelayedCalls(self) -> list[Any]:  # noqa: N802 - Twisted's name
        """
        Give what is scheduled.
        """
        return list(self.calls)

    def getReaders(self) -> list[Any]:  # noqa: N802 - Twisted's name
        """
        Give what waits to be read.
        """
        return list(self.readers)

    def stop(self) -> None:
        """
        Count it.
        """
        self.stops += 1


class InlineThreads:
    """
    A thread pool whose thread is the caller's; *held* work waits for `go_on`.
    """

    def __init__(self, *, hold: bool = False) -> None:
        self._hold = hold
        self._held: list[Callable[[], None]] = []

    def start(self) -> None:
        """
        Nothing to start.
        """

    def stop(self) -> None:
        """
        Nothing to stop.
        """

    def callInThreadWithCallback(  # noqa: N802 - Twisted's name
        self, done: Callable[[bool, Any], None], work: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """
        Do *work* and tell *done*, as `ThreadPool` does.
        """

        def do() -> None:
            try:
                result = work(*args, **kwargs)
            except Exception:  # noqa: BLE001 - told, as ThreadPool does
                done(False, Failure())
            else:
                done(True, result)

        if self._hold:
            self._held.append(do)
        else:
            do()

    def go_on(self) -> None:
        """
        Do what was held.
        """
        held, self._held = self._held, []
        for do in held:
            do()
