"""
Tests for `sptls.acme.ca_hosts`: what a reactor's connections are told of a host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.acme.ca_hosts import CaHosts

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

HOST = "ca.test"


@implementer(IResolutionReceiver)
class _Told:
    """
    What a receiver was told.
    """

    def __init__(self) -> None:
        self.begun: list[IHostResolution] = []
        self.addresses: list[IAddress] = []
        self.is_complete = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803 - Twisted's names
        self.begun.append(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        self.addresses.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        self.is_complete = True


def test_every_address_is_told_in_order() -> None:
    """
    Both families, with the port that was asked for.
    """
    looking: Deferred[tuple[str, ...]] = Deferred()
    hosts, told = CaHosts(lambda _: looking), _Told()
    resolution = hosts.resolveHostName(told, HOST, 14000)
    assert verifyObject(IHostnameResolver, hosts)
    assert verifyObject(IHostResolution, resolution)
    assert ([resolution], HOST, False) == (told.begun, resolution.name, told.is_complete)
    looking.callback(("::1", "127.0.0.1"))
    assert [IPv6Address("TCP", "::1", 14000), IPv4Address("TCP", "127.0.0.1", 14000)] == told.addresses
    assert told.is_complete


@pytest.mark.parametrize("error", [OSError("no such host"), UnicodeError("label too long")])
def test_look_up_that_fails_is_a_host_without_addresses(error: Exception) -> None:
    """
    A connection to it fails with what Twisted says of a host that is not found.
    """

    async def look_up(_: str) -> tuple[str, ...]:
        raise error

    reactor = MemoryReactorClock()
    reactor.installNameResolver(CaHosts(look_up))
    failures: list[object] = []
    connecting = HostnameEndpoint(reactor, HOST, 443).connect(Factory())
    connecting.addErrback(lambda failure: failures.append(failure.type))
    assert [DNSLookupError] == failures


def test_cancelled_look_up_tells_nothing_more() -> None:
    """
    Whoever cancelled is not told of an end, and nothing is left behind; also when it is over.
    """
    looking: Deferred[tuple[str, ...]] = Deferred()
    told = _Told()
    resolution = CaHosts(lambda _: looking).resolveHostName(told, HOST)
    resolution.cancel()
    resolution.cancel()
    assert ([], False) == (told.addresses, told.is_complete)


def test_look_up_with_a_fault_of_its_own_is_logged() -> None:
    """
    What is not an answer of the name service's is not taken for one.
    """

    async def look_up(_: str) -> tuple[str, ...]:
        raise ZeroDivisionError

    told = _Told()
    with capturedLogs() as events:
        CaHosts(look_up).resolveHostName(told, HOST)
    assert ["the look-up of ca.test broke off"] == [formatEvent(event) for event in events]
    assert not told.is_complete
