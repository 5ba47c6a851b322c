from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sptls.addresses import Networks
from sptls.proxy.client_connection import ClientConnection
from sptls.proxy.head import RequestHead, parse_request
from tests.proxy.wire import GET, OK, Stage, TlsWire, Wire, lost

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (IPv4Address("TCP", "192.0.2.1", 1), b"192.0.2.1"),
        (IPv6Address("TCP", "2001:db8::1", 1), b"2001:db8::1"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), b"192.0.2.1"),
        (IPv6Address("TCP", "::ffff:1", 1), b"::ffff:1"),
        (UNIXAddress("/run/x"), b""),
    ],
)
def test_peer_is_the_clients_address(address: IAddress, peer: bytes) -> None:
    """
    An IPv4 client of an IPv6 socket is an IPv4 client (RFC 4291 §2.5.5.2).
    """
    connection, _ = Stage().connect(Wire(address))
    assert peer == connection.peer


def test_certificate_makes_it_tls() -> None:
    """
    Only a TLS transport has one.
    """
    stage = Stage()
    assert (True, False) == (stage.connect(TlsWire())[0].tls, stage.connect()[0].tls)


def test_deadlines_are_the_protocols() -> None:
    """
    What to do about one depends on what is spoken.
    """
    with pytest.raises(NotImplementedError):
        ClientConnection(Stage().gateway).deadline_passed()


def test_what_is_held_is_the_protocols() -> None:
    """
    What is in memory depends on what is spoken.
    """
    with pytest.raises(NotImplementedError):
        _ = ClientConnection(Stage().gateway).held_bytes


def test_what_a_client_has_taken_is_known_with_tls() -> None:
    """
    Its system says so; Twisted's transport of port 80 doesn't.
    """
    stage = Stage()
    (one, wire), (other, _) = stage.connect(TlsWire()), stage.connect()
    assert isinstance(wire, TlsWire)
    wire.taken_bytes = 5
    assert (5, 0) == (one.taken_bytes, other.taken_bytes)


@pytest.mark.parametrize("end", ["open", "closing", "lost"])
def test_client_that_takes_nothing_is_in_the_account(end: str) -> None:
    """
    Also while its connection closes; not when that is gone.
    """
    stage = Stage()
    connection, wire = stage.connect(TlsWire())
    wire.full_bytes = 100
    connection.dataReceived(GET[:-2] + b"Connection: close\r\n\r\n" if end == "closing" else GET)
    assert isinstance(wire, TlsWire)
    wire.closes_at_once = False
    stage.exchanges[0].answer(OK, bytes(1000))
    if end == "lost":
        lost(connection)
    assert (0 if end == "lost" else wire.unsent_bytes) == stage.gateway.held.total_bytes
    assert wire.unsent_bytes > 1000
    connection.let_go()
    assert "aborted" == wire.end


def test_a_trusted_peer_is_believed_its_clients() -> None:
    """
    Whoever connected from a trusted network, or was announced to be there; nobody else.
    """
    stage = Stage()
    trusted = stage.gateway.trusted_proxies = Networks([ip_network("10.0.0.0/8")])
    head = parse_request(GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n", stage.gateway.limits)
    assert isinstance(head, RequestHead)
    proxy, _ = stage.connect(Wire(IPv6Address("TCP", "::ffff:10.0.0.1", 1)))
    other, _ = stage.connect(TlsWire())
    assert (trusted, (b"203.0.113.9", b"http")) == (proxy.proxies, proxy.client_of(head))
    assert (None, (b"192.0.2.7", b"https")) == (other.proxies, other.client_of(head))
    other.came_from("10.0.0.2")
    assert (b"10.0.0.2", (b"203.0.113.9", b"https")) == (other.peer, other.client_of(head))
    stage.gateway.trusted_proxies = None
    other.came_from("10.0.0.2")
    assert None is other.proxies
