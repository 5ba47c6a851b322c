"""
`address_limits` for the processes of one daemon together: an address has what is configured once, not once in each.

Decides by numbers that all processes see (`shared_counts`), without locks. Each claims first and looks then, so of two
that decide at the same moment one at least knows of the other. Of open connections there are never more than the limit
in all; two that come for the last place at once may both be refused. Of handshakes, no more than the rate allows and
one for each further process, which is then waited for; but two that meet twice within the same microsecond may count
as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.address_limits import BURST_SECONDS, Admitted, Episodes, place_of

if TYPE_CHECKING:
    from sptls.address_limits import Place, Refused
    from sptls.shared_counts import SharedCounts


class SharedAddressLimits:
    """
    The connections of *port*, whatever it is called, as `address_limits.AddressLimits` has them, counted in *counts*.
    """

    __slots__ = ("_connections", "_counts", "_episodes", "_handshakes", "_port", "_slots")

    def __init__(self, connections: int, handshakes: int, port: str, counts: SharedCounts) -> None:
        self._connections, self._handshakes = connections, handshakes
        self._port, self._counts = port, counts
        self._slots: dict[Place, int] = {}  # of those that have connections open here
        self._episodes = Episodes()

    def admit(self, host: str, now: float) -> Admitted | Refused:
        """
        Let one more connection of the IP address *host* in, or not; *now* is in seconds of the clock that all share.
        """
        place = place_of(host)
        key = self._counts.key(f"{self._port} {place}")
        if self._connections and not self._opened(place, key):
            return self._episodes.refuse(place, "connections_per_address", self._connections, now)
        if self._handshakes and not self._has_turn(key, now):
            self.left(place)
            return self._episodes.refuse(place, "handshakes_per_address", self._handshakes, now)
        return Admitted(place)

    def left(self, place: Place) -> None:
        """
        Take note that a connection that was admitted at *place* is closed.
        """
        slot = self._slots.get(place)
        if slot is not None and not self._counts.open.add(slot, -1):
            del self._slots[place]

    def _opened(self, place: Place, key: bytes) -> bool:
        """
        Count one more connection of *place*, or don't if that makes too many.
        """
        counts = self._counts.open
        slot = self._slots.get(place)
        if slot is None:
            slot = counts.slot(key)
            if slot is None:  # it has a chance of 1e-10 (`shared_counts.BUCKET_KEYS`)
                return True
            self._slots[place] = slot
        counts.add(slot, 1)
        if counts.total(key) <= self._connections:
            return True
        self.left(place)
        return False

    def _has_turn(self, key: bytes, now: float) -> bool:
        """
        Tell whether the rate allows one more, and count it then (GCRA, as in `AddressLimits`): the latest time counts.

        Who finds times that came after the look has met other claims for the same moment, and stands behind them.
        """
        rates, step = self._counts.rates, 1 / self._handshakes
        due = max([now, *rates.everywhere(key)])
        if due + step - now > BURST_SECONDS:
            return False
        rates.put(key, due + step)
        new = [time for time in rates.everywhere(key) if time > due]
        if len(new) > 1:  # ours is one of them
            rates.put(key, max(max(new) + step, due + len(new) * step))
        return True
