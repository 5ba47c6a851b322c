"""
The addresses of the CA's hosts, looked up where nobody has to wait for the end of it.

Twisted looks names up in the reactor's own threads, and the reactor ends only when they have: with a name server that
does not answer a stop takes a minute. So the look-up is given (`proxy.resolver.SystemLookUp`), and installed for the
whole reactor; upstreams have a resolver of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.logger import Logger
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IAddress, IResolutionReceiver
    from twisted.python.failure import Failure

_log = Logger()


@implementer(IHostResolution)
@attrs.define
class _LookingUp:
    """
    A look-up for *name*; *work* is under way.
    """

    name: str
    work: Deferred[None] = attrs.field(init=False, factory=Deferred)

    def cancel(self) -> None:
        """
        Wait for it no more.
        """
        self.work.cancel()


@implementer(IHostnameResolver)
class CaHosts:
    """
    What a reactor finds hosts by: *look_up* gives the addresses of one, best first, or raises OSError.
    """

    def __init__(self, look_up: Callable[[str], Awaitable[tuple[str, ...]]]) -> None:
        self._look_up = look_up

    def resolveHostName(  # noqa: N802 - Twisted's name
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's name
        hostName: str,  # noqa: N803 - Twisted's name
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803 - Twisted's name
        transportSemantics: str = "TCP",  # noqa: N803 - Twisted's name
    ) -> IHostResolution:
        """
        Tell the receiver every address of the host; none when the look-up fails, as `IHostnameResolver` says.
        """
        looking_up = _LookingUp(hostName)
        resolutionReceiver.resolutionBegan(looking_up)
        looking_up.work = Deferred.fromCoroutine(self._resolve(resolutionReceiver, hostName, portNumber))
        looking_up.work.addErrback(_broke_off, hostName)
        return looking_up

    async def _resolve(self, receiver: IResolutionReceiver, host: str, port: int) -> None:
        try:
            addresses = await self._look_up(host)
        except (OSError, UnicodeError):  # the latter for a name that DNS can't have
            addresses = ()
        for address in addresses:
            kind = IPv6Address if isIPv6Address(address) else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


def _broke_off(failure: Failure, host: str) -> None:
    if not failure.check(CancelledError):
        _log.failure("the look-up of {host} broke off", failure, host=host)
