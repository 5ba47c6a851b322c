"""
Listening sockets and the addresses of a socket's two ends.

Decides how a socket that listens is made (options, backlog, IPv6 and IPv4 on one socket) and how an address that
the system gave reads to a protocol. Serves the TLS listener and, through `adoptStreamPort`, port 80 alike.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.address import IPv4Address, IPv6Address

from sptls.addresses import plain_host
from sptls.errors import StartError

if TYPE_CHECKING:
    from sptls.config import Address

# A newsletter's readers come at once; the kernel cuts it to net.core.somaxconn, 4096 by default since Linux 5.4.
BACKLOG: Final = 4096
# Clients of TLS and of HTTP speak first: the kernel wakes us when they have, or after this. It is coarse (powers of
# two of the SYN-ACK's retransmissions), and only who connects and says nothing sees it.
DEFER_ACCEPT_SECONDS: Final = 3
_STREAM: Final = int(socket.SOCK_STREAM)  # an IntEnum costs a conversion each time
_TCP: Final = int(socket.IPPROTO_TCP)


def bind(address: Address) -> list[socket.socket]:
    """
    Give the listening, non-blocking sockets for *address*; "" is every address, IPv6 and IPv4.

    Raises:
        StartError: the address can't be had; says why and what to do.
    """
    try:
        return [_listening(address.host, address.port)]
    except OSError as error:
        raise StartError(f"can't listen on {address}: {_cause(error, address.port)}") from error


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


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Only "::" with no more words means both; an IPv6 address that was given is that address.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        # Accepted sockets inherit it: answers are written whole, and must not wait for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


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


def accept(sock: socket.socket, family: int) -> tuple[socket.SocketType, tuple[Any, ...]]:
    """
    Accept on *sock*, of *family*: give the connection, which does not block, and the peer's address.

    `socket.accept` makes a `socket.socket` of it, in Python, at four times the price.

    Raises:
        OSError: there is none, or it can't be had (accept(2)).
    """
    descriptor, peer = sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - what `socket.accept` calls
    accepted = socket.SocketType(family, _STREAM, _TCP, descriptor)
    accepted.setblocking(False)
    return accepted, peer


def address_of(name: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """
    Give what `getpeername`, `getsockname` or `accept` said as Twisted's address.
    """
    host = plain_host(name[0])
    if ":" in host:
        return IPv6Address("TCP", host, name[1], *name[2:])
    return IPv4Address("TCP", host, name[1])
