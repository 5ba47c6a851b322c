"""
What is held for clients that take their answers, or send their requests, slowly: how much of it there may be at a time,
and who has to go when there is more.

Each connection has bounds of its own, but 10,000 connections are allowed, and those of HTTP/2 have 100 streams each.
Those go first who would take what is held for them last, if they go on as they do: for whom much is held, for long,
while they take little. Who reads at a pace is behind all that don't, however many they are.

What a holder said last counts until it says more or less; what it holds, and what was taken, is asked of all before
anybody has to go. A holder is a client's connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.proxy.counters import Counters

# Of one process, beside the 23 KB that each connection costs anyway (230 MB for 10,000): a thousand buffers of 64 KiB.
HELD_BYTES: Final = 64 << 20
# What is left when it was too much: so the whole of it is looked through once for each eighth that comes.
_LEFT: Final = 7 / 8
# For who has not taken anything, or has only come: one packet, and a turn of the reactor.
_PACKET_BYTES: Final = 1024
_MOMENT_SECONDS: Final = 0.01


class Holds(Protocol):
    """
    Who holds content; hashable by identity.
    """

    @property
    def held_bytes(self) -> int:
        """
        Tell how much that is now.
        """

    @property
    def taken_bytes(self) -> int:
        """
        Tell how much the client's system has taken from the beginning until now.
        """

    def let_go(self) -> None:
        """
        End what it is held for: this much isn't there. The account has forgotten it already.
        """


class _Holding:
    """
    How much is held; and since when it is looked at what is taken, and how much that had been then.
    """

    __slots__ = ("held_bytes", "since_seconds", "taken_bytes")

    def __init__(self, since_seconds: float, taken_bytes: int) -> None:
        self.held_bytes = 0
        self.since_seconds, self.taken_bytes = since_seconds, taken_bytes

    def seconds_left(self, now_seconds: float, taken_bytes: int) -> float:
        """
        Tell how long it takes until all is taken, if it goes on like this; *taken_bytes* is all that was until now.
        """
        seconds, taken = now_seconds - self.since_seconds, taken_bytes - self.taken_bytes
        enough = 2 * self.held_bytes
        if taken > enough:  # what was taken long ago is no merit
            seconds, taken = seconds * enough / taken, enough
            self.since_seconds, self.taken_bytes = now_seconds - seconds, taken_bytes - taken
        return self.held_bytes * (seconds + _MOMENT_SECONDS) / (taken + _PACKET_BYTES)


class HeldContent:
    """
    The account of all holders in a process. Times are monotonic *seconds*; *call_later* has the slowest go, in a turn
    of the reactor's own.
    """

    __slots__ = ("_call_later", "_counters", "_holdings", "_is_due", "_limit_bytes", "_seconds", "total_bytes")

    def __init__(
        self,
        call_later: Callable[[float, Callable[[], None]], object],
        seconds: Callable[[], float],
        counters: Counters,
        limit_bytes: int = HELD_BYTES,
    ) -> None:
        self._call_later, self._seconds, self._limit_bytes = call_later, seconds, limit_bytes
        self._counters = counters
        self._holdings: dict[Holds, _Holding] = {}
        self._is_due = False
        self.total_bytes = 0

    def note(self, holder: Holds, held_bytes: int) -> None:
        """
        Take note that *holder* holds *held_bytes* now; with 0 it is forgotten.
        """
        if not held_bytes:
            self.forget(holder)
            return
        holding = self._holdings.get(holder)
        if holding is None:
            holding = self._holdings[holder] = _Holding(self._seconds(), holder.taken_bytes)
        self.total_bytes += held_bytes - holding.held_bytes
        holding.held_bytes = held_bytes
        if self.total_bytes > self._limit_bytes and not self._is_due:
            self._is_due = True
            self._call_later(0, self._relieve)

    def forget(self, holder: Holds) -> None:
        """
        Take note that *holder* holds nothing; fine when that is known.
        """
        holding = self._holdings.pop(holder, None)
        if holding is not None:
            self.total_bytes -= holding.held_bytes

    def seconds_left(self, holder: Holds) -> float:
        """
        Tell how long *holder* takes for what it held when it was last asked, if it goes on as it does; 0 for nothing.
        """
        holding = self._holdings.get(holder)
        return 0.0 if holding is None else holding.seconds_left(self._seconds(), holder.taken_bytes)

    def _relieve(self) -> None:
        try:
            for holder in list(self._holdings):
                self.note(holder, holder.held_bytes)
            if self.total_bytes > self._limit_bytes:
                self._let_go_slowest()
        finally:
            self._is_due = False

    def _let_go_slowest(self) -> None:
        for holder in sorted(self._holdings, key=self.seconds_left, reverse=True):
            if self.total_bytes <= self._limit_bytes * _LEFT:
                return
            self.forget(holder)
            self._counters.held_too_much += 1
            holder.let_go()
