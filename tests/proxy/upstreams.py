"""
Real upstreams on a reactor in memory: the test accepts connections and plays the tracking service on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.deadlines import Deadlines
from sptls.interfaces import IDownstream
from sptls.names import HostName
from sptls.proxy.counters import Counters
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.resolver import Resolver
from sptls.proxy.route import Site
from sptls.proxy.upstream import Upstreams
from sptls.proxy.upstream_http1 import UpstreamConnection
from tests.proxy.wire import GET, Wire, lost

if TYPE_CHECKING:
    from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

    from sptls.errors import UpstreamError
    from sptls.proxy.head import ResponseHead
    from sptls.proxy.upstream_exchange import UpstreamExchange

PLAIN = UpstreamConfig(scheme="http", host="spgo.test", port=80)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@implementer(IDownstream)
class Told:
    """
    A client's side that keeps what it is told: a status, content, then "end" or the failure's status.
    """

    def __init__(self) -> None:
        self.events: list[str | int] = []
        self.content = b""
        self.flushes = 0
        self.failure = ""

    def response_head(self, head: ResponseHead) -> None:
        """
        Keep the status.
        """
        self.events.append(head.status)

    def response_data(self, data: bytes) -> None:
        """
        Keep content.
        """
        self.content += data

    def response_flush(self) -> None:
        """
        Count it.
        """
        self.flushes += 1

    def response_end(self) -> None:
        """
        Note it.
        """
        self.events.append("end")

    def response_failed(self, error: UpstreamError) -> None:
        """
        Note its status.
        """
        self.events.append(f"failed {error.status}")
        self.failure = error.reason

    def pause_request(self) -> None:
        """
        Note it.
        """
        self.events.append("pause")

    def resume_request(self) -> None:
        """
        Note it.
        """
        self.events.append("resume")


def request_head(raw: bytes = GET) -> RequestHead:
    """
    Give the head that *raw* is.
    """
    head = parse_request(raw, LimitsConfig())
    assert isinstance(head, RequestHead)
    return head


def _no_tls(_: UpstreamConfig) -> NoReturn:
    raise AssertionError("plain HTTP needs no TLS")


class UpstreamStage:
    """
    Upstreams, a resolver that knows *addresses*, and the reactor on which the test connects.
    """

    def __init__(
        self,
        config: UpstreamConfig = PLAIN,
        addresses: tuple[str, ...] = ("192.0.2.10",),
        tls: IOpenSSLClientConnectionCreator | None = None,
    ) -> None:
        self.reactor = MemoryReactorClock()
        self.deadlines = Deadlines(self.reactor)
        self.deadlines.start()
        self.addresses: tuple[str, ...] | Exception = addresses
        self._hanging = False
        self.resolver = Resolver(self.reactor, self._look_up)
        self.resolver.start()
        self.counters = Counters()
        self.limits = LimitsConfig(head_bytes=2000)
        self.site = Site(HostName("click.example.com"), config)
        self.upstreams = Upstreams(
            self.reactor,
            self.reactor,
            self.deadlines,
            self.limits,
            self.resolver,
            _no_tls if tls is None else lambda _: tls,
            self.counters,
        )

    async def _look_up(self, host: str) -> tuple[str, ...]:
        if self._hanging:
            await Deferred()
        if isinstance(self.addresses, Exception):
            raise self.addresses
        return self.addresses

    def hang(self) -> None:
        """
        Answer no look-up any more.
        """
        self._hanging = True

    def ask(self, raw: bytes = GET, told: Told | None = None) -> tuple[Told, UpstreamExchange]:
        """
        Send the request whose head is *raw*.
        """
        told = told or Told()
        return told, self.upstreams.exchange(self.site, raw, request_head(raw), told)

    def accept(self, at: int = -1) -> tuple[UpstreamConnection, Wire]:
        """
        Complete the connection that was begun as number *at*.
        """
        connection = self.reactor.tcpClients[at][2].buildProtocol(IPv4Address("TCP", "192.0.2.10", 80))
        assert isinstance(connection, UpstreamConnection)
        wire = Wire()
        connection.makeConnection(wire)
        return connection, wire

    def refuse(self, at: int = -1) -> None:
        """
        Refuse it.
        """
        self.reactor.tcpClients[at][2].clientConnectionFailed(self.reactor.connectors[at], Failure(Refused()))

    @property
    def dialled(self) -> list[str]:
        """
        Give the addresses that were connected to, in order.
        """
        return [client[0] for client in self.reactor.tcpClients]

    def kept(self) -> tuple[UpstreamConnection, Wire]:
        """
        Give a connection that had its first answer and waits for more.
        """
        self.ask()
        connection, wire = self.accept()
        connection.dataReceived(OK)
        wire.taken()
        return connection, wire


def stopped(stage: UpstreamStage) -> Deferred[None]:
    """
    Begin to stop.
    """
    return Deferred.fromCoroutine(stage.upstreams.stop())


__all__ = ["OK", "PLAIN", "Told", "UpstreamStage", "lost", "request_head", "stopped"]
