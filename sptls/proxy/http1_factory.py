"""
Who serves the clients of port 80: how many at a time, which of them begin with a PROXY header, and which must not stay.

What a connection does is `http1`'s business, what is before a header's end `announced`'s.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.addresses import plain_host
from sptls.proxy.announced import Announced
from sptls.proxy.http1 import Http1

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IProtocol

    from sptls.admission import Admission
    from sptls.proxy.gateway import Gateway


class Http1Factory:
    """
    Makes the connections of port 80; there is room for *connections* at a time, whatever port 443 has.

    *admission* says who may stay. *room_again* is called when there was no room and is.
    """

    def __init__(self, gateway: Gateway, connections: int, admission: Admission | None = None) -> None:
        self._gateway, self._connections, self._admission = gateway, connections, admission
        self._open = 0
        self.room_again: Callable[[], None] = _nothing

    def has_room(self) -> bool:
        """
        Tell whether one more client can be served.
        """
        return self._open < self._connections

    def left(self) -> None:
        """
        Take note that a client is gone.
        """
        self._open -= 1
        if self._open == self._connections - 1:
            self.room_again()

    def buildProtocol(self, addr: IPv4Address | IPv6Address) -> IProtocol | None:
        """
        Serve one more client, or not if it must not stay.
        """
        host = plain_host(addr.host)
        announcing = self._gateway.proxy_protocol
        if announcing is not None and host in announcing:
            made: Announced | Http1 | None = Announced(self._gateway, self._made, self.left)
        else:
            made = self._made(host)
        self._open += made is not None
        return made

    def _made(self, host: str | None) -> Http1 | None:
        """
        Make the connection of *host*, if it may stay; None is the load balancer's own, which may.
        """
        connection = Http1(self._gateway)
        connection.factory = self
        if self._admission is not None and host is not None:
            leave = self._admission.enter(host)
            if leave is None:
                self._gateway.counters.over_address_limit += 1
                return None
            connection.factory = _Counted(self, leave)
        return connection


class _Counted:
    """
    Whom a connection tells that counts for its address: *leave*, and the factory.
    """

    __slots__ = ("_factory", "_leave")

    def __init__(self, factory: Http1Factory, leave: Callable[[], None]) -> None:
        self._factory, self._leave = factory, leave

    def left(self) -> None:
        """
        Take note that a client is gone.
        """
        self._leave()
        self._factory.left()


def _nothing() -> None:
    """
    Do nothing: whoever accepts does not ask for room.
    """
