"""
A client's connection whatever it speaks: who it is, whether it is read from, its one deadline, how it ends.

After an answer that came before the request was read the connection lingers: it is closed for writing only, and what
still comes is thrown away, so that the client reads the answer and no reset (RFC 9112 §9.6; nginx's lingering_close).
Over TLS the transport does that itself, below TLS.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from sptls.addresses import plain_host
from sptls.deadlines import Waits
from sptls.proxy.forwarded import believed
from sptls.proxy.headers import for_upstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IPushProducer, ITransport

    from sptls.addresses import Networks
    from sptls.proxy.gateway import Gateway
    from sptls.proxy.head import RequestHead
    from sptls.proxy.route import Site
    from sptls.proxy.stream import StreamTransport
    from sptls.tls.transport import TlsTransport

# What a client may go on sending after an early answer; throwing 16 MiB away costs about 10 ms of CPU.
LINGER_BYTES: Final = 16 << 20


class Leaves(Protocol):
    """
    Who made the connection, and counts it.
    """

    def left(self) -> None:
        """
        Take note that it is gone.
        """


class ClientConnection(Waits):
    """
    What is common to the connections of all clients; *peer* is the address, *tls* whether the bytes were encrypted.

    *proxies* are those that are trusted, where *peer* is one of them, else None: then `client_of` knows each request's
    client.

    A subclass is the protocol on top, sets deadlines with `_wait_in` and is told by `deadline_passed`. It knows what it
    holds (`held_bytes`), and says so with `_weigh` where that may have changed; *holds* is that it may.
    """

    __slots__ = (
        "_closing",
        "_covers",
        "_finishing",
        "_linger_left_bytes",
        "_read_closed",
        "_reading",
        "factory",
        "gateway",
        "holds",
        "peer",
        "proxies",
        "tls",
        "transport",
    )

    transport: StreamTransport

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.factory: Leaves | None = None
        self.peer, self.tls = b"", False
        self.proxies: Networks | None = None
        self._covers: Callable[[bytes], bool] | None = None
        self._deadline = None
        # *finishing*: close at the next opportunity; *closing*: nothing is written any more.
        self._finishing, self._closing = gateway.finishing, False
        self._reading, self._read_closed = True, False
        self.holds = False
        self._linger_left_bytes = LINGER_BYTES

    def writeConnectionLost(self) -> None:
        """
        Take note that the last answer is out: from now on the lingering is counted.
        """
        if self._closing:
            self._wait_in(self.gateway.linger)

    def came_from(self, host: str) -> None:
        """
        Take the IP address *host* for the client's, or for that of a proxy which is believed what it says of clients.
        """
        self.peer = host.encode("ascii", "replace")
        self._ask_trust(host)

    def client_of(self, request: RequestHead) -> tuple[bytes, bytes]:
        """
        Give the client's address and the scheme that it spoke, as a trusted proxy's *request* says.
        """
        scheme = b"https" if self.tls else b"http"
        if self.proxies is None:
            return self.peer, scheme
        return believed(request.fields, self.proxies, self.peer, scheme)

    def passed_on(self, request: RequestHead, site: Site) -> tuple[bytes, bytes | None]:
        """
        Give *request*'s head as *site*'s upstream gets it, and the HSTS value that its answer gets.

        None: what the service says; empty: none, as nothing is to be said of it without TLS (RFC 6797 §7.2).
        """
        client, scheme = self.client_of(request)
        return for_upstream(request, site, client, scheme), _hsts(site, scheme)

    def hsts_for(self, request: RequestHead, site: Site) -> bytes | None:
        """
        Give the HSTS value of *site*'s answers to *request*, as `passed_on` does.
        """
        return _hsts(site, self.client_of(request)[1])

    @property
    def held_bytes(self) -> int:
        """
        Tell how much is in memory for the client, or from it.
        """
        raise NotImplementedError

    @property
    def taken_bytes(self) -> int:
        """
        Tell how much the client has taken; nothing, as far as is known without TLS: such clients are proxies, mostly.
        """
        return cast("TlsTransport", self.transport).taken_bytes if self.tls else 0

    def let_go(self) -> None:
        """
        End: too much is held for clients that are slow.
        """
        self.abort()

    def abort(self) -> None:
        """
        Close now, whatever is under way.
        """
        self._closing = True
        self._wait_in(None)
        self.transport.abortConnection()

    def last_write_comes(self) -> None:
        """
        Take note that the connection closes after the next write: over TLS, both make one packet (3 % of a click).
        """
        if self.tls:
            cast("TlsTransport", self.transport).gather_for_close()

    def _begin_on(self, transport: ITransport, producer: IPushProducer) -> None:
        """
        Take *transport*, which is TLS if it has a ``certificate``; *producer* is told when the client takes too little.
        """
        self.transport = cast("StreamTransport", transport)
        self.tls = hasattr(transport, "certificate")
        certificate = getattr(transport, "certificate", None)
        self._covers = certificate.covers if certificate is not None else None
        host = getattr(transport, "peer_host", None) or str(getattr(self.transport.getPeer(), "host", ""))
        host = plain_host(host)
        self.peer = host.encode("ascii", "replace")
        if self.gateway.trusted_proxies is not None:
            self._ask_trust(host)
        if not self.tls:
            # Over TLS the listener has done it. An answer in two writes would wait for the client's delayed ACK.
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(producer, True)

    def _ask_trust(self, host: str) -> None:
        proxies = self.gateway.trusted_proxies
        self.proxies = proxies if proxies is not None and host in proxies else None

    def _weigh(self) -> None:
        """
        Bring the account in line with what is held; asked for only where that may be something, or was.
        """
        held_bytes = self.held_bytes
        if held_bytes or self.holds:
            self.holds = held_bytes > 0
            self.gateway.held.note(self, held_bytes)

    def _is_lost(self) -> None:
        """
        Let go of everything that is not an exchange's.
        """
        self._closing = True
        self._wait_in(None)
        if self.holds:
            self.holds = False
            self.gateway.held.forget(self)
        if self.factory is not None:
            self.factory.left()

    def _throw_away(self, data: bytes) -> None:
        """
        Drop what came after the end, within bounds.
        """
        self._linger_left_bytes -= len(data)
        if self._linger_left_bytes < 0:
            self.abort()

    def _close(self, *, still_sending: bool) -> None:
        """
        Close after what was written; linger if the client may be sending still.
        """
        self._closing = True
        self.transport.unregisterProducer()
        # For the answer to get out; the lingering is counted from then on.
        self._wait_in(self.gateway.write)
        if not still_sending or self._read_closed:
            self.transport.loseConnection()
        elif self.tls:
            cast("TlsTransport", self.transport).lose_connection_lingering()
        else:
            self.transport.loseWriteConnection()
            self._read(True)
        self._weigh()

    def _read(self, reading: bool) -> None:
        if reading is not self._reading:
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()


def _hsts(site: Site, scheme: bytes) -> bytes | None:
    return site.hsts if site.hsts is None or scheme == b"https" else b""
