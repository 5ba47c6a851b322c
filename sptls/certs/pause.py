"""
A pause of all names in the background: what one of them was told to wait for, the others would be told too. Pure.

Moments of the pause are monotonic seconds, so that a wall clock that is set does not stretch it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sptls.certs.authority import Moment
    from sptls.certs.limits import NotBefore


class Pause:
    """
    The pause, if there is one; names that a client waits for do not heed it.
    """

    def __init__(self) -> None:
        self._wait: NotBefore | None = None
        self._until_seconds = 0.0

    def begin(self, wait: NotBefore, now: Moment) -> None:
        """
        Have the background wait for what *wait* says.
        """
        self._wait, self._until_seconds = wait, now.monotonic + wait.moment - now.wall

    def end(self) -> None:
        """
        Have it go on: what was so may be another thing now.
        """
        self._wait = None

    def seconds_left(self, now_seconds: float) -> float:
        """
        Give how much is left of it at *now_seconds* of the monotonic clock; 0 or less: nothing.
        """
        return 0.0 if self._wait is None else self._until_seconds - now_seconds

    def reason(self, now_seconds: float) -> NotBefore | None:
        """
        Give what is waited for at *now_seconds*, or None.
        """
        return self._wait if self.seconds_left(now_seconds) > 0 else None
