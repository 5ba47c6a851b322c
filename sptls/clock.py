"""
The two kinds of time: monotonic seconds for deadlines and timers, wall time for validity and stored moments.

Twisted's reactor runs on ``time.time()``: set back a day, a one-second timer stalls for a day (tried). So the reactor
is put on ``time.monotonic()`` once, before anything is scheduled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

WallClock = Callable[[], datetime]


def wall_time() -> datetime:
    """
    Give the current moment, aware, in UTC.
    """
    return datetime.now(UTC)


def run_on_monotonic_time(reactor: ReactorBase) -> None:
    """
    Make *reactor*'s timers immune to a clock that is set; timers that exist already keep their distance.
    """
    if reactor.seconds is time.monotonic:
        return
    remaining = [(call, call.getTime() - reactor.seconds()) for call in reactor.getDelayedCalls() if call.active()]
    reactor.seconds = time.monotonic
    for call, seconds in remaining:
        call.seconds = time.monotonic  # type: ignore[attr-defined]
        call.reset(max(0.0, seconds))
