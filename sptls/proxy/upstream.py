"""
The tracking services: all upstreams and their connections.

The door of this part: `http1` and `http2` hand requests in here and hear of the answer through `IDownstream`.
`upstream_origin` has one upstream's connections, `upstream_http1` what happens on one, `resolver` the addresses. How
a connection is made is not decided here: `IUpstreamConnector`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from sptls.errors import UpstreamError
from sptls.proxy.upstream_exchange import UpstreamExchange
from sptls.proxy.upstream_origin import Origin, OriginServices, OriginStatus, UpstreamDeadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from pathlib import Path

    from twisted.internet.interfaces import IReactorTime

    from sptls.config import LimitsConfig, UpstreamConfig
    from sptls.deadlines import Deadlines
    from sptls.interfaces import IDownstream, IUpstreamConnector
    from sptls.proxy.counters import Counters
    from sptls.proxy.head import RequestHead
    from sptls.proxy.resolver import Resolver
    from sptls.proxy.route import Site

_Key = tuple[str, str, int, "Path | None"]


class Upstreams:
    """
    All upstreams; *connector_for* gives what connects to one.
    """

    def __init__(
        self,
        clock: IReactorTime,
        deadlines: Deadlines,
        limits: LimitsConfig,
        resolver: Resolver,
        connector_for: Callable[[UpstreamConfig], IUpstreamConnector],
        counters: Counters,
    ) -> None:
        queues = UpstreamDeadlines.of(deadlines, limits)
        self._services = OriginServices(clock, resolver, queues, limits, counters, self._changed)
        self._connector_for = connector_for
        self._origins: dict[_Key, Origin] = {}
        self._retired: set[Origin] = set()
        self._stopped: Deferred[None] | None = None
        self._stopping = False

    def exchange(
        self, site: Site, head_bytes: bytes, request: RequestHead, downstream: IDownstream
    ) -> UpstreamExchange:
        """
        Send a request to *site*'s upstream, once enough of its content is there.

        *downstream* may be told that it failed before this returns.
        """
        config = site.upstream
        origin = self._origins.get((config.scheme, config.host, config.port, config.trust)) or self._add(config)
        exchange = UpstreamExchange(origin, head_bytes, request, downstream)
        if self._stopping:
            exchange.fail(UpstreamError(503, "the proxy is stopping"))
        elif exchange.ended:
            exchange.begin()
        return exchange

    def serve(self, configs: Iterable[UpstreamConfig], other_roots: Container[Path | None] = ()) -> None:
        """
        Be ready for *configs* (their addresses are looked up ahead), and let go of all others; at start and at reload.

        An upstream whose file of roots is in *other_roots* gets new connections: those that it has went by the old.
        """
        wanted = {_key(config): config for config in configs}
        kept = {key for key in wanted if key[-1] not in other_roots}
        for key in self._origins.keys() - kept:
            origin = self._origins.pop(key)
            self._retired.add(origin)
            origin.retire()
        for key in wanted.keys() - self._origins.keys():
            self._add(wanted[key])
        self._changed()

    def status(self) -> tuple[OriginStatus, ...]:
        """
        Give each upstream's state.
        """
        return tuple(origin.status for origin in self._origins.values())

    async def stop(self) -> None:
        """
        Close everything, and return when it is closed; the deadlines must run until then, and bound it.
        """
        self._stopping = True
        for origin in [*self._origins.values(), *self._retired]:
            origin.stop()
        if not self._is_closed():
            self._stopped = Deferred()
            await self._stopped

    def _add(self, config: UpstreamConfig) -> Origin:
        origin = self._origins[_key(config)] = Origin(config, self._services, self._connector_for(config))
        return origin

    def _changed(self) -> None:
        """
        See whether something that was waited for is closed now.
        """
        if self._retired:
            self._retired = {origin for origin in self._retired if not origin.is_closed}
        if self._stopped is not None and self._is_closed():
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)

    def _is_closed(self) -> bool:
        return all(origin.is_closed for origin in [*self._origins.values(), *self._retired])


def _key(config: UpstreamConfig) -> _Key:
    return config.scheme, config.host, config.port, config.trust
