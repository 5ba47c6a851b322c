"""
The parts of a running daemon: each made with the others that it needs, started, and drained.

Parts start in the order in which they need each other and end in the opposite one. What a part does is its own
business; here is only who meets whom.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from sptls.acme.ca_hosts import CaHosts
from sptls.clock import wall_time
from sptls.deadlines import Deadlines
from sptls.keeping import Keeping
from sptls.names import NameTable
from sptls.ops.report import Report
from sptls.proxy.access_log import AccessLog
from sptls.proxy.counters import Counters
from sptls.proxy.gateway import Gateway
from sptls.proxy.http1 import Http1, Http1Factory
from sptls.proxy.http2 import Http2
from sptls.proxy.log_line import combined, json_line
from sptls.proxy.resolver import Resolver, SystemLookUp
from sptls.proxy.route import Site
from sptls.proxy.upstream import Upstreams
from sptls.proxy.upstream_tcp import TcpConnector
from sptls.tls.client import TlsClient
from sptls.tls.contexts import HTTP_2
from sptls.tls.server import ACME_TLS, TlsServer

if TYPE_CHECKING:
    import socket
    from contextlib import AsyncExitStack

    from twisted.internet.interfaces import IListeningPort

    from sptls.certs.own import OwnCertificates
    from sptls.config import Config, UpstreamConfig
    from sptls.interfaces import IUpstreamConnector
    from sptls.keeping import TrustRoots
    from sptls.names import HostName
    from sptls.startup import Bound

_log = Logger()

# How long running exchanges may go on after SIGTERM. Container engines kill after 10 s unless told otherwise.
DRAIN_SECONDS = 10.0


@attrs.define(eq=False)
class Parts:
    """
    The parts of a running daemon.
    """

    deadlines: Deadlines
    keeping: Keeping
    own: OwnCertificates
    look_ups: tuple[SystemLookUp, ...]
    resolver: Resolver
    tls_client: TlsClient
    upstreams: Upstreams
    access_log: AccessLog
    gateway: Gateway
    tls: TlsServer
    report: Report
    config: Config
    trust: TrustRoots
    plain_ports: list[IListeningPort] = attrs.field(factory=list)

    @classmethod
    def make(cls, reactor: Any, config: Config, own: OwnCertificates, trust: TrustRoots) -> Parts:
        """
        Make all parts of *config*, each given the others that it needs; nothing runs yet.
        """
        deadlines, counters = Deadlines(reactor), Counters()
        keeping = Keeping.make(reactor, config, trust)
        served, renewer = keeping.served, keeping.renewer
        tls_client = TlsClient(reactor, deadlines, config.limits.upstream_connect_seconds)

        def connector_for(upstream: UpstreamConfig) -> IUpstreamConnector:
            if upstream.scheme == "http":
                return TcpConnector(reactor, upstream.port)
            return tls_client.connector(upstream.host, upstream.port, trust[upstream.trust])

        # The CA's look-ups have threads of their own: a zone that hangs must not hold up the upstreams'.
        look_up, ca_look_up = SystemLookUp(reactor), SystemLookUp(reactor)
        reactor.installNameResolver(CaHosts(ca_look_up))
        resolver = Resolver(reactor, look_up)
        upstreams = Upstreams(reactor, deadlines, config.limits, resolver, connector_for, counters)
        access_log = AccessLog(reactor, _log_path(config), _log_line(config))
        gateway = Gateway(
            sites=_sites(config),
            tokens=keeping.http01.tokens,
            upstreams=upstreams,
            access_log=access_log,
            limits=config.limits,
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

        tls = TlsServer(
            reactor, served, keeping.alpn01, protocol_for, deadlines, config.limits, config.handshake.hold_seconds
        )
        report = Report(
            config, renewer, served, own, tls, gateway, upstreams, access_log, wall_time, keeping.deployer.state
        )
        return cls(
            deadlines, keeping, own, (look_up, ca_look_up), resolver, tls_client, upstreams, access_log, gateway, tls,
            report, config, trust,
        )  # fmt: skip

    async def start(self, ending: AsyncExitStack, only: frozenset[HostName] | None = None) -> None:
        """
        Start everything but the listeners; *ending* gets what undoes it, in the opposite order.

        With *only*, no certificate is obtained or renewed for any other name.

        Raises:
            SptlsError: the store or the access log can't be opened.
        """
        self.deadlines.start()
        ending.callback(self.deadlines.stop)
        self.access_log.start()
        ending.push_async_callback(self.access_log.stop)
        for look_up in self.look_ups:
            look_up.start()
            ending.callback(look_up.stop)
        self.resolver.start()
        ending.callback(self.resolver.stop)
        ending.callback(self.tls_client.stop)
        self.upstreams.serve(upstreams_of(self.config))
        ending.push_async_callback(self.upstreams.stop)
        for name, bundle in self.own.bundles.items():
            self.keeping.served.replace(name, bundle)
        self.own.start(self.keeping.served.replace)
        ending.push_async_callback(self._stop_own)
        await self.keeping.start(self.config, ending, only)

    async def change(self, config: Config, own: OwnCertificates, trust: TrustRoots) -> None:
        """
        Go on with *config*, whose *own* certificates and *trust* roots have been read; no socket is touched.

        Raises:
            SptlsError: what is needed of the store or the internal CA can't be read; nothing is changed.
        """
        before = dict(self.trust)
        other_roots = {file for file, roots in trust.items() if before.get(file, roots) != roots}
        self.trust.update(trust)
        try:
            go_over = await self.keeping.changed(self.config, config, other_roots)
        except BaseException:
            self.trust.update(before)
            raise
        # From here on nothing waits and nothing fails: everyone goes over to the new names together.
        self.config = self.report.config = config
        go_over()
        self.tls.set_hold_seconds(config.handshake.hold_seconds)
        self.upstreams.serve(upstreams_of(config), other_roots)
        for file in other_roots:
            _log.info("the roots in {file} have changed; new connections go by them", file=file)
        self.gateway.sites = _sites(config)
        served = self.keeping.served
        for name, bundle in own.bundles.items():
            if bundle != served.bundle_for(name):
                served.replace(name, bundle)
        self.own, former = own, self.own
        self.report.own = own
        own.start(served.replace)
        await former.stop()

    async def _stop_own(self) -> None:
        await self.own.stop()

    def listen(self, reactor: Any, config: Config, bound: Bound, ending: AsyncExitStack) -> None:
        """
        Begin to accept on the sockets that were bound.
        """
        for listening in bound.https:
            self.tls.listen(listening)
        self.gateway.https_port = bound.https_port
        factory = Http1Factory(self.gateway, config.limits.connections)
        self.plain_ports = [_adopt(reactor, listening, factory) for listening in bound.http]
        if bound.admin:
            from sptls.ops.admin import admin_site

            site = admin_site(reactor, lambda: not self.gateway.finishing, self.report.status)
            for listening in bound.admin:
                port = _adopt(reactor, listening, site)
                ending.push_async_callback(_stop_listening, port)
        # Only now: their libraries take a while to import, and clients are waiting.
        from sptls.ops.control import DaemonControls, control_site
        from sptls.ops.control_socket import ControlSocket

        controls = DaemonControls(self.report, self.keeping.renewer)
        control_socket = ControlSocket(reactor, config.state_dir, control_site(reactor, controls))
        control_socket.start()
        ending.push_async_callback(control_socket.stop)

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


def _sites(config: Config) -> NameTable[Site]:
    """
    Give what is proxied: nothing by a renewal daemon.
    """
    domains = () if config.renew_only else config.domains
    return NameTable((domain.name, Site(domain.name, domain.upstream, domain.redirect_http)) for domain in domains)


def upstreams_of(config: Config) -> list[UpstreamConfig]:
    """
    Give the tracking services, each once; a renewal daemon has none.
    """
    return [] if config.renew_only else list(dict.fromkeys(domain.upstream for domain in config.domains))


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
