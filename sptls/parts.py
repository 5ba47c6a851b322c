"""
The parts of a running daemon: each made with the others that it needs, started, and drained.

Parts start in the order in which they need each other and end in the opposite one. What a part does is its own
business; here is only who meets whom.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sptls.acme.ca_hosts import CaHosts
from sptls.certs.renewer import Renewer
from sptls.certs.store import Store, WorkerThread
from sptls.clock import wall_time
from sptls.config import INTERNAL_DIRECTORY
from sptls.deadlines import Deadlines
from sptls.issuing import make_issuer
from sptls.names import NameTable
from sptls.ops.report import Report
from sptls.proxy.access_log import AccessLog
from sptls.proxy.counters import Counters
from sptls.proxy.gateway import Gateway
from sptls.proxy.http01 import Http01Responder
from sptls.proxy.http1 import Http1, Http1Factory
from sptls.proxy.log_line import combined, json_line
from sptls.proxy.resolver import Resolver, SystemLookUp
from sptls.proxy.route import Site
from sptls.proxy.upstream import Upstreams
from sptls.startup import STORE_FILE
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from sptls.tls.contexts import CONTEXTS_KEPT, ContextCache, client_trust
from sptls.tls.served import ServedCertificates
from sptls.tls.server import TlsServer

if TYPE_CHECKING:
    import socket
    from contextlib import AsyncExitStack
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort, IOpenSSLClientConnectionCreator

    from sptls.certs.own import OwnCertificates
    from sptls.config import Config, UpstreamConfig
    from sptls.startup import Bound

_log = Logger()

# What is trusted beside the system's roots, by the file that says so; None: nothing more.
TrustRoots = dict["Path | None", Any]

# How long running exchanges may go on after SIGTERM. Container engines kill after 10 s unless told otherwise.
DRAIN_SECONDS = 10.0
# Keys are made here: one RSA-4096 key takes a second, and a second thread lets ECDSA ones pass it.
_KEY_THREADS = 2


def trust_roots(config: Config) -> TrustRoots:
    """
    Read every file of roots that *config* names.

    Raises:
        StartError: one can't be read, or holds no certificate.
    """
    files = {None, config.acme.trust, *(domain.upstream.trust for domain in config.domains)}
    return {file: client_trust(file) for file in files}


@attrs.define(eq=False)
class Parts:
    """
    The parts of a running daemon.
    """

    deadlines: Deadlines
    store: Store
    served: ServedCertificates
    renewer: Renewer
    own: OwnCertificates
    issuer: Any
    threads: ThreadPool
    look_ups: tuple[SystemLookUp, ...]
    resolver: Resolver
    upstreams: Upstreams
    access_log: AccessLog
    gateway: Gateway
    tls: TlsServer
    report: Report
    upstream_configs: tuple[UpstreamConfig, ...]
    plain_ports: list[IListeningPort] = attrs.field(factory=list)

    @classmethod
    def make(cls, reactor: Any, config: Config, own: OwnCertificates, trust: TrustRoots) -> Parts:
        """
        Make all parts of *config*, each given the others that it needs; nothing runs yet.
        """
        deadlines, counters = Deadlines(reactor), Counters()
        store = Store(config.state_dir / STORE_FILE, WorkerThread(reactor), wall_time, config.acme.directory)
        http01, alpn01 = Http01Responder(), TlsAlpn01Responder(wall_time)
        threads = ThreadPool(0, _KEY_THREADS, "keys")
        issuer = make_issuer(reactor, config, trust[config.acme.trust], wall_time, threads, store, (http01, alpn01))
        renewer = Renewer(
            issuer,
            store,
            reactor,
            wall_time,
            random.SystemRandom().random,
            issued=lambda name, bundle: served.replace(name, bundle),  # noqa: PLW0108 - it is made below
            failed=lambda name, until, _: served.fail(name, until),
            challenge_types=0 if config.acme.directory == INTERNAL_DIRECTORY else len(config.acme.challenges),
        )
        served = ServedCertificates(
            config.domains,
            config.listen.default_name,
            ContextCache(config.tls.policy, CONTEXTS_KEPT, reactor.seconds),
            wall_time,
            renewer.want,
            lambda name, error: renewer.damaged(name, str(error)),
        )

        def upstream_tls(upstream: UpstreamConfig) -> IOpenSSLClientConnectionCreator:
            return optionsForClientTLS(upstream.host, trustRoot=trust[upstream.trust])

        # The CA's look-ups have threads of their own: a zone that hangs must not hold up the upstreams'.
        look_up, ca_look_up = SystemLookUp(reactor), SystemLookUp(reactor)
        reactor.installNameResolver(CaHosts(ca_look_up))
        resolver = Resolver(reactor, look_up)
        upstreams = Upstreams(reactor, reactor, deadlines, config.limits, resolver, upstream_tls, counters)
        access_log = AccessLog(reactor, _log_path(config), _log_line(config))
        gateway = Gateway(
            sites=NameTable((domain.name, Site(domain.name, domain.upstream)) for domain in config.domains),
            tokens=http01.tokens,
            upstreams=upstreams,
            access_log=access_log,
            limits=config.limits,
            deadlines=deadlines,
            clock=reactor,
            now=time.time,
            counters=counters,
        )
        protocol_for: Any = lambda _alpn: Http1(gateway)  # noqa: E731
        tls = TlsServer(reactor, served, alpn01, protocol_for, deadlines, config.limits, config.handshake.hold_seconds)
        report = Report(config, renewer, served, own, tls, gateway, upstreams, access_log, wall_time)
        configs = tuple({domain.upstream: None for domain in config.domains})
        return cls(
            deadlines, store, served, renewer, own, issuer, threads, (look_up, ca_look_up), resolver, upstreams,
            access_log, gateway, tls, report, configs,
        )  # fmt: skip

    async def start(self, ending: AsyncExitStack) -> None:
        """
        Start everything but the listeners; *ending* gets what undoes it, in the opposite order.

        Raises:
            SptlsError: the store or the access log can't be opened.
        """
        self.deadlines.start()
        ending.callback(self.deadlines.stop)
        await self.store.open()
        ending.push_async_callback(self.store.close)
        loaded = await self.store.load()
        self.access_log.start()
        ending.push_async_callback(self.access_log.stop)
        self.threads.start()
        ending.callback(self.threads.stop)
        for look_up in self.look_ups:
            look_up.start()
            ending.callback(look_up.stop)
        self.resolver.start()
        ending.callback(self.resolver.stop)
        self.upstreams.serve(self.upstream_configs)
        ending.push_async_callback(self.upstreams.stop)
        if hasattr(self.issuer, "close"):
            ending.push_async_callback(self.issuer.close)
        ordered = [domain.name for domain in self.report.config.domains if domain.certificate is None]
        for name in ordered:
            if name in loaded.certificates:
                self.served.replace(name, loaded.certificates[name].bundle)
        for name, bundle in self.own.bundles.items():
            self.served.replace(name, bundle)
        self.own.start(self.served.replace)
        ending.push_async_callback(self.own.stop)
        self.renewer.start(ordered, loaded)
        ending.push_async_callback(self.renewer.stop)

    def listen(self, reactor: Any, config: Config, bound: Bound, ending: AsyncExitStack) -> None:
        """
        Begin to accept on the sockets that were bound.
        """
        for listening in bound.https:
            self.tls.listen(listening)
        factory = Http1Factory(self.gateway, config.limits.connections)
        self.plain_ports = [_adopt(reactor, listening, factory) for listening in bound.http]
        if bound.admin:
            from sptls.ops.admin import admin_site

            site = admin_site(reactor, lambda: not self.gateway.finishing, self.report.status)
            for listening in bound.admin:
                port = _adopt(reactor, listening, site)
                ending.push_async_callback(_stop_listening, port)

    async def drain(self, reactor: Any) -> None:
        """
        Accept no more, let running exchanges finish for `DRAIN_SECONDS`, then close what is left.
        """
        self.tls.stop_accepting()
        for port in self.plain_ports:
            await _stop_listening(port)
        finished = Deferred.fromCoroutine(self.gateway.finish())
        # A list that is cancelled still fires, with what became of each: it raises nothing.
        done = DeferredList([finished, self.tls.when_empty()], consumeErrors=True).addTimeout(DRAIN_SECONDS, reactor)
        if not all(is_drained for is_drained, _ in await done):
            _log.warn(
                "{count} connections were cut off after {seconds} s",
                count=max(len(self.gateway.connections), self.tls.counts.open),
                seconds=DRAIN_SECONDS,
            )
        self.gateway.abort()
        self.tls.abort_all()


def _adopt(reactor: Any, listening: socket.socket, factory: Any) -> IListeningPort:
    """
    Have Twisted's own TCP server listen on a socket that is bound already.
    """
    port: IListeningPort = reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
    listening.close()  # the reactor has a duplicate
    return port


async def _stop_listening(port: IListeningPort) -> None:
    stopped = port.stopListening()
    if stopped is not None:
        await stopped


def _log_path(config: Config) -> str:
    return config.log.access or str(config.state_dir / "access.log")


def _log_line(config: Config) -> Any:
    return json_line if config.log.format == "json" else combined
