"""
The parts of a running daemon: each made with the others that it needs, started, and drained.

Parts start in the order in which they need each other and end in the opposite one. What a part does is its own
business; here is only who meets whom. Those that face clients are in this process (`serving`), or in worker processes
of their own (`workers.crew`): the parts that keep certificates know no difference.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.logger import Logger

from sptls.acme.ca_hosts import CaHosts
from sptls.certs.records import Loaded
from sptls.clock import wall_time
from sptls.keeping import Keeping, ordered_names
from sptls.ops.report import Report, Reported
from sptls.proxy.http01 import Http01Responder
from sptls.proxy.resolver import SystemLookUp
from sptls.serving import Serving, adopt, stop_listening
from sptls.tls.alpn_challenge import TlsAlpn01Responder

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from twisted.internet.interfaces import IListeningPort

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.own import OwnCertificates
    from sptls.certs.renewer import Renewer
    from sptls.config import Config
    from sptls.keeping import TrustRoots
    from sptls.names import HostName
    from sptls.ops.control import HandOver
    from sptls.ops.control_socket import ControlSocket
    from sptls.startup import Bound
    from sptls.tls.served import ServedCertificates

_log = Logger()


class Front(Reported, Protocol):
    """
    What faces the clients: `serving.Serving` in this process, or `workers.crew.Crew`.
    """

    def serve(self, served: ServedCertificates, renewer: Renewer) -> None:
        """
        Serve what *served* has from now on, in the place of what was served, and tell *renewer* who waits.
        """

    def want_again(self) -> None:
        """
        Tell the renewer once more for which names clients wait: it had not begun when they came.
        """

    def start(self, ending: AsyncExitStack) -> None:
        """
        Start what serving needs; *ending* gets what undoes it, in the opposite order.

        Raises:
            StartError: it can't.
        """

    async def listen(self, bound: Bound) -> None:
        """
        Begin to serve on the sockets that were bound; all that is in what is served by now is there when this returns.

        Raises:
            StartError: it can't.
        """

    def go_over(self, config: Config, other_roots: Collection[Path | None] = ()) -> None:
        """
        Go on with *config*, without waiting or failing.

        Upstreams whose file of roots is in *other_roots* get new connections.
        """

    async def settled(self) -> None:
        """
        Return when all clients are served by what was last gone over to.
        """

    def reopen_logs(self) -> None:
        """
        Go on in a new access log.
        """

    async def drain(self) -> None:
        """
        Accept no more, let running exchanges finish for `serving.DRAIN_SECONDS`, then close what is left.

        Who waits at a socket of `Bound.shared` is left to the other process that listens there.
        """


@attrs.define(eq=False)
class Parts:
    """
    The parts of a running daemon.
    """

    reactor: Any
    keeping: Keeping
    own: OwnCertificates
    ca_look_up: SystemLookUp
    front: Front
    report: Report
    config: Config
    trust: TrustRoots
    responders: tuple[Any, Any]
    is_paused: bool = False
    control_socket: ControlSocket | None = None
    _hand_over: HandOver | None = None
    _loaded: Loaded = attrs.field(factory=Loaded)
    _admin_ports: list[IListeningPort] = attrs.field(factory=list)
    _keeping_ending: AsyncExitStack = attrs.field(factory=AsyncExitStack)

    @classmethod
    def make(cls, reactor: Any, config: Config, own: OwnCertificates, trust: TrustRoots, workers: int = 1) -> Parts:
        """
        Make all parts of *config*, each given the others that it needs; nothing runs yet.

        More than one of *workers* are processes of their own.
        """
        # The CA's look-ups have threads of their own: a zone that hangs must not hold up the upstreams'.
        ca_look_up = SystemLookUp(reactor)
        reactor.installNameResolver(CaHosts(ca_look_up))
        front: Front
        if workers > 1:
            # Only where it is needed: it takes a while to import, and clients are waiting.
            from sptls.workers.crew import Crew

            crew = Crew(reactor, config, trust, workers)
            responders = crew.responders
            keeping = Keeping.make(reactor, config, trust, responders)
            crew.serve(keeping.served, keeping.renewer)
            front = crew
        else:
            http01, alpn01 = Http01Responder(), TlsAlpn01Responder(wall_time)
            responders = (http01, alpn01)
            keeping = Keeping.make(reactor, config, trust, responders)
            front = Serving.make(reactor, config, trust, keeping.served, alpn01, http01.tokens)
        report = Report(config, keeping.renewer, keeping.served, own, front, wall_time, keeping.deployer.state)
        return cls(reactor, keeping, own, ca_look_up, front, report, config, trust, responders)

    async def start(self, ending: AsyncExitStack) -> None:
        """
        Serve what is stored, and start everything but the listeners, and `keep`; *ending* gets what undoes it, in the
        opposite order.

        Raises:
            SptlsError: the store or the access log can't be opened.
        """
        self.ca_look_up.start()
        ending.callback(self.ca_look_up.stop)
        self.front.start(ending)
        for name, bundle in self.own.bundles.items():
            self.keeping.served.replace(name, bundle)
        self.own.start(self._replace)
        ending.push_async_callback(self._stop_own)
        ending.push_async_callback(self._keeping_ending.aclose)
        self._loaded = await self.keeping.open(self.config, self._keeping_ending)

    def keep(self, only: frozenset[HostName] | None = None) -> None:
        """
        Begin to obtain and renew certificates; with *only*, for no other name. Once, after `start`.
        """
        loaded, self._loaded = self._loaded, Loaded()
        self.keeping.keep(self.config, self._keeping_ending, only, loaded)
        self.front.want_again()

    async def pause(self) -> None:
        """
        End what keeps certificates. What is served goes on being served, and who waits for a certificate waits.
        """
        self.is_paused = True
        await self._keeping_ending.aclose()

    async def go_on(self) -> None:
        """
        Begin anew what `pause` ended, with what is stored now.

        Raises:
            SptlsError: the store or the internal CA can't be read; it is paused still.
        """
        keeping = Keeping.make(self.reactor, self.config, self.trust, self.responders)
        try:
            await keeping.start(self.config, self._keeping_ending, None)
        except BaseException:
            await self._keeping_ending.aclose()
            raise
        for name, bundle in self.own.bundles.items():
            keeping.served.replace(name, bundle)
        before, self.keeping, self.is_paused = self.keeping.served, keeping, False
        self.report.go_over(keeping.renewer, keeping.served, keeping.deployer.state)
        self.front.serve(keeping.served, keeping.renewer)
        for name in ordered_names(self.config):
            stored = keeping.served.bundle_for(name)
            if stored is not None and stored != before.bundle_for(name):
                keeping.served.replace(name, stored)  # once more, for who watches now
        if self.control_socket is not None:
            self.control_socket.answer_by(self._control_site())

    def _replace(self, name: HostName, bundle: CertificateBundle) -> None:
        self.keeping.served.replace(name, bundle)

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
        self.front.go_over(config, other_roots)
        for file in other_roots:
            _log.info("the roots in {file} have changed; new connections go by them", file=file)
        served = self.keeping.served
        for name, bundle in own.bundles.items():
            if bundle != served.bundle_for(name):
                served.replace(name, bundle)
        self.own, former = own, self.own
        self.report.own = own
        own.start(self._replace)
        await former.stop()
        await self.front.settled()

    async def _stop_own(self) -> None:
        await self.own.stop()

    async def listen(self, bound: Bound, ending: AsyncExitStack) -> None:
        """
        Begin to serve on the sockets that were bound.

        Raises:
            StartError: nobody can.
        """
        await self.front.listen(bound)
        if bound.admin:
            from sptls.ops.admin import admin_site

            site = admin_site(self.reactor, lambda: self.front.is_serving, self.report.status)
            for listening in bound.admin:
                port = adopt(self.reactor, listening, site)
                self._admin_ports.append(port)
                ending.callback(listening.close)
                ending.push_async_callback(stop_listening, port)

    def leave_admin(self) -> None:
        """
        Answer no one any more who asks how this process is: one that took over from it is asked.
        """
        for port in self._admin_ports:
            port.stopListening()

    def take_commands(self, ending: AsyncExitStack, hand_over: HandOver | None = None) -> None:
        """
        Begin to answer commands, and to give a process that takes over what *hand_over* gives.

        Only after `listen`: the libraries take a while to import, and clients are waiting.
        """
        from sptls.ops.control_socket import ControlSocket

        self._hand_over = hand_over
        self.control_socket = ControlSocket(self.reactor, self.config.state_dir, self._control_site())
        self.control_socket.start()
        ending.push_async_callback(self.control_socket.stop)

    def _control_site(self) -> Any:
        from sptls.ops.control import DaemonControls, control_site

        controls = DaemonControls(self.report, self.keeping.renewer, self.keeping.self_check.examine)
        return control_site(self.reactor, controls, self._hand_over, lambda: self.is_paused)

    async def drain(self) -> None:
        """
        Accept no more, let running exchanges finish, then close what is left.
        """
        await self.front.drain()
