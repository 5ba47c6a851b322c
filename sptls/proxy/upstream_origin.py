"""
One upstream's connections: which one takes a request, how a new one is made, how many there may be.

The connection used last is used next, so that the others grow old and go (the fewer are open, the fewer are dead). A
request that may not be repeated, and one with content, always gets a fresh connection: an idle one may be closed by
the upstream at the very moment we write to it, and then nobody knows whether the request was acted on.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger

from sptls.errors import UpstreamError
from sptls.proxy.upstream_dial import Dialler
from sptls.proxy.upstream_health import UpstreamHealth

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime, ITransport

    from sptls.config import LimitsConfig, UpstreamConfig
    from sptls.deadlines import DeadlineQueue, Deadlines
    from sptls.interfaces import IUpstreamConnector
    from sptls.proxy.counters import Counters
    from sptls.proxy.resolver import Addresses, Resolver
    from sptls.proxy.upstream_exchange import UpstreamExchange
    from sptls.proxy.upstream_http1 import UpstreamConnection

_log = Logger()

# Kept while nothing is asked; a burst needs no more, and each costs memory at both ends.
MAX_IDLE: Final = 128
# An upstream closes its idle connections after 60-75 s (nginx 75, AWS's balancers 60); ours go earlier, so they are
# rarely found dead.
IDLE_SECONDS: Final = 30.0
# The longest silence in an answer's content, and in taking a request's. nginx's proxy_read_timeout, proxy_send_timeout.
BODY_SECONDS: Final = 60.0
# Of the connections to an upstream, those for requests whose content is still coming: clients that send it as slowly as
# they may must leave clicks their half.
_UPLOADS_SHARE: Final = 0.5
# Of them, those whose answers wait for their clients while others wait for a connection. Beside the uploads' share the
# clicks, whose answers are read at once, keep theirs.
_UNREAD_SHARE: Final = 0.25
_LOOKED_AT: Final = 16  # of these, before one of them has to go: a microsecond or a few for each
# For the peer's part of an orderly end (TLS close_notify); nobody waits for it but the file descriptor.
CLOSING_SECONDS: Final = 5.0


@attrs.frozen
class UpstreamDeadlines:
    """
    The queues for everything that is waited for at an upstream.
    """

    head: DeadlineQueue
    body: DeadlineQueue
    stall: DeadlineQueue
    idle: DeadlineQueue
    waiting: DeadlineQueue
    closing: DeadlineQueue

    @classmethod
    def of(cls, deadlines: Deadlines, limits: LimitsConfig) -> UpstreamDeadlines:
        """
        Make the queues, once per process.
        """
        return cls(
            head=deadlines.queue(limits.upstream_head_seconds),
            body=deadlines.queue(BODY_SECONDS),
            stall=deadlines.queue(BODY_SECONDS),
            idle=deadlines.queue(IDLE_SECONDS),
            waiting=deadlines.queue(limits.upstream_connect_seconds),
            closing=deadlines.queue(CLOSING_SECONDS),
        )


@attrs.frozen
class OriginServices:
    """
    What all origins share.
    """

    clock: IReactorTime
    resolver: Resolver
    deadlines: UpstreamDeadlines
    limits: LimitsConfig
    counters: Counters
    changed: Callable[[], None]


@attrs.frozen
class OriginStatus:
    """
    One upstream for the status page; *trouble* is why it fails, or None.
    """

    url: str
    connections: int
    idle: int
    waiting: int
    addresses: tuple[str, ...]
    trouble: str | None


class Origin:
    """
    One upstream (scheme, host, port, trust), which *connector* connects to.
    """

    __slots__ = (
        "_addresses",
        "_config",
        "_connected",
        "_connector",
        "_dialler",
        "_dialling",
        "_health",
        "_idle",
        "_open",
        "_retired",
        "_services",
        "_unread",
        "_uploads",
        "_waiting",
        "deadlines",
        "head_bytes",
    )

    def __init__(self, config: UpstreamConfig, services: OriginServices, connector: IUpstreamConnector) -> None:
        self._config, self._services, self._connector = config, services, connector
        self.deadlines, self.head_bytes = services.deadlines, services.limits.head_bytes
        # *open*: all that have a transport; *connected*: the usable ones; *idle*, the oldest first: those that wait.
        self._open: set[UpstreamConnection] = set()
        self._connected: set[UpstreamConnection] = set()
        self._idle: dict[UpstreamConnection, None] = {}
        self._dialling: set[UpstreamExchange] = set()
        self._waiting: dict[UpstreamExchange, None] = {}
        self._uploads: set[UpstreamExchange] = set()  # begun before all of their content was there
        self._unread: dict[UpstreamConnection, None] = {}  # those that their clients hold up, the longest first
        self._addresses: Addresses = ()
        self._dialler = Dialler(connector, services.clock)
        self._health = UpstreamHealth()
        self._retired = False
        services.resolver.watch(config.host, self._moved)

    # -- exchanges

    def begin(self, exchange: UpstreamExchange) -> None:
        """
        Give *exchange* a connection: an idle one if it may be repeated, else a fresh one, now or when there is room.
        """
        if exchange.repeatable and self._idle:
            self._idle.popitem()[0].take(exchange)
        elif exchange.ended or self._may_upload(exchange):
            self._begin_fresh(exchange)
        else:
            exchange.fail(UpstreamError(503, "too many large requests are on their way to the upstream"))

    def retry(self, exchange: UpstreamExchange, avoiding: str | None = None) -> None:
        """
        Send *exchange*'s request once more, on a fresh connection; *avoiding* is the address that is to blame.
        """
        if avoiding is not None:
            self._dialler.avoid(avoiding)
        exchange.retried = True
        self._services.counters.upstream_retries += 1
        self._begin_fresh(exchange)

    def forget(self, exchange: UpstreamExchange) -> None:
        """
        Look for no connection any more for *exchange*, which has none.
        """
        if exchange in self._waiting:
            del self._waiting[exchange]
            self.deadlines.waiting.clear(exchange)
        elif exchange.dial is not None:
            exchange.dial.cancel()

    def failed(self, exchange: UpstreamExchange, error: UpstreamError, address: str) -> None:
        """
        Tell *exchange* that it failed at *address*, and the log if that is news.

        The next requests go to the upstream's other addresses first: also those that would find a connection idle.
        """
        self._dialler.avoid(address)
        if self.has_alternatives:
            self._close_idle([idle for idle in self._idle if idle.address == address])
        self._note(error.reason, unreachable=False)
        exchange.fail(error)

    def answered(self) -> None:
        """
        Take note that an answer came.
        """
        if self._health.troubled:
            news = self._health.answered(self._services.clock.seconds())
            if news is not None:
                _log.info(
                    "the upstream {url} answers again, after {failures} failures in {seconds:.0f} s",
                    url=self._config.url,
                    failures=news.failures,
                    seconds=news.seconds,
                )

    # -- connections

    def opened(self, connection: UpstreamConnection) -> None:
        """
        Keep *connection*, which has a transport now.
        """
        self._open.add(connection)

    def release(self, connection: UpstreamConnection) -> None:
        """
        Take *connection* back, whose exchange is complete.
        """
        moved = bool(self._addresses) and connection.address not in self._addresses
        if self._retired or moved:
            connection.close()
        elif self._waiting:
            self._serve_waiting(connection)
        else:
            self._idle[connection] = None
            connection.rest()
            if len(self._idle) > MAX_IDLE:
                self._close_oldest()

    def held_up(self, connection: UpstreamConnection) -> None:
        """
        Take note that the client whose answer comes on *connection* takes no more of it for now.
        """
        self._unread[connection] = None
        if self._waiting:
            self._make_room()

    def flows(self, connection: UpstreamConnection) -> None:
        """
        Take note that *connection* is held up no more.
        """
        self._unread.pop(connection, None)

    def withdraw(self, connection: UpstreamConnection) -> None:
        """
        Use *connection* no more, which is being closed.
        """
        self._idle.pop(connection, None)
        self._connected.discard(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """
        Forget *connection*, which is closed.
        """
        self.withdraw(connection)
        self._open.discard(connection)
        self._places_freed()

    def remember(self, connection: UpstreamConnection) -> None:
        """
        Let what *connection*, which had an answer, agreed on with the upstream be worth something to the next one.
        """
        self._connector.remember(cast("ITransport", connection.transport))

    # -- the whole

    def retire(self) -> None:
        """
        Close idle connections, and the others when their exchange is complete; nothing new is expected.
        """
        if not self._retired:
            self._retired = True
            self._services.resolver.forget(self._config.host, self._moved)
        self._close_idle(list(self._idle))

    def stop(self) -> None:
        """
        Close everything; whoever still waits for an answer gets 503 or 502.
        """
        self.retire()
        stopping = UpstreamError(503, "the proxy is stopping")
        for exchange in [*self._waiting, *self._dialling]:
            self.forget(exchange)
            exchange.fail(stopping)
        for connection in list(self._open):
            connection.stop()

    @property
    def has_alternatives(self) -> bool:
        """
        Tell whether the upstream is known to have more than one address.
        """
        return len(self._addresses) > 1

    @property
    def is_closed(self) -> bool:
        """
        Tell whether nothing is open or being opened.
        """
        return not self._open and not self._dialling

    @property
    def status(self) -> OriginStatus:
        """
        Give what the status page says.
        """
        return OriginStatus(
            self._config.url,
            len(self._connected),
            len(self._idle),
            len(self._waiting),
            self._addresses,
            self._health.cause,
        )

    # -- finding a connection

    def _may_upload(self, exchange: UpstreamExchange) -> bool:
        """
        Tell whether *exchange*, whose content is still coming, may have a connection for as long as that takes.
        """
        self._uploads = {one for one in self._uploads if not (one.ended or one.done)}
        if len(self._uploads) >= max(1, int(self._services.limits.upstream_connections * _UPLOADS_SHARE)):
            return False
        self._uploads.add(exchange)
        return True

    def _begin_fresh(self, exchange: UpstreamExchange) -> None:
        if not (self._has_room() or self._idle):
            self._make_room()
        if self._has_room() or self._idle:
            if not self._has_room():
                self._close_oldest()
            self._dial(exchange)
        elif len(self._waiting) < self._services.limits.upstream_waiting:
            self._waiting[exchange] = None
            self.deadlines.waiting.set(exchange)
        else:
            exchange.fail(UpstreamError(503, "too many requests wait for the upstream"))

    def _has_room(self) -> bool:
        return len(self._connected) + len(self._dialling) < self._services.limits.upstream_connections

    def _make_room(self) -> None:
        """
        Take a connection from a slow reader, if those have more than their share.

        The slowest of those that have been held up for longest: who reads at a pace is held up too, for a moment.
        """
        share = max(1, int(self._services.limits.upstream_connections * _UNREAD_SHARE))
        if len(self._unread) > share:
            self._services.counters.slow_readers += 1
            slowest = max(islice(self._unread, _LOOKED_AT), key=attrgetter("seconds_left"))
            slowest.give_up(UpstreamError(503, "the client reads too slowly while others wait"))

    def _close_oldest(self) -> None:
        next(iter(self._idle)).close()

    def _close_idle(self, connections: list[UpstreamConnection]) -> None:
        for connection in connections:
            connection.close()

    def _next_waiting(self) -> UpstreamExchange:
        exchange = next(iter(self._waiting))
        del self._waiting[exchange]
        self.deadlines.waiting.clear(exchange)
        return exchange

    def _serve_waiting(self, connection: UpstreamConnection) -> None:
        """
        Let *connection*, or its place, go to whoever waits longest.
        """
        exchange = self._next_waiting()
        if exchange.repeatable:
            connection.take(exchange)
        else:
            connection.close()
            self._dial(exchange)

    def _dial(self, exchange: UpstreamExchange) -> None:
        self._dialling.add(exchange)
        exchange.dial = Deferred.fromCoroutine(self._connect_for(exchange))

    async def _connect_for(self, exchange: UpstreamExchange) -> None:
        """
        Make a connection and give it to *exchange*, or fail it; cancelling closes what is half open.
        """
        limit_seconds = self._services.limits.upstream_connect_seconds
        connecting = Deferred.fromCoroutine(self._connect(limit_seconds))
        try:
            connection = await connecting.addTimeout(limit_seconds, self._services.clock)
        except CancelledError:
            self._give_up_dialling(exchange, None)
        except TookTooLong:
            self._give_up_dialling(exchange, UpstreamError(504, "no connection in time"))
        except UpstreamError as error:
            self._give_up_dialling(exchange, error)
        except Exception:  # noqa: BLE001 - what isn't foreseen must end the exchange all the same
            _log.failure("an upstream could not be connected to")
            self._give_up_dialling(exchange, UpstreamError(502, "no connection"))
        else:
            self._dialling.discard(exchange)
            self._connected.add(connection)
            self._services.counters.upstream_connections += 1
            connection.take(exchange)

    def _give_up_dialling(self, exchange: UpstreamExchange, error: UpstreamError | None) -> None:
        self._dialling.discard(exchange)
        if error is not None:
            self._services.resolver.look_again(self._config.host)
            self._note(error.reason, unreachable=True)
            exchange.fail(error)
        self._places_freed()

    async def _connect(self, limit_seconds: float) -> UpstreamConnection:
        until = self._services.clock.seconds() + limit_seconds
        self._addresses = await self._services.resolver.addresses(self._config.host)
        return await self._dialler.connect(self, self._addresses, until - self._services.clock.seconds())

    def _places_freed(self) -> None:
        while self._waiting and self._has_room():
            self._dial(self._next_waiting())
        self._services.changed()

    def _moved(self, addresses: Addresses) -> None:
        """
        Close idle connections to addresses that are the upstream's no longer.
        """
        self._addresses = addresses
        self._close_idle([idle for idle in self._idle if idle.address not in addresses])

    def _note(self, cause: str, *, unreachable: bool) -> None:
        news = self._health.failed(self._services.clock.seconds(), cause, unreachable)
        if news is not None:
            _log.error(
                "the upstream {url} fails: {cause} ({failures} in a row)",
                url=self._config.url,
                cause=news.cause,
                failures=news.failures,
            )
