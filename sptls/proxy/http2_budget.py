"""
What a client may do without any use: resets, pings, settings, empty frames, windows widened bit by bit.

Every such frame costs us next to nothing, and a flood of them a core (CVE-2019-9512 to 9518, CVE-2023-44487,
CVE-2025-8671). So each is paid from a budget that work of use fills again, and time a little; who has none left is sent
away (RFC 9113 §10.5).
"""

from __future__ import annotations


class Budget:
    """
    At most *most*, and full at first; *per_second* comes back by itself. Times are monotonic seconds.
    """

    __slots__ = ("_left", "_most", "_per_second", "_since_seconds")

    def __init__(self, most: int, per_second: float, now_seconds: float) -> None:
        self._most, self._per_second = most, per_second
        self._left: float = most
        self._since_seconds = now_seconds

    def earn(self, amount: int = 1) -> None:
        """
        Fill it by *amount*, for work of use.
        """
        left = self._left + amount
        self._left = left if left < self._most else self._most

    def spend(self, now_seconds: float) -> bool:
        """
        Take one out; false when there is none.
        """
        if self._left < 1:
            earned = (now_seconds - self._since_seconds) * self._per_second
            self._left = min(self._most, self._left + earned)
            self._since_seconds = now_seconds
            if self._left < 1:
                return False
        self._left -= 1
        return True
