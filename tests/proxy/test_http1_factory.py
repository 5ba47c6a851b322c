from __future__ import annotations

from twisted.internet.address import IPv4Address

from sptls.admission import Admission
from sptls.config import LimitsConfig
from sptls.proxy.http1 import Http1
from sptls.proxy.http1_factory import Http1Factory
from tests.proxy.wire import Stage, Wire, lost


def test_factory_serves_so_many_clients() -> None:
    """
    Port 80 has room for no more clients than the limit, and says when it has again.
    """
    stage, told = Stage(), list[bool]()
    factory = Http1Factory(stage.gateway, 1)
    address = IPv4Address("TCP", "192.0.2.1", 1)
    first = factory.buildProtocol(address)
    assert first is not None
    first.makeConnection(Wire())
    assert not factory.has_room()
    factory.room_again = lambda: told.append(factory.has_room())
    lost(first)
    assert [True] == told


def test_factory_limits_the_clients_of_an_address() -> None:
    """
    One too many of the same address must not stay, and is counted; others may, and it may again when one has left.
    """
    stage = Stage()
    admission = Admission.for_plain(LimitsConfig(connections_per_address=1), stage.clock.seconds)
    factory = Http1Factory(stage.gateway, 10, admission)
    one, other = (IPv4Address("TCP", f"192.0.2.{end}", 1) for end in (1, 2))
    first = factory.buildProtocol(one)
    assert first is not None
    first.makeConnection(Wire())
    assert (None, 1) == (factory.buildProtocol(one), stage.counters.over_address_limit)
    assert factory.buildProtocol(other) is not None
    lost(first)
    assert factory.buildProtocol(one) is not None


def test_clients_of_port_443_take_no_place_of_port_80() -> None:
    """
    However many are connected there, links already sent and http-01 validations are served here.
    """
    stage = Stage()
    factory = Http1Factory(stage.gateway, 1)
    Http1(stage.gateway).makeConnection(Wire())
    assert factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is not None
