"""
Both ends of the proxy in memory: a client's transport, a tracking service that a test plays, a clock.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.deadlines import Deadlines
from sptls.errors import UpstreamError
from sptls.interfaces import IUpstreamExchange
from sptls.names import HostName, NameTable
from sptls.proxy.counters import Counters
from sptls.proxy.gateway import Gateway
from sptls.proxy.head import RequestHead, ResponseHead, parse_response
from sptls.proxy.http1 import Http1
from sptls.proxy.route import Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twisted.internet.interfaces import IAddress, IProducer, IProtocol
    from twisted.logger import LogEvent

    from sptls.interfaces import IDownstream
    from sptls.proxy.fields import Fields
    from sptls.proxy.log_line import LogEntry

CLICK = "click.example.com"
SITE = Site(HostName(CLICK), UpstreamConfig())
GET = b"GET /f/a HTTP/1.1\r\nHost: click.example.com\r\n\r\n"
POST = b"POST /f/a HTTP/1.1\r\nHost: click.example.com\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


def response_head(raw: bytes) -> ResponseHead:
    """
    Give the head that *raw* is.
    """
    head = parse_response(raw, 32768)
    assert isinstance(head, ResponseHead)
    return head


@implementer(ITransport, IConsumer, IPushProducer)
class Wire:
    """
    A transport whose other end a test plays; with *full_bytes* its producer is paused beyond that, until `take_all`.
    """

    def __init__(self, peer: IAddress | None = None) -> None:
        self.writes: list[bytes] = []
        self.full_bytes: int | None = None
        self.unsent_bytes = 0
        self.reading, self.no_delay = True, False
        self.producer: IPushProducer | None = None
        self.disconnecting = self.write_closed = self.aborted = False
        self._peer = peer or IPv4Address("TCP", "192.0.2.7", 40000)

    def getPeer(self) -> IAddress:  # noqa: N802 - Twisted's name
        """
        Give the other end's address.
        """
        return self._peer

    def getHost(self) -> IAddress:  # noqa: N802 - Twisted's name
        """
        Give this end's address.
        """
        return IPv4Address("TCP", "192.0.2.1", 80)

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """
        Note that nothing waits for an ACK.
        """
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        """
        Keep *data*; pause the producer when that is too much.
        """
        assert self.end == "open"
        self.writes.append(data)
        self.unsent_bytes += len(data)
        if self.full_bytes is not None and self.unsent_bytes > self.full_bytes and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:  # noqa: N802 - Twisted's name
        """
        Write all in one piece.
        """
        self.write(b"".join(iovec))

    def take_all(self) -> None:
        """
        Have the other end read everything.
        """
        self.unsent_bytes = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:  # noqa: N802 - Twisted's name
        """
        Keep *producer*, the only one.
        """
        assert streaming
        assert self.producer is None
        self.producer = cast("IPushProducer", producer)

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        """
        Forget it.
        """
        self.producer = None

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note that nothing is read.
        """
        self.reading = False

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note that it is.
        """
        self.reading = True

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Close.
        """
        self.loseConnection()

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note that it is to be closed; a producer that is still there would keep Twisted from doing so.
        """
        assert self.producer is None
        self.disconnecting = True

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note that our side is closed.
        """
        assert self.producer is None
        self.write_closed = True

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Note that it is closed.
        """
        self.aborted = self.disconnecting = True

    def value(self) -> bytes:
        """
        Give what was written since `taken`.
        """
        return b"".join(self.writes)

    def taken(self) -> bytes:
        """
        Give what was written since the last time.
        """
        value = self.value()
        self.writes = []
        return value

    @property
    def end(self) -> str:
        """
        Tell how the protocol ended it: "open", "lost", "half" (lingers) or "aborted".
        """
        if self.aborted:
            return "aborted"
        if self.disconnecting:
            return "lost"
        return "half" if self.write_closed else "open"


class _Certificate:
    def __init__(self, host: bytes) -> None:
        self._host = host

    def covers(self, host: bytes) -> bool:
        """
        Tell whether *host* is the one name.
        """
        return host.lower() == self._host


class TlsWire(Wire):
    """
    The same with what `TlsTransport` has more.
    """

    def __init__(self, host: str = CLICK, peer: IAddress | None = None) -> None:
        super().__init__(peer)
        self.alpn, self.certificate = b"http/1.1", _Certificate(host.encode())
        self.lingers = False
        self.taken_bytes = 0
        self.gathered_from: int | None = None
        self.acknowledged_from: list[int] = []
        self.closes_at_once = True

    def gather_for_close(self) -> None:
        """
        Note how many writes came before.
        """
        self.gathered_from = len(self.writes)

    def acknowledge_at_once(self) -> None:
        """
        Note how many writes came before.
        """
        self.acknowledged_from.append(len(self.writes))

    def close_at_once(self) -> bool:
        """
        Close, unless the test says that something is unsent.
        """
        if self.closes_at_once:
            self.producer = None
            self.disconnecting = True
        return self.closes_at_once

    def lose_connection_lingering(self) -> None:
        """
        Note that lingering was asked for.
        """
        self.lingers = True
        self.loseConnection()


def lost(protocol: IProtocol, error: Exception | None = None) -> None:
    """
    Tell *protocol* that its connection is gone.
    """
    protocol.connectionLost(Failure(error or ConnectionDone()))


@implementer(IUpstreamExchange)
class PlayedExchange:
    """
    The upstream's side as a test plays it; *events* is what the client's side called.
    """

    def __init__(self, head_bytes: bytes, request: RequestHead, downstream: IDownstream) -> None:
        self.head_bytes, self.request, self.downstream = head_bytes, request, downstream
        self.content = b""
        self.held_bytes = 0
        self.trailers: Fields = []
        self.events: list[str] = []

    def send_data(self, data: bytes) -> None:
        """
        Keep content.
        """
        self.content += data

    def send_trailers(self, fields: Fields) -> None:
        """
        Keep what came behind the content.
        """
        self.trailers = fields

    def send_end(self) -> None:
        """
        Note the end.
        """
        self.events.append("end")

    def pause_response(self) -> None:
        """
        Note it.
        """
        self.events.append("pause")

    def resume_response(self) -> None:
        """
        Note it.
        """
        self.events.append("resume")

    def read_little(self, little: bool) -> None:
        """
        Note it.
        """
        self.events.append("little" if little else "much")

    def abandon(self) -> None:
        """
        Note it.
        """
        self.events.append("abandon")

    def answer(self, raw: bytes = OK, *content: bytes) -> None:
        """
        Answer with the head *raw* and *content*, all in one turn.
        """
        self.downstream.response_head(response_head(raw))
        for piece in content:
            self.downstream.response_data(piece)
        self.downstream.response_end()

    def begin(self, raw: bytes, *content: bytes) -> None:
        """
        Answer without an end.
        """
        self.downstream.response_head(response_head(raw))
        for piece in content:
            self.downstream.response_data(piece)
        self.downstream.response_flush()


class Kept:
    """
    An access log that is read by a test.
    """

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def write(self, entry: LogEntry) -> None:
        """
        Keep *entry*.
        """
        self.entries.append(entry)


class Stage:
    """
    A gateway with everything round it played by the test; `tracking` does something with each request at once.
    """

    def __init__(
        self, limits: LimitsConfig | None = None, tokens: dict[str, str] | None = None, site: Site = SITE
    ) -> None:
        self.clock, self.site = Clock(), site
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.exchanges: list[PlayedExchange] = []
        self.tracking: Callable[[PlayedExchange], None] | None = None
        self.log = Kept()
        self.counters = Counters()
        self.gateway = Gateway(
            sites=NameTable([(site.name, site)]),
            tokens=tokens or {},
            upstreams=self,
            access_log=self.log,
            limits=limits or LimitsConfig(),
            deadlines=self.deadlines,
            clock=self.clock,
            now=lambda: 1603396784.0 + self.clock.seconds(),
            counters=self.counters,
        )

    def exchange(
        self, site: Site, head_bytes: bytes, request: RequestHead, downstream: IDownstream
    ) -> IUpstreamExchange:
        """
        Be the upstreams.
        """
        assert site is self.site
        played = PlayedExchange(head_bytes, request, downstream)
        self.exchanges.append(played)
        if self.tracking is not None:
            self.tracking(played)
        return played

    def connect(self, wire: Wire | None = None) -> tuple[Http1, Wire]:
        """
        Give a connection, on port 80 unless *wire* is TLS.
        """
        wire = wire or Wire()
        connection = Http1(self.gateway)
        connection.makeConnection(wire)
        connection.connectionMade()
        return connection, wire

    @property
    def logged(self) -> list[tuple[int, int]]:
        """
        Give status and body bytes of each log line.
        """
        return [(entry.status, entry.body_bytes) for entry in self.log.entries]


def fails_with(status: int) -> Callable[[PlayedExchange], None]:
    """
    Give a tracking service that fails at once.
    """
    return lambda exchange: exchange.downstream.response_failed(UpstreamError(status, "played"))


@contextmanager
def logged() -> Iterator[list[tuple[str, str]]]:
    """
    Keep level and text of what is logged meanwhile, debugging apart.
    """
    events: list[tuple[str, str]] = []

    @implementer(ILogObserver)
    def keep(event: LogEvent) -> None:
        if event["log_level"] is not LogLevel.debug:
            events.append((event["log_level"].name, formatEvent(event)))

    globalLogPublisher.addObserver(keep)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(keep)
