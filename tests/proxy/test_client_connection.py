from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sptls.proxy.client_connection import ClientConnection
from tests.proxy.wire import Stage, TlsWire, Wire

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
