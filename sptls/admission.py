"""
Letting connections in by their addresses: `address_limits` decides, and here its refusals are told, once an episode.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from sptls.address_limits import AddressLimits, Admitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.config import LimitsConfig

_log = Logger()


class Admission:
    """
    Who may stay at one port, by *limits*; *seconds* is a clock that goes forward.
    """

    __slots__ = ("_limits", "_seconds")

    def __init__(self, limits: AddressLimits, seconds: Callable[[], float]) -> None:
        self._limits, self._seconds = limits, seconds

    @classmethod
    def for_tls(cls, limits: LimitsConfig, seconds: Callable[[], float]) -> Admission | None:
        """
        Give it for a port where each connection begins with a handshake; None where all may stay.
        """
        return cls._some(limits.connections_per_address, limits.handshakes_per_address, seconds)

    @classmethod
    def for_plain(cls, limits: LimitsConfig, seconds: Callable[[], float]) -> Admission | None:
        """
        Give it for a port without TLS; None where all may stay.
        """
        return cls._some(limits.connections_per_address, 0, seconds)

    @classmethod
    def _some(cls, connections: int, handshakes: int, seconds: Callable[[], float]) -> Admission | None:
        limits = AddressLimits.some(connections, handshakes)
        return None if limits is None else cls(limits, seconds)

    def enter(self, host: str) -> Callable[[], None] | None:
        """
        Give what is to be called when this connection of the IP address *host* is closed; None: it must not stay.
        """
        answer = self._limits.admit(host, self._seconds())
        if isinstance(answer, Admitted):
            return partial(self._limits.left, answer.place)
        if answer.is_news:
            _log.warn("{refusal}", refusal=str(answer))
        return None
