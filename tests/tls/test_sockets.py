from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from sptls.config import Address
from sptls.errors import StartError
from sptls.tls.sockets import accept, address_of, bind

if TYPE_CHECKING:
    from collections.abc import Callable


class WithoutIPv6(socket.socket):
    """
    A socket of a machine without IPv6.
    """

    def __init__(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> None:  # noqa: A002 - as there
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "")
        super().__init__(family, type)


def failing(number: int) -> Callable[..., socket.socket]:
    """
    Give a maker of sockets that fails with *number*.
    """

    def make(*args: object) -> socket.socket:
        raise OSError(number, "")

    return make


def connect(sock: socket.socket, host: str) -> None:
    """
    Connect to *sock*'s port on *host*.
    """
    with socket.create_connection((host, sock.getsockname()[1]), timeout=5):
        pass


def test_every_address() -> None:
    """
    Without a host one socket takes IPv6 and IPv4 clients.
    """
    with ExitStack() as stack:
        (sock,) = [stack.enter_context(sock) for sock in bind(Address("", 0))]
        connect(sock, "127.0.0.1")
        connect(sock, "::1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_address(host: str) -> None:
    """
    With a host the socket has that address, does not block, and accepted ones send small segments at once.
    """
    (sock,) = bind(Address(host, 0))
    with sock:
        assert (host, False) == (sock.getsockname()[0], sock.getblocking())
        with socket.create_connection(sock.getsockname()[:2], timeout=5) as client:
            client.send(b"x")
            accepted, _ = sock.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On a machine without IPv6, every address is every IPv4 address.
    """
    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    (sock,) = bind(Address("", 0))
    with sock:
        assert "0.0.0.0" == sock.getsockname()[0]  # noqa: S104 - that is the point


def test_port_taken() -> None:
    """
    A port in use is said to be, with the address and a way to find by whom.
    """
    (sock,) = bind(Address("127.0.0.1", 0))
    with sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match=rf"127\.0\.0\.1:{port}: address already in use; .*ss -ltnp"):
            bind(Address("127.0.0.1", port))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "no such address"),
        (errno.EMFILE, "Too many open files"),
        (0, "can't listen on 192.0.2.1:443: "),
    ],
)
def test_faults(monkeypatch: pytest.MonkeyPatch, number: int, text: str) -> None:
    """
    Other faults name the address, the cause and what to do.
    """
    monkeypatch.setattr(socket, "socket", failing(number))
    with pytest.raises(StartError, match="can't listen on") as caught:
        bind(Address("192.0.2.1", 443))
    assert text in str(caught.value)


def test_fault_of_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A fault that is not the want of IPv6 is not hidden by trying IPv4.
    """
    monkeypatch.setattr(socket, "socket", failing(errno.EACCES))
    with pytest.raises(StartError, match="can't listen on :443: permission denied"):
        bind(Address("", 443))


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 443), IPv4Address("TCP", "192.0.2.1", 443)),
        (("::ffff:192.0.2.1", 443, 0, 0), IPv4Address("TCP", "192.0.2.1", 443)),
        (("2001:db8::1", 443, 0, 7), IPv6Address("TCP", "2001:db8::1", 443, 0, 7)),
    ],
)
def test_address(name: tuple[str, int], address: IPv4Address | IPv6Address) -> None:
    """
    An IPv4 client of a socket for both is an IPv4 client.
    """
    assert address == address_of(name)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accept(host: str) -> None:
    """
    What is accepted does not block, is of the listener's family, and comes with the peer's address.
    """
    (sock,) = bind(Address(host, 0))
    with sock, socket.create_connection(sock.getsockname()[:2], timeout=5) as client:
        client.send(b"x")
        sock.setblocking(True)
        accepted, peer = accept(sock, sock.family)
        assert (sock.family, client.getsockname(), 0.0) == (accepted.family, peer, accepted.gettimeout())
        assert b"x" == accepted.recv(9)
        accepted.close()


def test_accept_of_nobody() -> None:
    """
    Where nobody waits, it says so as the system does.
    """
    (sock,) = bind(Address("127.0.0.1", 0))
    with sock, pytest.raises(BlockingIOError):
        accept(sock, sock.family)
