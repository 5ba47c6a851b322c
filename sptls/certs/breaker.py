"""
Whether a CA that fails may be asked now: a circuit breaker. Pure.

Closed, every order may begin. After some failures in a row that were the CA's own (5xx, hangs, refused connections), it
is open for a while: nothing is ordered, and names lose no attempts to an outage. Then one order goes first, the probe:
what becomes of it closes the breaker or opens it for longer. Moments are monotonic seconds.
"""

from __future__ import annotations

from typing import Final

# One failure can be a packet, two a deploy of the CA's; three in a row, and nothing between that worked, are an outage.
FAILURES_THAT_OPEN: Final = 3
# Half a minute at first, doubled up to ten minutes: a CA that is back is found in time, and a probe costs it nothing.
_FIRST_PAUSE_SECONDS: Final = 30.0
_LONGEST_PAUSE_SECONDS: Final = 600.0
# So that a thousand hosts do not come back in the same second.
_JITTER: Final = 0.2


class Breaker:
    """
    One CA's breaker; closed to begin with.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pauses = 0
        self._open_until: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """
        Tell whether the CA counts as out.
        """
        return self._open_until is not None

    def open_until(self, now: float) -> float | None:
        """
        Give the moment before which no order may begin, or None when one may *now*.

        While a probe runs its outcome decides, so there is no moment to give but one a little later.
        """
        if self._open_until is None:
            return None
        if self._is_probing:
            return now + _FIRST_PAUSE_SECONDS
        return self._open_until if self._open_until > now else None

    def began(self) -> None:
        """
        Take note that an order begins: while open, it is the probe.
        """
        self._is_probing = self._open_until is not None

    def answered(self) -> None:
        """
        Take note that the CA did its part, whatever the answer was: closed.
        """
        self._failures = self._pauses = 0
        self._open_until, self._is_probing = None, False

    def failed(self, now: float, fraction: float, retry_after_seconds: float = 0.0) -> None:
        """
        Take note of a failure that was the CA's own; *fraction* is a random number in [0, 1).
        """
        was_probing, self._is_probing = self._is_probing, False
        self._failures += 1
        if self._open_until is not None and not was_probing:
            return  # one of those that ran already when it opened
        if self._failures < FAILURES_THAT_OPEN and self._open_until is None:
            return
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._pauses, _LONGEST_PAUSE_SECONDS)
        pause = max(pause * (1 - _JITTER + 2 * _JITTER * fraction), min(retry_after_seconds, _LONGEST_PAUSE_SECONDS))
        self._pauses += 1
        self._open_until = now + pause

    def given_up(self) -> None:
        """
        Take note that an order ended with nothing known of the CA: another one may be the probe.
        """
        self._is_probing = False
