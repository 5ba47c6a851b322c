"""
When an upstream's trouble is worth a line in the log: when its state changes, not at every request.

Decides from failures and answers, and from the time they came. Changes nothing about where requests go: a request is
always tried, because a click that might get through is worth more than a quick 502.
"""

from __future__ import annotations

from typing import Final

import attrs

# One request in many that breaks or hangs is that request's trouble; three with no answer in between the upstream's.
_FAILURES_IN_A_ROW: Final = 3
# Where some requests fail and some don't, good news waits until there was no bad news for so long: no flood of both.
_STEADY_SECONDS: Final = 10.0


@attrs.frozen
class WentBad:
    """
    The upstream fails, because of *cause*; *failures* in a row so far.
    """

    cause: str
    failures: int


@attrs.frozen
class WentGood:
    """
    The upstream answers again, after *failures* in *seconds*.
    """

    failures: int
    seconds: float


class UpstreamHealth:
    """
    How one upstream fares; *cause* is why it fails, or None while it is taken to be well.
    """

    __slots__ = ("_failures", "_since_seconds", "_until_seconds", "cause", "troubled")

    def __init__(self) -> None:
        self.cause: str | None = None
        # True from the first failure to the end of the trouble, so that `answered` need not be called otherwise.
        self.troubled = False
        self._failures = 0
        self._since_seconds = self._until_seconds = 0.0

    def failed(self, now: float, cause: str, unreachable: bool) -> WentBad | None:
        """
        Take note of a failure at *now* (seconds); *unreachable*: no connection could be made, whatever the request.
        """
        if not self.troubled:
            self.troubled, self._since_seconds = True, now
        self._failures += 1
        self._until_seconds = now + _STEADY_SECONDS
        if self.cause == cause or (self.cause is not None and not unreachable):
            return None
        if not unreachable and self._failures < _FAILURES_IN_A_ROW:
            return None
        self.cause = cause
        return WentBad(cause, self._failures)

    def answered(self, now: float) -> WentGood | None:
        """
        Take note of an answer at *now*.
        """
        if self.cause is not None and now < self._until_seconds:
            return None
        news = WentGood(self._failures, now - self._since_seconds) if self.cause is not None else None
        self.cause, self.troubled, self._failures = None, False, 0
        return news
