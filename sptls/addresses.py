"""
How a peer's address reads: the one place that knows of IPv4 addresses mapped into IPv6 (RFC 4291 §2.5.5.2).
"""

from __future__ import annotations

from typing import Final

_MAPPED_IPV4: Final = "::ffff:"


def plain_host(host: str) -> str:
    """
    Give *host*, an IPv4 address where it is one mapped into IPv6 (a client of a socket for both).
    """
    if host.startswith(_MAPPED_IPV4) and "." in host:
        return host[len(_MAPPED_IPV4) :]
    return host
