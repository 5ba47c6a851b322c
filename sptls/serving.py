"""
The parts that face clients and tracking services: one set in each process that serves.

Who meets whom among them. In a daemon of one process `parts` joins them with those that keep certificates; in a worker
process (`workers.child`) they are alone, and all that they know of certificates comes from its parent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sptls.addresses import Networks
from sptls.admission import Admission
from sptls.deadlines import Deadlines
from sptls.names import NameTable
from sptls.ops.status import http_json
from sptls.ops.traffic import Traffic
from sptls.plain_port import PlainPort
from sptls.proxy.access_log import AccessLog
from sptls.proxy.counters import Counters
from sptls.proxy.gateway import Gateway
from sptls.proxy.http1 import Http1
from sptls.proxy.http1_factory import Http1Factory
from sptls.proxy.http2 import Http2
from sptls.proxy.log_line import combined, json_line
from sptls.proxy.passthrough import Passages
from sptls.proxy.resolver import Resolver, SystemLookUp
from sptls.proxy.route import Site
from sptls.proxy.upstream import Upstreams
from sptls.proxy.upstream_tcp import TcpConnector
from sptls.tls.client import TlsClient
from sptls.tls.contexts import HTTP_2
from sptls.tls.server import ACME_TLS, TlsServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager, AsyncExitStack
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort

    from sptls.certs.renewer import Renewer
    from sptls.config import Config, DomainConfig, UpstreamConfig
    from sptls.interfaces import IAlpnChallenges, IUpstreamConnector
    from sptls.shared_counts import SharedCounts
    from sptls.startup import Bound
    from sptls.tls.served import ServedCertificates

_log = Logger()

# How long running exchanges may go on after SIGTERM. Container engines kill after 10 s unless told otherwise.
DRAIN_SECONDS: Final = 10.0


@attrs.define(eq=False)
class Serving:
    """
    The parts of a process that serves clients.
    """

    reactor: Any
    deadlines: Deadlines
    look_up: SystemLookUp
    resolver: Resolver
    tls_client: TlsClient
    upstreams: Upstreams
    passages: Passages
    access_log: AccessLog
    gateway: Gateway
    tls: TlsServer
    plain_port: PlainPort
    config: Config
    challenges: IAlpnChallenges
    bound: Bound | None = None

    @classmethod
    def make(
        cls,
        reactor: Any,
        config: Config,
        trust: Mapping[Path | None, Any],
        served: ServedCertificates,
        challenges: IAlpnChallenges,
        tokens: Mapping[str, str],
        log_turn: AbstractContextManager[object] | None = None,
        counts: SharedCounts | None = None,
    ) -> Serving:
        """
        Make the parts of *config*, which serve what *served* has and answer *challenges* and *tokens*.

        Nothing runs yet. *trust* has the roots by the file that names them, and may grow later. Other processes with
        the same access log write in *log_turn* with this one, and count addresses in *counts* with it.
        """
        deadlines, counters, limits = Deadlines(reactor), Counters(), config.limits
        tls_client = TlsClient(reactor, deadlines, limits.upstream_connect_seconds)

        def connector_for(upstream: UpstreamConfig) -> IUpstreamConnector:
            if upstream.scheme == "http":
                return TcpConnector(reactor, upstream.port)
            return tls_client.connector(upstream.host, upstream.port, trust[upstream.trust])

        look_up = SystemLookUp(reactor)
        resolver = Resolver(reactor, look_up)
        upstreams = Upstreams(reactor, deadlines, limits, resolver, connector_for, counters)
        access_log = AccessLog(reactor, _log_path(config), _log_line(config), log_turn)
        gateway = Gateway(
            sites=_sites(config),
            tokens=tokens,
            upstreams=upstreams,
            access_log=access_log,
            limits=limits,
            deadlines=deadlines,
            clock=reactor,
            now=time.time,
            counters=counters,
            has_certificate=served.has_valid,
        )

        def protocol_for(alpn: bytes) -> Any:
            if alpn == ACME_TLS:  # the CA has seen the certificate; nothing else is said (RFC 8737 §3)
                return None
            return Http2(gateway) if alpn == HTTP_2 else Http1(gateway)

        passages = Passages(reactor, resolver, deadlines, limits)
        hold_seconds = config.handshake.hold_seconds
        tls = TlsServer(reactor, served, challenges, protocol_for, deadlines, limits, hold_seconds, passages, counts)
        plain = Http1Factory(gateway, limits.connections, Admission.for_plain(limits, reactor.seconds, counts))
        return cls(
            reactor, deadlines, look_up, resolver, tls_client, upstreams, passages, access_log, gateway, tls,
            PlainPort(reactor, plain), config, challenges,
        )  # fmt: skip

    def serve(self, served: ServedCertificates, _renewer: Renewer) -> None:
        """
        Serve what *served* has from now on, in the place of what was served.
        """
        self.gateway.has_certificate = served.has_valid
        self.tls.serve_from(served, self.challenges)

    def want_again(self) -> None:
        """
        Tell the renewer once more for which names clients wait.
        """
        self.tls.want_again()

    @property
    def is_serving(self) -> bool:
        """
        Tell whether new clients are welcome.
        """
        return not self.gateway.finishing

    @property
    def rows(self) -> list[dict[str, Any]]:
        """
        Give what the status says of each worker: there is none.
        """
        return []

    def start(self, ending: AsyncExitStack) -> None:
        """
        Start everything but the listeners; *ending* gets what undoes it, in the opposite order.

        Raises:
            StartError: the access log can't be opened.
        """
        self.deadlines.start()
        ending.callback(self.deadlines.stop)
        self.access_log.start()
        ending.push_async_callback(self.access_log.stop)
        self.look_up.start()
        ending.callback(self.look_up.stop)
        self.resolver.start()
        ending.callback(self.resolver.stop)
        ending.callback(self.tls_client.stop)
        self.upstreams.serve(upstreams_of(self.config))
        ending.push_async_callback(self.upstreams.stop)
        self._face_outside(self.config)

    async def listen(self, bound: Bound) -> None:
        """
        Begin to accept on the sockets that were bound.
        """
        self.bound = bound
        for listening in bound.https:
            self.tls.listen(listening)
        self.gateway.https_port = bound.https_port
        for listening in bound.http:
            self.plain_port.listen(listening)

    def go_over(self, config: Config, other_roots: Collection[Path | None] = ()) -> None:
        """
        Go on with *config*, without waiting or failing.

        Upstreams whose file of roots is in *other_roots* get new connections.
        """
        self.config = config
        self.tls.set_hold_seconds(config.handshake.hold_seconds)
        self.upstreams.serve(upstreams_of(config), other_roots)
        self.gateway.sites = _sites(config)
        self._face_outside(config)

    async def settled(self) -> None:
        """
        Return when all have gone over: at once.
        """

    def reopen_logs(self) -> None:
        """
        Go on in a new access log.
        """
        self.access_log.reopen()

    def traffic(self) -> Traffic:
        """
        Give what was counted.
        """
        return Traffic(
            len(self.gateway.connections),
            attrs.asdict(self.tls.counts),
            http_json(self.gateway.counters),
            tuple(attrs.asdict(origin) for origin in self.upstreams.status()),
            self.access_log.dropped_lines,
        )

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """
        Accept no more, let running exchanges finish for *seconds*, then close what is left.

        Who waits at a socket that is shared then is left to the other process that listens there.
        """
        shared = () if self.bound is None else self.bound.shared
        self.tls.stop_accepting(shared)
        self.plain_port.stop(shared)
        finished = Deferred.fromCoroutine(self.gateway.finish())
        # A list that is cancelled still fires, with what became of each: it raises nothing.
        done = DeferredList([finished, self.tls.when_empty()], consumeErrors=True).addTimeout(seconds, self.reactor)
        if not all(is_drained for is_drained, _ in await done):
            _log.warn(
                "{count} connections were cut off after {seconds} s",
                count=max(len(self.gateway.connections), self.tls.counts.open),
                seconds=seconds,
            )
        self.gateway.abort()
        self.tls.abort_all()

    def _face_outside(self, config: Config) -> None:
        """
        Go by what *config* says of the proxies before us, and of the servers that names are passed through to.
        """
        self.tls.proxy_protocol = self.gateway.proxy_protocol = Networks.some(config.listen.proxy_protocol)
        self.gateway.trusted_proxies = Networks.some(config.listen.trusted_proxies)
        domains = () if config.renew_only else config.domains
        self.passages.serve(domain.passthrough for domain in domains if domain.passthrough is not None)


def _sites(config: Config) -> NameTable[Site]:
    """
    Give what is proxied: nothing by a renewal daemon, nor what is passed through.
    """
    return NameTable(
        (
            domain.name,
            Site(
                domain.name,
                domain.upstream,
                domain.redirect_http,
                None if domain.hsts is None else domain.hsts.value,
            ),
        )
        for domain in _proxied(config)
    )


def upstreams_of(config: Config) -> list[UpstreamConfig]:
    """
    Give the tracking services, each once; a renewal daemon has none.
    """
    return list(dict.fromkeys(domain.upstream for domain in _proxied(config)))


def _proxied(config: Config) -> list[DomainConfig]:
    return [] if config.renew_only else [domain for domain in config.domains if domain.passthrough is None]


def adopt(reactor: Any, listening: socket.socket, factory: Any) -> IListeningPort:
    """
    Have Twisted's own TCP server listen on a duplicate of a socket that is bound already.
    """
    port: IListeningPort = reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
    return port


async def stop_listening(port: IListeningPort) -> None:
    """
    Close *port*.
    """
    stopped = port.stopListening()
    if stopped is not None:
        await stopped


def _log_path(config: Config) -> str:
    return config.log.access or str(config.state_dir / "access.log")


def _log_line(config: Config) -> Any:
    return json_line if config.log.format == "json" else combined
