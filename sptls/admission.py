"""
Letting connections in by their addresses: `address_limits` decides, and here its refusals are told, once an episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from sptls.address_limits import AddressLimits, Refused
from sptls.shared_address_limits import SharedAddressLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.config import LimitsConfig
    from sptls.shared_counts import SharedCounts

_log = Logger()


class Admission:
    """
    Who may stay at one port, by *limits*; *seconds* is a clock that goes forward, the same in all processes.
    """

    __slots__ = ("_admit", "_seconds")

    def __init__(self, limits: AddressLimits | SharedAddressLimits, seconds: Callable[[], float]) -> None:
        self._admit, self._seconds = limits.admit, seconds

    @classmethod
    def for_tls(
        cls, limits: LimitsConfig, seconds: Callable[[], float], counts: SharedCounts | None = None
    ) -> Admission | None:
        """
        Give it for a port where each connection begins with a handshake; None where all may stay.

        Where other processes serve the port too, all count in *counts*.
        """
        return cls._some("https", limits.connections_per_address, limits.handshakes_per_address, seconds, counts)

    @classmethod
    def for_plain(
        cls, limits: LimitsConfig, seconds: Callable[[], float], counts: SharedCounts | None = None
    ) -> Admission | None:
        """
        Give it for a port without TLS; None where all may stay.
        """
        return cls._some("http", limits.connections_per_address, 0, seconds, counts)

    @classmethod
    def _some(
        cls, port: str, connections: int, handshakes: int, seconds: Callable[[], float], counts: SharedCounts | None
    ) -> Admission | None:
        limits = AddressLimits.some(connections, handshakes)
        if limits is None or counts is None:
            return None if limits is None else cls(limits, seconds)
        return cls(SharedAddressLimits(connections, handshakes, port, counts), seconds)

    def enter(self, host: str) -> Callable[[], None] | None:
        """
        Give what is to be called when this connection of the IP address *host* is closed; None: it must not stay.
        """
        answer = self._admit(host, self._seconds())
        if isinstance(answer, Refused):
            if answer.is_news:
                _log.warn("{refusal}", refusal=str(answer))
            return None
        return answer
