"""
Listening sockets and the addresses of a socket's two ends.

Decides how a socket that listens is made (options, backlog, IPv6 and IPv4 on one socket), whether one that somebody
else made will do, and how an address that the system gave reads to a protocol. Serves the TLS listener and, through
`adoptStreamPort`, port 80 alike.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.address import IPv4Address, IPv6Address

from sptls.addresses import plain_host
from sptls.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.config import Address

# A newsletter's readers come at once; the kernel cuts it to net.core.somaxconn, 4096 by default since Linux 5.4.
BACKLOG: Final = 4096
# Clients of TLS and of HTTP speak first: the kernel wakes us when they have, or after this. It is coarse (powers of
# two of the SYN-ACK's retransmissions), and only who connects and says nothing sees it.
DEFER_ACCEPT_SECONDS: Final = 3
# What the system calls every address; a socket at the first takes IPv4 clients too, unless it was told not to.
_EVERY_HOST: Final = frozenset({"::", "0.0.0.0"})  # noqa: S104 - compared with, not listened on
_TCP_OPTIONS: Final = (
    # Accepted sockets inherit it: answers are written whole, and must not wait for an acknowledgement.
    (socket.TCP_NODELAY, 1),
    (socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS),
)
# Where `tcpi_bytes_acked` is in `tcp_info`, since Linux 4.1.
_ACKED_AT: Final = 120
_ACKED: Final = struct.Struct("=Q")
_STREAM: Final = int(socket.SOCK_STREAM)  # an IntEnum costs a conversion each time
_TCP: Final = int(socket.IPPROTO_TCP)
_close: Final = socket.SocketType.close


def bind(address: Address, count: int = 1) -> list[socket.socket]:
    """
    Give *count* listening, non-blocking sockets for *address*; "" is every address, IPv6 and IPv4.

    Of several, each is for a process of its own: the kernel spreads the clients on them (SO_REUSEPORT).

    Raises:
        StartError: the address can't be had; says why and what to do.
    """
    made: list[socket.socket] = []
    try:
        first = _listening(address.host, address.port)
        if count == 1:
            return [first]
        # A port that others may have too is refused only to those who do not offer it: this one has shown that nobody
        # else listens there. With port 0 it has drawn one.
        name = first.getsockname()
        first.close()
        while len(made) < count:
            made.append(_bound(first.family, name[0], name[1], is_one_of_several=True))
    except OSError as error:
        for sock in made:
            sock.close()
        raise StartError(f"can't listen on {address}: {_cause(error, address.port)}") from error
    return made


def _listening(host: str, port: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        return _bound(family, host, port)
    try:
        return _bound(socket.AF_INET6, "::", port)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(socket.AF_INET, "0.0.0.0", port)  # noqa: S104 - asked for: every address, no IPv6 here


def _bound(
    family: socket.AddressFamily | int, host: str, port: int, *, is_one_of_several: bool = False
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_one_of_several:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Only "::" with no more words means both; an IPv6 address that was given is that address.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        for option, value in _TCP_OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def adopt(descriptor: int) -> socket.socket:
    """
    Give the listening socket that another process made and passed on as *descriptor*, with the options of ours.

    Raises:
        ValueError: it is no listening TCP socket; says what it is. It is closed, if it was open.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        with suppress(OSError):
            os.close(descriptor)
        raise ValueError("not a socket" if error.errno == errno.ENOTSOCK else str(error.strerror)) from None
    wrong = _why_not_listening(sock)
    if wrong:
        sock.close()
        raise ValueError(wrong)
    sock.setblocking(False)
    sock.set_inheritable(False)
    for option, value in _TCP_OPTIONS:
        with suppress(OSError):  # it listens all the same
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def _why_not_listening(sock: socket.socket) -> str:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return f"a socket of the family {sock.family.name}"
    if sock.type != socket.SOCK_STREAM:
        return "a UDP socket" if sock.type == socket.SOCK_DGRAM else "not a TCP socket"
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != socket.IPPROTO_TCP:
        return "not a TCP socket"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a socket that does not listen"
    return ""


def is_at(sock: socket.socket, address: Address) -> bool:
    """
    Tell whether the listening socket *sock* is one for *address*. Where that is every address, IPv4's will do.
    """
    host, port = sock.getsockname()[:2]
    if port != address.port:
        return False
    return plain_host(host) == plain_host(address.host) if address.host else host in _EVERY_HOST


def _cause(error: OSError, port: int) -> str:
    """
    Say what *error* of binding means and what the operator can do.
    """
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"address already in use; `ss -ltnp 'sport = :{port}'` shows by which program, stop it or take another"
            )
        case errno.EACCES | errno.EPERM:
            return (
                "permission denied; ports under 1024 need root (sptls gives it up with --uid) or CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; `ip address` shows those it has"
        case _:
            return os.strerror(error.errno) if error.errno else str(error)


class AcceptedSocket(socket.SocketType):
    """
    A client's connection; *leave* is called once when it is closed: set where it counts for its address.
    """

    __slots__ = ("leave",)

    leave: Callable[[], None] | None

    def close(self) -> None:
        """
        Close, once.
        """
        _close(self)
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def hand_on(self) -> Callable[[], None] | None:
        """
        Give what is to be called when the connection is closed, and call it here no more: it goes on in a duplicate.
        """
        leave, self.leave = self.leave, None
        return leave


def accept(sock: socket.socket, family: int) -> tuple[AcceptedSocket, tuple[Any, ...]]:
    """
    Accept on *sock*, of *family*: give the connection, which does not block, and the peer's address.

    `socket.accept` makes a `socket.socket` of it, in Python, at four times the price.

    Raises:
        OSError: there is none, or it can't be had (accept(2)).
    """
    descriptor, peer = sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - what `socket.accept` calls
    accepted = AcceptedSocket(family, _STREAM, _TCP, descriptor)
    accepted.setblocking(False)
    accepted.leave = None
    return accepted, peer


def acknowledged_bytes(sock: socket.SocketType) -> int:
    """
    Tell how much of what was sent on *sock*, a connection, the other end's system has (linux/tcp.h, `tcp_info`).
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + _ACKED.size)
    acknowledged: int = _ACKED.unpack_from(info, _ACKED_AT)[0]
    return acknowledged


def address_of(name: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """
    Give what `getpeername`, `getsockname` or `accept` said as Twisted's address.
    """
    host = plain_host(name[0])
    if ":" in host:
        return IPv6Address("TCP", host, name[1], *name[2:])
    return IPv4Address("TCP", host, name[1])
