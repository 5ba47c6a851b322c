from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from sptls.config import Address
from sptls.errors import StartError
from sptls.tls.sockets import AcceptedSocket, accept, acknowledged_bytes, address_of, adopt, bind, is_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MPTCP = 262  # a stream that is not TCP's, linux/in.h


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
        for host, peer in (("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")):
            connect(sock, host)
            accepted, address = sock.accept()
            accepted.close()
            assert peer == address[0]


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


def test_several_sockets_share_the_clients() -> None:
    """
    Each is for a process; whoever comes is in the queue of one of them, on the port that was drawn once.
    """
    with ExitStack() as stack:
        several = [stack.enter_context(sock) for sock in bind(Address("127.0.0.1", 0), 3)]
        (name,) = {sock.getsockname() for sock in several}
        clients = [stack.enter_context(socket.create_connection(name, timeout=5)) for _ in range(30)]
        for client in clients:
            client.send(b"x")
        accepted = [_accept_all(stack, sock) for sock in several]
        assert 30 == sum(accepted)


def _accept_all(stack: ExitStack, sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            stack.enter_context(sock.accept()[0])
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("count", [1, 2])
def test_port_that_another_offers_to_share_is_taken_all_the_same(count: int) -> None:
    """
    Else a second daemon would take half of the clients of a first one, unnoticed.
    """
    other = socket.create_server(("127.0.0.1", 0), reuse_port=True)
    with other, pytest.raises(StartError, match="address already in use"):
        bind(Address("127.0.0.1", other.getsockname()[1]), count)


def test_several_sockets_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Those that were made are closed when one can't be.
    """
    made: list[socket.socket] = []
    whole = socket.socket

    def make(*args: int) -> socket.socket:
        if len(made) == 3:
            raise OSError(errno.EMFILE, "")
        made.append(whole(*args))
        return made[-1]

    monkeypatch.setattr(socket, "socket", make)
    with pytest.raises(StartError, match="Too many open files"):
        bind(Address("127.0.0.1", 0), 3)
    assert [-1, -1, -1] == [sock.fileno() for sock in made]


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


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_adopted(host: str) -> None:
    """
    A listening socket of another process is made like one of ours, and no program that we start inherits it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.create_server((host, 0), family=family)
    made.set_inheritable(True)
    with adopt(made.detach()) as sock:
        assert (family, False, False) == (sock.family, sock.getblocking(), sock.get_inheritable())
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: socket.socket(type=socket.SOCK_DGRAM), "a UDP socket"),
        (lambda: socket.socket(type=socket.SOCK_STREAM), "a socket that does not listen"),
        (lambda: socket.socket(socket.AF_UNIX), "a socket of the family AF_UNIX"),
        (lambda: socket.socket(type=socket.SOCK_STREAM, proto=_MPTCP), "not a TCP socket"),
    ],
)
def test_what_can_not_be_adopted(make: Callable[[], socket.socket], why: str) -> None:
    """
    It is said what it is, and closed.
    """
    try:
        descriptor = make().detach()
    except OSError:
        pytest.skip("this kernel has no such socket")
    with pytest.raises(ValueError, match=why):
        adopt(descriptor)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes raw sockets")
def test_raw_socket_can_not_be_adopted() -> None:
    """
    It is neither TCP nor UDP.
    """
    with pytest.raises(ValueError, match="not a TCP socket"):
        adopt(socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP).detach())


def test_no_socket_can_not_be_adopted() -> None:
    """
    A file is told from a socket, and a descriptor of nothing is said to be that.
    """
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ValueError, match="not a socket"):
        adopt(reading)
    with pytest.raises(ValueError, match="Bad file descriptor"):
        adopt(reading)


@pytest.mark.parametrize(
    ("bound", "asked", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "", True),  # noqa: S104 - that is the point
        ("::", "", True),
        ("::", "::", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
    ],
)
def test_where_a_socket_is(bound: str, asked: str, expected: bool) -> None:
    """
    Every address is IPv6's or IPv4's; one address is that one; another port is another place.
    """
    with socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET) as sock:
        sock.bind((bound, 0))
        port = sock.getsockname()[1]
        assert expected is is_at(sock, Address(asked, port))
        assert not is_at(sock, Address(asked, port - 1))


@pytest.fixture
def accepted() -> Iterator[AcceptedSocket]:
    """
    A connection whose client says nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        sock, _ = accept(listening, listening.family)
        yield sock
        sock.close()


def test_who_is_counted_leaves_once(accepted: AcceptedSocket) -> None:
    """
    When its socket is closed, and not again when that is done twice.
    """
    left: list[bool] = []
    accepted.leave = lambda: left.append(accepted.fileno() == -1)
    for _ in range(2):
        accepted.close()
    assert [True] == left


def test_it_is_left_to_another_to_leave(accepted: AcceptedSocket) -> None:
    """
    Where the connection goes on in a duplicate.
    """
    left: list[bool] = []
    accepted.leave = lambda: left.append(True)
    leave = accepted.hand_on()
    accepted.close()
    assert ([], True) == (left, leave is not None)


def test_what_the_other_end_has_is_counted() -> None:
    """
    Also what its program hasn't read; that comes within a moment over loopback.
    """
    with bind(Address("127.0.0.1", 0))[0] as listening, socket.socket() as client:
        listening.setblocking(True)
        client.connect(listening.getsockname())
        client.sendall(b"hello")
        with listening.accept()[0] as accepted:
            accepted.recv(5)
            accepted.sendall(bytes(5000))
            client.recv(5000, socket.MSG_WAITALL)
            client.sendall(b"thanks")
            accepted.recv(6, socket.MSG_WAITALL)
            assert (5000, 5) == (acknowledged_bytes(accepted), min(acknowledged_bytes(client), 5))
