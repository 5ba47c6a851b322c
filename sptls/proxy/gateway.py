"""
What every exchange with a client needs, in one value: where requests may go, what they may cost, who is told.

Decides nothing. One for the whole process, shared by the connections of both ports, HTTP/1.1 and HTTP/2. The
deadline queues are made here once; see `deadlines` for why there is one per kind of wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sptls.proxy.headers import http_date
from sptls.proxy.held_content import HeldContent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IReactorTime

    from sptls.addresses import Networks
    from sptls.config import LimitsConfig
    from sptls.deadlines import Deadlines
    from sptls.interfaces import IDownstream, IUpstreamExchange
    from sptls.names import NameTable
    from sptls.proxy.counters import Counters
    from sptls.proxy.head import RequestHead
    from sptls.proxy.log_line import LogEntry
    from sptls.proxy.route import Site

_log = Logger()

# The longest time for so many bytes of a request's content, or for what is left of it: 500 bytes a second, Apache's
# MinRate. With a deadline for silence alone, nginx's, a byte a minute keeps a connection and its upstream's for ever.
BODY_SECONDS: Final = 60.0
BODY_BYTES: Final = 30_000
# The longest time for what the transport holds (64 KiB and TLS's records) to be taken by the client: 0.6 KB/s.
WRITE_SECONDS: Final = 120.0
# How long, while finishing, a client that has just connected may take for its request, which is on its way: a round
# trip, and a lost segment. Connections opened ahead, for nothing, delay the end by this.
FIRST_SECONDS: Final = 2.0
# How long what is due to a client may wait for an answer that is expected, so that both are one packet: for an upstream
# in the same region it is enough, and TCP delays its acknowledgements by more; see `http2` for what waits.
SHORTLY_SECONDS: Final = 0.025
# How long a client may read an early answer while it still sends. nginx: 5 s of silence, 30 s in all.
LINGER_SECONDS: Final = 10.0


class Forwards(Protocol):
    """
    Something that takes requests to their tracking service (`upstream.Upstreams`).
    """

    def exchange(
        self, site: Site, head_bytes: bytes, request: RequestHead, downstream: IDownstream
    ) -> IUpstreamExchange:
        """
        Start an exchange; *downstream* may be told that it failed before this returns.
        """


class Logs(Protocol):
    """
    Something that takes access-log entries (`access_log.AccessLog`).
    """

    def write(self, entry: LogEntry) -> None:
        """
        Take *entry*; never blocks, never raises.
        """


class Finishes(Protocol):
    """
    A client's connection, as far as stopping is concerned.
    """

    def finish_soon(self) -> None:
        """
        Close now, or after the exchange that runs.
        """

    def abort(self) -> None:
        """
        Close now.
        """


class Gateway:
    """
    The shared surroundings of all clients' connections; *sites* may be replaced at any time (reload).

    *tokens* maps open http-01 tokens to key authorizations; *now* gives wall-clock epoch seconds. *has_certificate*
    tells whether a host has a valid certificate in what is served; *https_port* is where it is served. Peers in
    *trusted_proxies* are believed what they say of the client, those in *proxy_protocol* send a PROXY header first;
    both may be replaced at any time. *held* is the account of what is held for clients.
    """

    __slots__ = (
        "_call_later",
        "_date",
        "_date_second",
        "_drained",
        "_shortly",
        "_soon",
        "_sooner",
        "access_log",
        "body",
        "connections",
        "counters",
        "finishing",
        "first",
        "has_certificate",
        "head",
        "held",
        "https_port",
        "idle",
        "limits",
        "linger",
        "now",
        "proxy_protocol",
        "seconds",
        "sites",
        "tokens",
        "trusted_proxies",
        "upstreams",
        "write",
    )

    def __init__(
        self,
        *,
        sites: NameTable[Site],
        tokens: Mapping[str, str],
        upstreams: Forwards,
        access_log: Logs,
        limits: LimitsConfig,
        deadlines: Deadlines,
        clock: IReactorTime,
        now: Callable[[], float],
        counters: Counters,
        has_certificate: Callable[[bytes], bool] = lambda _: False,
        https_port: int = 443,
    ) -> None:
        self.sites, self.tokens = sites, tokens
        self.has_certificate, self.https_port = has_certificate, https_port
        self.upstreams, self.access_log, self.counters, self.limits = upstreams, access_log, counters, limits
        self.head, self.idle = deadlines.queue(limits.head_seconds), deadlines.queue(limits.idle_seconds)
        self.body, self.write = deadlines.queue(BODY_SECONDS), deadlines.queue(WRITE_SECONDS)
        self.first, self.linger = deadlines.queue(FIRST_SECONDS), deadlines.queue(LINGER_SECONDS)
        self.now, self.seconds = now, clock.seconds
        self.held = HeldContent(clock.callLater, clock.seconds, counters)
        self.connections: set[Finishes] = set()
        self.finishing = False
        self.trusted_proxies: Networks | None = None
        self.proxy_protocol: Networks | None = None
        self._drained: Deferred[None] | None = None
        self._call_later = clock.callLater
        self._soon: list[Callable[[], None]] = []
        # Who waits shortly waits in the one, then in the other, each for half of the time: two timers serve all.
        self._shortly: list[Callable[[], None]] = []
        self._sooner: list[Callable[[], None]] = []
        self._date, self._date_second = b"", -1

    def date(self) -> bytes:
        """
        Give the Date field's value for an answer of our own, made once a second.
        """
        second = int(self.now())
        if second != self._date_second:
            self._date, self._date_second = http_date(second), second
        return self._date

    def soon(self, flush: Callable[[], None]) -> None:
        """
        Call *flush* when all that is there to be read now has been: once for many answers costs less than for each.
        """
        if not self._soon:
            self._call_later(0, self._flush_all)
        self._soon.append(flush)

    def shortly(self, flush: Callable[[], None]) -> None:
        """
        Call *flush* in `SHORTLY_SECONDS` or half of that, and not before what came meanwhile was read.
        """
        if not (self._shortly or self._sooner):
            self._call_later(SHORTLY_SECONDS / 2, self._come_nearer)
        self._shortly.append(flush)

    def opened(self, connection: Finishes) -> None:
        """
        Keep *connection* until `closed`; one that comes while finishing serves one request at most.
        """
        self.connections.add(connection)
        self.counters.connections += 1

    def closed(self, connection: Finishes) -> None:
        """
        Forget *connection*.
        """
        self.connections.discard(connection)
        if not self.connections and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    async def finish(self) -> None:
        """
        Close idle connections, let running exchanges end, return when no connection is left; cancelling stops waiting.
        """
        self.finishing = True
        for connection in list(self.connections):
            connection.finish_soon()
        if self.connections:
            self._drained = Deferred()
            try:
                await self._drained
            finally:
                self._drained = None

    def abort(self) -> None:
        """
        Close every connection now, whatever it is doing.
        """
        for connection in list(self.connections):
            connection.abort()

    def _flush_all(self) -> None:
        flushes, self._soon = self._soon, []
        for flush in flushes:
            try:
                flush()
            except Exception:  # noqa: BLE001 - one connection's fault must not keep the others' answers back
                _log.failure("answers could not be written")

    def _come_nearer(self) -> None:
        due, self._sooner, self._shortly = self._sooner, self._shortly, []
        for flush in due:
            self.soon(flush)
        if self._sooner:
            self._call_later(SHORTLY_SECONDS / 2, self._come_nearer)
