"""
A real reactor whose time does not pass idly: what would be waited for comes at once, unless somebody outside works.

Sockets are real, and so is the other process at their end. Timers tell the truth too, but `seconds` jumps to the next
one as soon as nothing moves: a minute's back-off takes a millisecond, an order's three minutes take as long as their
requests. While `is_busy` says that an answer is still on its way from outside, time passes as outside.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.protocols import tls
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from twisted.internet.interfaces import IResolutionReceiver

T = TypeVar("T")

# A test that takes longer is stuck, whatever its own clock says.
REAL_SECONDS = 30.0
# On loopback both ends are in this process: what was sent has arrived by the next turn,
# on a busy machine by the one after.
QUIET_TURNS = 2
_TURN_SECONDS = 0.001
# While somebody outside works.
_WAIT_SECONDS = 0.01


@implementer(IHostResolution)
class _Resolution:
    """
    A look-up that is over.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """
        Nothing to cancel.
        """


@implementer(IHostnameResolver)
class _Loopback:
    """
    Every name is this machine.
    """

    def resolveHostName(  # noqa: N802 - Twisted's name
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's name
        hostName: str,  # noqa: N803 - Twisted's name
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        addressTypes: object = None,  # noqa: N803 - Twisted's name
        transportSemantics: str = "TCP",  # noqa: N803 - Twisted's name
    ) -> IHostResolution:
        """
        Answer at once.
        """
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


# It has no annotations.
_Reactor: Any = EPollReactor


class SkippingReactor(_Reactor):  # type: ignore[misc]
    """
    Turned by the test, in the test's thread; *is_busy* tells that something outside is still to come.
    """

    def __init__(self) -> None:
        self.skipped_seconds: float = 0.0
        self.is_busy: Callable[[], bool] = lambda: False
        self._events = self._quiet_turns = 0
        super().__init__()
        self.installNameResolver(_Loopback())

    def seconds(self) -> float:
        """
        Give monotonic time, and what was skipped.
        """
        return time.monotonic() + self.skipped_seconds

    def _doReadOrWrite(self, selectable: object, fd: int, event: int) -> None:  # noqa: N802 - Twisted's name
        self._events += 1
        super()._doReadOrWrite(selectable, fd, event)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, T], seconds: float = 3600.0) -> T:
        """
        Give what *coroutine* returns, or raise what it raises; it must end within *seconds* of this reactor's time.
        """
        running = Deferred.fromCoroutine(cast("Coroutine[Deferred[Any], Any, T]", coroutine))
        outcomes: list[T | Failure] = []
        running.addBoth(outcomes.append)
        self.run_until(lambda: bool(outcomes), seconds)
        (outcome,) = outcomes
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def run_until(self, is_over: Callable[[], object], seconds: float = 3600.0) -> None:
        """
        Go on until *is_over*, which must come within *seconds* of this reactor's time.
        """
        end, real_end = self.seconds() + seconds, time.monotonic() + REAL_SECONDS
        while not is_over():
            assert time.monotonic() < real_end, "nothing came of it in real time"
            assert self.seconds() < end, f"nothing came of it in {seconds} s"
            self._turn(end)

    def pass_time(self, seconds: float) -> None:
        """
        Let exactly *seconds* of this reactor's time pass, with all that is due meanwhile.
        """
        end, real_end = self.seconds() + seconds, time.monotonic() + REAL_SECONDS
        while self.seconds() < end:
            assert time.monotonic() < real_end, "nothing came of it in real time"
            self._turn(end)
        self.settle()

    def settle(self) -> None:
        """
        Go on until nothing moves and nobody outside works.
        """
        self._quiet_turns = 0
        self.run_until(lambda: self._quiet_turns >= QUIET_TURNS and not self.is_busy())

    def _turn(self, end: float) -> None:
        self.runUntilCurrent()
        before = self._events
        next_seconds = self.timeout()
        is_due = next_seconds is not None and next_seconds <= 0
        is_last = self._quiet_turns >= QUIET_TURNS
        self.doIteration(_TURN_SECONDS if is_last and not is_due else 0)
        if is_due or self._events != before:
            self._quiet_turns = 0
        elif self.is_busy():
            self._quiet_turns = 0
            self.doIteration(_WAIT_SECONDS if next_seconds is None else min(_WAIT_SECONDS, next_seconds))
        else:
            self._quiet_turns += 1
            if self._quiet_turns > QUIET_TURNS:
                self._skip(end)

    def _skip(self, end: float) -> None:
        self._quiet_turns = 0
        left_seconds = max(end - self.seconds(), 0.0)
        next_seconds = self.timeout()
        self.skipped_seconds += left_seconds if next_seconds is None else min(left_seconds, next_seconds)

    def close(self) -> None:
        """
        Close every connection and listener.
        """
        for selectable in self.removeAll():
            selectable.connectionLost(Failure(ConnectionDone()))
        for call in self.getDelayedCalls():
            call.cancel()
        self._poller.close()


@contextmanager
def running_reactor() -> Iterator[SkippingReactor]:
    """
    Give a reactor until the end of the block; TLS of Twisted's, which asks for the global one, gets it too.
    """
    reactor = SkippingReactor()
    # Twisted's own tests replace it; no argument of the agent's leads there.
    original, tls._get_default_clock = tls._get_default_clock, lambda: reactor
    try:
        yield reactor
    finally:
        tls._get_default_clock = original
        reactor.close()
