"""
How much one address may ask of a port: connections that are open, and handshakes a second.

Decides who is refused, and whether that is worth a line in the log. An IPv4 address counts for itself, an IPv6 address
for its /64 network, which is the least that a customer gets (RFC 6177). Bounded memory whoever comes: an address is
known while it has connections, of which there are so many, and its rate for as long as it matters, among so many
others; one that was pushed out is let in.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

import attrs

from sptls.addresses import plain_host

# A rate holds for this long: so many seconds' worth may come at once, as clients do after a newsletter.
BURST_SECONDS: Final = 10.0
# Addresses whose rates are known, twice: 4 MB. Who comes from more has no use for making any of them wait.
KNOWN_RATES: Final = 10_000
# An episode of refusals of an address ends with a minute without any; so many are told of at a time.
QUIET_SECONDS: Final = 60.0
TOLD_EPISODES: Final = 16
_INTERFACE_BITS: Final = 64

Place = str | int


@attrs.frozen
class Admitted:
    """
    A connection that counts at its *place* until `AddressLimits.left` is told.
    """

    place: Place


@attrs.frozen
class Refused:
    """
    A connection that is one too many for its address; *is_news* where an episode begins with it.
    """

    place: Place
    key: str
    most: int
    is_news: bool

    def __str__(self) -> str:
        network = self.place if isinstance(self.place, str) else _network(self.place)
        does = "has {} connections open" if self.key == "connections_per_address" else "makes {} handshakes a second"
        return (
            f"{network} {does.format(self.most)}, which is what limits.{self.key} allows; its further connections are "
            "closed at once, and counted in /status (over_address_limit)"
        )


class Episodes:
    """
    The refusals of addresses, of which each episode is told once.
    """

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: OrderedDict[Place, float] = OrderedDict()  # when each was last refused

    def __len__(self) -> int:
        return len(self._told)

    def refuse(self, place: Place, key: str, most: int, now: float) -> Refused:
        """
        Give the refusal of one more connection of *place*, which has the *most* that limits.*key* allows.
        """
        told = self._told
        while told and now - next(iter(told.values())) >= QUIET_SECONDS:
            told.popitem(last=False)
        is_news = place not in told and len(told) < TOLD_EPISODES
        if is_news or place in told:
            told[place] = now
            told.move_to_end(place)
        return Refused(place, key, most, is_news)


class AddressLimits:
    """
    The connections of one port by their addresses: at most *connections* open, and *handshakes* a second; 0: no limit.
    """

    __slots__ = ("_connections", "_episodes", "_handshakes", "_old", "_open", "_turned", "_young")

    def __init__(self, connections: int, handshakes: int = 0) -> None:
        self._connections, self._handshakes = connections, handshakes
        self._open: dict[Place, int] = {}
        # When the handshakes of a place have been worked off at the rate (GCRA's theoretical arrival time). That is
        # within BURST_SECONDS, so what was not touched for so long is void: two generations need no looking through.
        self._young: dict[Place, float] = {}
        self._old: dict[Place, float] = {}
        self._turned = float("-inf")
        self._episodes = Episodes()

    @classmethod
    def some(cls, connections: int, handshakes: int = 0) -> AddressLimits | None:
        """
        Give them; None where nothing is limited, which costs nothing to ask.
        """
        return cls(connections, handshakes) if connections or handshakes else None

    def __len__(self) -> int:
        """
        Tell how many entries there are, of all kinds.
        """
        return len(self._open) + len(self._young) + len(self._old) + len(self._episodes)

    def admit(self, host: str, now: float) -> Admitted | Refused:
        """
        Let one more connection of the IP address *host* in, or not; *now* is in seconds of any clock that goes forward.
        """
        place = place_of(host)
        count = self._open.get(place, 0)
        if self._connections and count >= self._connections:
            return self._episodes.refuse(place, "connections_per_address", self._connections, now)
        if self._handshakes and not self._has_turn(place, now):
            return self._episodes.refuse(place, "handshakes_per_address", self._handshakes, now)
        self._open[place] = count + 1
        return Admitted(place)

    def left(self, place: Place) -> None:
        """
        Take note that a connection that was admitted at *place* is closed.
        """
        count = self._open[place] - 1
        if count:
            self._open[place] = count
        else:
            del self._open[place]

    def _has_turn(self, place: Place, now: float) -> bool:
        if now - self._turned >= BURST_SECONDS or len(self._young) >= KNOWN_RATES:
            is_recent = now - self._turned < 2 * BURST_SECONDS
            self._old, self._young, self._turned = self._young if is_recent else {}, {}, now
        due = self._young.get(place) or self._old.get(place, now)
        worked_off = max(due, now) + 1 / self._handshakes
        if worked_off - now > BURST_SECONDS:
            return False
        self._young[place] = worked_off
        return True


def place_of(host: str) -> Place:
    """
    Give what the IP address *host* counts for: an IPv4 address itself, or the number of an IPv6 address's /64 network.
    """
    host = plain_host(host)
    return int(ipaddress.IPv6Address(host)) >> _INTERFACE_BITS if ":" in host else host


def _network(number: int) -> str:
    return f"{ipaddress.IPv6Address(number << _INTERFACE_BITS)}/{_INTERFACE_BITS}"
