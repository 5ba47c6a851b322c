"""
Whether the wall clock was set while we watched, and by how much: what monotonic time says against it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sptls.certs.authority import Moment

# Wall time and monotonic time part by less than this, unless the wall clock was set.
CLOCK_STEP_SECONDS: Final = 60.0


class ClockSteps:
    """
    Watches both clocks from *begin* on.
    """

    def __init__(self) -> None:
        self._offset = 0.0

    def begin(self, now: Moment) -> None:
        """
        Take the clocks as they are *now*.
        """
        self._offset = now.wall - now.monotonic

    def step_seconds(self, now: Moment) -> float:
        """
        Give by how many seconds the wall clock was set since the last call that told of it; 0 where it was not.
        """
        step_seconds = now.wall - now.monotonic - self._offset
        if abs(step_seconds) <= CLOCK_STEP_SECONDS:
            return 0.0
        self._offset += step_seconds
        return step_seconds
