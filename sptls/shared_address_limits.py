"""
`address_limits` for the processes of one daemon together: an address has what is configured once, not once in each.

Decides by numbers that all processes see (`shared_counts`), without locks. Each claims first and looks then, so of two
that decide at the same moment one at least knows of the other. Of open connections there are never more than the limit
in all; two that come for the last place at once may both be refused. Of handshakes, no more than the rate allows and
one for each further process, which is then waited for; but two that meet twice within the same microsecond may count
as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.address_limits import BURST_SECONDS, Episodes, not_counted, place_of
from sptls.shared_counts import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.address_limits import Refused
    from sptls.shared_counts import SharedCounts

# The addresses whose entries are kept, a quarter of a MB, which spares them the hash and a search. Image proxies come
# from some hundreds, again and again; who comes once is looked up once.
KEPT_ENTRIES: Final = 512


class SharedAddressLimits:
    """
    The connections of *port*, whatever it is called, as `address_limits.AddressLimits` has them, counted in *counts*.
    """

    __slots__ = ("_connections", "_counts", "_entries", "_episodes", "_handshakes", "_open", "_port", "_step", "_times")

    def __init__(self, connections: int, handshakes: int, port: str, counts: SharedCounts) -> None:
        self._connections, self._handshakes = connections, handshakes
        self._step = 1 / handshakes if handshakes else 0.0
        self._port, self._counts, self._open, self._times = port, counts, counts.open, counts.times
        self._entries: dict[str, Entry] = {}
        self._episodes = Episodes()

    def __len__(self) -> int:
        """
        Tell how much is kept here, of all kinds.
        """
        return len(self._entries) + len(self._episodes)

    def admit(self, host: str, now: float) -> Callable[[], None] | Refused:
        """
        Let one more connection of the IP address *host* in, or not; *now* is in seconds of the clock that all share.

        Gives what is to be called when the connection is closed.
        """
        entry = self._entries.get(host) or self._entry(host)
        slot = entry.own(now)
        if slot < 0:  # it has a chance of 1e-10 (`shared_counts.BUCKET_KEYS`)
            return not_counted
        if not self._connections:
            if self._has_turn(entry, slot, entry.everywhere(), now):
                return not_counted
            return self._episodes.refuse(place_of(host), "handshakes_per_address", self._handshakes, now)
        count = self._open
        count[slot] += 1
        slots, total = entry.everywhere(), 0
        for each in slots:
            total += count[each]
        if total > self._connections:
            entry.leave()
            return self._episodes.refuse(place_of(host), "connections_per_address", self._connections, now)
        if self._handshakes and not self._has_turn(entry, slot, slots, now):
            entry.leave()
            return self._episodes.refuse(place_of(host), "handshakes_per_address", self._handshakes, now)
        return entry.leave

    def _entry(self, host: str) -> Entry:
        """
        Give where *host* counts, and keep it.
        """
        if len(self._entries) >= KEPT_ENTRIES:
            self._entries.clear()
        entry = Entry(self._counts, self._counts.key(f"{self._port} {place_of(host)}"))
        self._entries[host] = entry
        return entry

    def _has_turn(self, entry: Entry, slot: int, slots: list[int], now: float) -> bool:
        """
        Tell whether the rate allows one more, and count it then (GCRA, as in `AddressLimits`): the latest time counts.

        Who finds times that came after the look at *slots* has met other claims for the same moment, and stands behind
        them.
        """
        times, step, due = self._times, self._step, now
        for each in slots:
            if times[each] > due:
                due = times[each]
        latest = due + step
        if latest - now > BURST_SECONDS:
            return False
        times[slot] = latest
        new = 0
        for each in entry.everywhere():
            time = times[each]
            if time > due:
                new += 1
                latest = max(latest, time)
        if new > 1:  # ours is one of them
            times[slot] = max(latest + step, due + new * step)
        return True
