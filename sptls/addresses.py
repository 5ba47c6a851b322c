"""
How addresses and ports read, and which networks an address is in.

The one place that knows of IPv4 addresses mapped into IPv6 (RFC 4291 §2.5.5.2): those of clients of a socket for both.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The highest port of TCP: 16 bits (RFC 9293 §3.1).
HIGHEST_PORT: Final = 65535

_MAPPED_IPV4: Final = "::ffff:"
# The load balancers of a network are few, and come again with every connection.
_KEPT_ANSWERS: Final = 1024


def plain_host(host: str) -> str:
    """
    Give *host*, an IPv4 address where it is one mapped into IPv6 (a client of a socket for both).
    """
    if host.startswith(_MAPPED_IPV4) and "." in host:
        return host[len(_MAPPED_IPV4) :]
    return host


def is_address(text: str) -> bool:
    """
    Tell whether *text* is an IP address, also one with a zone, and not a host's name.
    """
    if ":" not in text and not text[-1:].isdigit():  # a tenth of the time of asking, for 100,000 names
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def ip_address(text: str) -> str | None:
    """
    Give the IP address that *text* spells, in its one spelling; None where it is none, or has a zone (``%eth0``).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.version == 4:
        return str(address)
    return None if address.scope_id else str(address.ipv4_mapped or address)


class Networks:
    """
    Some IP networks, asked with addresses; what was answered is remembered, for the same few ask again and again.
    """

    __slots__ = ("_answers", "_networks")

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._answers: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """
        Tell whether the IP address *host* is in one of them, whatever its zone; what is no address is in none.
        """
        answer = self._answers.get(host)
        if answer is None:
            address = ip_address(host.partition("%")[0])
            answer = address is not None and self._has(ipaddress.ip_address(address))
            if len(self._answers) >= _KEPT_ANSWERS:
                self._answers.clear()
            self._answers[host] = answer
        return answer

    def _has(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._networks)

    @classmethod
    def some(cls, networks: tuple[Network, ...]) -> Networks | None:
        """
        Give them; None where there are none, which costs nothing to ask.
        """
        return cls(networks) if networks else None
