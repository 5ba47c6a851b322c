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
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs

from sptls.addresses import plain_host

if TYPE_CHECKING:
    from collections.abc import Callable

# A rate holds for this long: so many seconds' worth may come at once, as clients do after a newsletter.
BURST_SECONDS: Final = 10.0
# Addresses whose rates are known, twice: 4 MB. Who comes from more has no use for making any of them wait.
KNOWN_RATES: Final = 10_000
# An episode of refusals of an address ends with a minute without any; so many are told of at a time.
QUIET_SECONDS: Final = 60.0
TOLD_EPISODES: Final = 16
_INTERFACE_BITS: Final = 64
# To read an IPv6 address takes 5 us, more than all else of a decision.
_KEPT_PLACES: Final = 512

Place = str | int


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

    __slots__ = ("_episodes", "_handshakes", "_most", "_old", "_open", "_step", "_turned", "_young")

    def __init__(self, connections: int, handshakes: int = 0) -> None:
        self._most, self._handshakes = connections, handshakes
        self._step = 1 / handshakes if handshakes else 0.0
        self._open: dict[Place, _OpenCount] = {}
        # When the handshakes of a place have been worked off at the rate (GCRA's theoretical arrival time). That is
        # within BURST_SECONDS, so what was not touched for so long is void: two generations need no looking through.
        # A new one begins with a place that the young one doesn't know.
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

    def admit(self, host: str, now: float) -> Callable[[], None] | Refused:
        """
        Let one more connection of the IP address *host* in, or not; *now* is in seconds of any clock that goes forward.

        Gives what is to be called when the connection is closed.
        """
        place = place_of(host)
        count = self._open.get(place)
        if count is not None and count.open >= self._most:
            return self._episodes.refuse(place, "connections_per_address", self._most, now)
        if self._handshakes and not self._has_turn(place, now):
            return self._episodes.refuse(place, "handshakes_per_address", self._handshakes, now)
        if not self._most:
            return not_counted
        if count is None:
            self._open[place] = count = _OpenCount(self._open, place)
        count.open += 1
        return count.leave

    def _has_turn(self, place: Place, now: float) -> bool:
        due = self._young.get(place)
        if due is None:
            due = self._due_before(place, now)
        worked_off = (due if due > now else now) + self._step
        if worked_off - now > BURST_SECONDS:
            return False
        self._young[place] = worked_off
        return True

    def _due_before(self, place: Place, now: float) -> float:
        """
        Tell when *place*, which the young generation does not know, has its turn; begin a new one when it is time.
        """
        if now - self._turned >= BURST_SECONDS or len(self._young) >= KNOWN_RATES:
            self._old, self._young, self._turned = self._young, {}, now
        return self._old.get(place, now)


class _OpenCount:
    """
    How many connections of *place* are open, which is known *among* others while there are any.
    """

    __slots__ = ("_among", "_place", "open")

    def __init__(self, among: dict[Place, _OpenCount], place: Place) -> None:
        self._among, self._place, self.open = among, place, 0

    def leave(self) -> None:
        """
        Count one less.
        """
        self.open -= 1
        if not self.open:
            del self._among[self._place]


def not_counted() -> None:
    """
    Do nothing: a connection that was not counted is closed.
    """


def place_of(host: str) -> Place:
    """
    Give what the IP address *host* counts for: an IPv4 address itself, or the number of an IPv6 address's /64 network.
    """
    return _place_of_ipv6(host) if ":" in host else host


@lru_cache(_KEPT_PLACES)
def _place_of_ipv6(host: str) -> Place:
    host = plain_host(host)
    return int(ipaddress.IPv6Address(host)) >> _INTERFACE_BITS if ":" in host else host


def _network(number: int) -> str:
    return f"{ipaddress.IPv6Address(number << _INTERFACE_BITS)}/{_INTERFACE_BITS}"
