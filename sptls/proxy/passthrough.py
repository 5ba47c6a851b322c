"""
Connections that are another TLS server's: their bytes go there untouched, and its bytes to the client.

Nothing is read of them but the ClientHello, which was only peeked; which names these are is the configuration's to say
(`config.PassthroughConfig`). Each side may end its direction and go on reading; a reset on one is one on the other.

Bounds: each direction has at most one read and what Twisted's transports hold (64 KiB each), then the sender is not
read from. A connection that is being made has `limits.upstream_connect_seconds`, one without a byte either way
`limits.passthrough_idle_seconds`.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from sptls.addresses import plain_host
from sptls.errors import UpstreamError
from sptls.proxy.upstream_tcp import TcpConnector, adopt
from sptls.proxy_header import header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from socket import SocketType

    from twisted.internet.interfaces import ITCPTransport, ITransport
    from twisted.python.failure import Failure

    from sptls.config import LimitsConfig, PassthroughConfig
    from sptls.deadlines import Deadlines
    from sptls.proxy.resolver import Addresses, Resolver
    from sptls.proxy_header import Endpoint

_log = Logger()

# How many of a server's addresses one connection tries: each gets over one second.
_MAX_ATTEMPTS: Final = 4


class Passages:
    """
    All connections that are passed through, and the addresses of the servers that they go to.
    """

    def __init__(self, reactor: Any, resolver: Resolver, deadlines: Deadlines, limits: LimitsConfig) -> None:
        self.reactor, self.resolver = reactor, resolver
        self.connect_seconds = limits.upstream_connect_seconds
        self.idle = deadlines.queue(limits.passthrough_idle_seconds)
        self.under_way: set[Passage] = set()
        self._hosts: set[str] = set()
        # Those that could not be reached the last time, which was said.
        self._failing: set[PassthroughConfig] = set()

    def serve(self, servers: Iterable[PassthroughConfig]) -> None:
        """
        Keep the addresses of exactly these *servers* up to date from now on; no connection is touched.
        """
        servers = set(servers)
        hosts = {server.host for server in servers}
        for host in hosts - self._hosts:
            self.resolver.watch(host, _take_no_note)
        for host in self._hosts - hosts:
            self.resolver.forget(host, _take_no_note)
        self._hosts = hosts
        self._failing &= servers

    def begin(
        self,
        sock: SocketType,
        peer: tuple[Any, ...],
        destination: Endpoint | None,
        server: PassthroughConfig,
        *,
        refused: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """
        Connect *sock*, from *peer*, with *server*; *sock* is then closed here, and *ended* called when all is over.

        *refused* is called instead when there is no connection to be had, and *sock* is the caller's again.
        *destination* is where *peer* connected to, as far as it knows; None: to *sock*'s own address.
        """
        first = b""
        if server.proxy_protocol:
            first = header(_endpoint(peer), destination or _endpoint(sock.getsockname()))
        passage = Passage(self, sock, server, refused, ended)
        self.under_way.add(passage)
        passage.begin(first)

    def abort_all(self) -> None:
        """
        End all of them now.
        """
        for passage in list(self.under_way):
            passage.abort()

    def is_reachable(self, server: PassthroughConfig) -> None:
        """
        Take note that *server* was reached.
        """
        if server in self._failing:
            self._failing.discard(server)
            _log.info("connections are passed through to {server} again", server=str(server))

    def is_unreachable(self, server: PassthroughConfig, reason: str) -> None:
        """
        Take note that *server* could not be reached; said once until it is reached again.
        """
        if server not in self._failing:
            self._failing.add(server)
            _log.error(
                "connections can't be passed through to {server}: {reason}; their clients are refused until it can be"
                " reached (domains[].passthrough names it)",
                server=str(server),
                reason=reason,
            )


def _take_no_note(_: Addresses) -> None:
    """
    Do nothing: each connection asks for the addresses of that moment.
    """


def _endpoint(name: tuple[Any, ...]) -> Endpoint:
    return plain_host(name[0]), name[1]


class Passage:
    """
    One connection: its two ends, and the deadline of both.
    """

    __slots__ = ("_client", "_connecting", "_ended", "_passages", "_refused", "_server", "_socket", "_upstream")

    def __init__(
        self,
        passages: Passages,
        sock: SocketType,
        server: PassthroughConfig,
        refused: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._passages, self._socket, self._server = passages, sock, server
        self._refused, self._ended = refused, ended
        self._client, self._upstream = _End(self), _End(self)
        self._client.other, self._upstream.other = self._upstream, self._client
        self._connecting: Deferred[None] | None = None

    def begin(self, first_bytes: bytes) -> None:
        """
        Connect, say *first_bytes*, and begin to pass on.
        """
        connecting = Deferred.fromCoroutine(self._run(first_bytes))
        if not connecting.called:
            self._connecting = connecting

    def progressed(self) -> None:
        """
        Take note that a byte came.
        """
        self._passages.idle.set(self)

    def deadline_passed(self) -> None:
        """
        End: there was nothing to pass on for too long.
        """
        self.abort()

    def abort(self) -> None:
        """
        End now, with a reset on both sides; while there is only one, it is refused.
        """
        if self._connecting is not None:
            self._connecting.cancel()
        else:
            self._client.abort()
            self._upstream.abort()

    def end_lost(self) -> None:
        """
        Take note that one end is gone; with both it is over.
        """
        # Closing one end may tell at once that it is gone, inside of being told of the other: once is enough.
        if self._client.is_lost and self._upstream.is_lost and self in self._passages.under_way:
            self._passages.idle.clear(self)
            self._over(self._ended)

    async def _run(self, first_bytes: bytes) -> None:
        if await self._is_connected():
            if first_bytes:
                self._upstream.transport.write(first_bytes)
            self._join()
        else:
            self._over(self._refused)

    async def _is_connected(self) -> bool:
        try:
            await self._connect()
        except UpstreamError as error:
            self._passages.is_unreachable(self._server, error.reason)
        except CancelledError:
            pass
        except Exception:  # noqa: BLE001 - the client must be refused whatever it was
            _log.failure("a connection could not be passed through")
        else:
            self._passages.is_reachable(self._server)
            return True
        finally:
            self._connecting = None
        return False

    def _join(self) -> None:
        """
        Begin to read from the client, whose hello is there.
        """
        with closing(self._socket) as sock:  # the transport has a duplicate
            try:
                adopt(self._passages.reactor, sock, self._client)
            except OSError:  # it was reset meanwhile
                self._client.is_lost = True
                self._upstream.abort()
                return
        self._client.join()
        self._upstream.join()
        self.progressed()

    async def _connect(self) -> None:
        """
        Connect to one of the server's addresses; each has its share of the time.

        Raises:
            UpstreamError: none could be reached.
        """
        passages, server = self._passages, self._server
        clock, connector = passages.reactor, TcpConnector(passages.reactor, server.port)
        until = clock.seconds() + passages.connect_seconds
        failure = UpstreamError(504, "its name can't be resolved in time")
        with suppress(TookTooLong):
            looking = Deferred.fromCoroutine(passages.resolver.addresses(server.host))
            addresses = (await looking.addTimeout(passages.connect_seconds, clock))[:_MAX_ATTEMPTS]
            for at, address in enumerate(addresses):
                connecting = Deferred.fromCoroutine(connector.connect(address, self._upstream))
                try:
                    left_seconds = max(0.0, until - clock.seconds())  # a standstill of our own takes more than there is
                    return await connecting.addTimeout(left_seconds / (len(addresses) - at), clock)
                except TookTooLong:
                    failure = UpstreamError(504, f"no answer from {address} in time")
                except UpstreamError as error:
                    failure = error
        raise failure

    def _over(self, told: Callable[[], None]) -> None:
        self._passages.under_way.discard(self)
        told()


@implementer(IProtocol, IHalfCloseableProtocol)
class _End:
    """
    One of the two connections; what it receives goes to the *other*.
    """

    __slots__ = ("_has_read_all", "_passage", "factory", "is_lost", "other", "transport")

    transport: Any
    other: _End

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._has_read_all = self.is_lost = False

    def makeConnection(self, transport: ITransport) -> None:
        """
        Be connected.
        """
        self.transport = transport
        cast("ITCPTransport", transport).setTcpNoDelay(True)

    def join(self) -> None:
        """
        Have the other end read from only as fast as this one is written to.
        """
        self.transport.registerProducer(self.other.transport, True)

    def connectionMade(self) -> None:
        """
        Do nothing: all is done in `makeConnection`.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Pass on.
        """
        self._passage.progressed()
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """
        Pass it on that the peer sends no more.
        """
        self._has_read_all = True
        self.other.transport.unregisterProducer()
        self.other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """
        Close when both directions have ended.
        """
        if self._has_read_all:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        End the other one: in good order if this one did.
        """
        self.is_lost = True
        if not self.other.is_lost:
            self.other.transport.unregisterProducer()
            if self._has_read_all or reason.check(ConnectionDone):
                self.other.transport.loseConnection()
            else:
                self.other.abort()
        self._passage.end_lost()

    def abort(self) -> None:
        """
        Close now, with a reset.
        """
        if not self.is_lost:
            self.transport.abortConnection()
