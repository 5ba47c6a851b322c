"""
Real upstreams whose connections a test accepts or refuses, and on which it plays the tracking service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.deadlines import Deadlines
from sptls.errors import UpstreamError
from sptls.interfaces import IDownstream, IUpstreamConnector
from sptls.names import HostName
from sptls.proxy.counters import Counters
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.resolver import Resolver
from sptls.proxy.route import Site
from sptls.proxy.upstream import Upstreams
from sptls.proxy.upstream_http1 import UpstreamConnection
from tests.proxy.wire import GET, Wire, lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol, ITransport

    from sptls.proxy.fields import Fields
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
        self.seconds_left = 0.0
        self.content = b""
        self.trailers: Fields = []
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

    def response_trailers(self, fields: Fields) -> None:
        """
        Keep what came behind the content.
        """
        self.trailers = fields

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


@attrs.define
class Attempt:
    """
    A connection to *address* and *port* that was asked for; *done* fires when the test lets it.
    """

    address: str
    port: int
    protocol: IProtocol
    done: Deferred[None] = attrs.field(factory=Deferred)


@implementer(IUpstreamConnector)
class InMemory:
    """
    Keeps what is to be connected for the test to decide about, and what is worth remembering.
    """

    def __init__(self, attempts: list[Attempt], remembered: list[ITransport], port: int) -> None:
        self._attempts, self._remembered, self._port = attempts, remembered, port

    async def connect(self, address: str, protocol: IProtocol) -> None:
        """
        Wait for the test.
        """
        self._attempts.append(Attempt(address, self._port, protocol))
        await self._attempts[-1].done

    def remember(self, transport: ITransport) -> None:
        """
        Keep it.
        """
        self._remembered.append(transport)


class UpstreamStage:
    """
    Upstreams, a resolver that knows *addresses*, and a clock; connections are the test's, or *connector_for*'s.
    """

    def __init__(
        self,
        config: UpstreamConfig = PLAIN,
        addresses: tuple[str, ...] = ("192.0.2.10",),
        connector_for: Callable[[UpstreamConfig], IUpstreamConnector] | None = None,
        clock: Clock | None = None,
        limits: LimitsConfig | None = None,
    ) -> None:
        self.reactor = clock or Clock()
        self.attempts: list[Attempt] = []
        self.remembered: list[ITransport] = []
        self.deadlines = Deadlines(self.reactor)
        self.deadlines.start()
        self.addresses: tuple[str, ...] | Exception = addresses
        self._hanging = False
        self.resolver = Resolver(self.reactor, self._look_up)
        self.resolver.start()
        self.counters = Counters()
        self.limits = limits or LimitsConfig(head_bytes=2000)
        self.site = Site(HostName("click.example.com"), config)
        self.upstreams = Upstreams(
            self.reactor,
            self.deadlines,
            self.limits,
            self.resolver,
            connector_for or (lambda config: InMemory(self.attempts, self.remembered, config.port)),
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

    def accept(self, at: int = -1, wire: Wire | None = None) -> tuple[UpstreamConnection, Wire]:
        """
        Complete the connection that was begun as number *at*.
        """
        attempt, wire = self.attempts[at], wire or Wire()
        connection = attempt.protocol
        assert isinstance(connection, UpstreamConnection)
        connection.makeConnection(wire)
        attempt.done.callback(None)
        return connection, wire

    def refuse(self, at: int = -1) -> None:
        """
        Refuse it.
        """
        attempt = self.attempts[at]
        attempt.done.errback(UpstreamError(502, f"no connection to {attempt.address}: Connection refused"))

    @property
    def dialled(self) -> list[str]:
        """
        Give the addresses that were connected to, in order.
        """
        return [attempt.address for attempt in self.attempts]

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
