"""
The parts of a running daemon that keep certificates: store, CAs, renewer, what is served, what is deployed.

Who meets whom among them; `parts` joins them with the parts that face clients and tracking services.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python.threadpool import ThreadPool

from sptls.certs.records import Loaded
from sptls.certs.renewer import Renewer
from sptls.certs.schema import STORE_FILE
from sptls.certs.store import Store, WorkerThread
from sptls.clock import wall_time
from sptls.deploy.deployer import Deployer
from sptls.deploy.webroot import WebrootResponder
from sptls.issuing import LateAcmeIssuer, make_authority, make_issuer
from sptls.proxy.http01 import Http01Responder
from sptls.threads import daemon_thread
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from sptls.tls.contexts import CONTEXTS_KEPT, ContextCache, client_trust
from sptls.tls.served import ServedCertificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack
    from pathlib import Path

    from sptls.certs.authority import Authority
    from sptls.certs.bundle import CertificateBundle
    from sptls.config import AcmeConfig, Config
    from sptls.names import HostName

# What is trusted beside the system's roots, by the file that says so; None: nothing more.
TrustRoots = dict["Path | None", Any]

# Keys are made here: one RSA-4096 key takes a second, and a second thread lets ECDSA ones pass it.
_KEY_THREADS = 2


def trust_roots(config: Config) -> TrustRoots:
    """
    Read every file of roots that *config* names.

    Raises:
        StartError: one can't be read, or holds no certificate.
    """
    files = {None, *(acme.trust for acme in config.cas), *(domain.upstream.trust for domain in config.domains)}
    return {file: client_trust(file) for file in files}


def ordered_names(config: Config) -> list[HostName]:
    """
    Give the names whose certificates are obtained here: all that do not bring their own.
    """
    return [domain.name for domain in config.domains if domain.certificate is None]


@attrs.define(eq=False)
class Keeping:
    """
    The parts that keep certificates. *former* are CAs whose last orders may still run.
    """

    store: Store
    threads: ThreadPool
    http01: Http01Responder
    alpn01: TlsAlpn01Responder
    deployer: Deployer
    authorities_for: Callable[[Config], list[Authority]]
    authorities: list[Authority]
    renewer: Renewer
    contexts: ContextCache
    served: ServedCertificates
    former: list[Authority] = attrs.field(factory=list)

    @classmethod
    def make(cls, reactor: Any, config: Config, trust: TrustRoots) -> Keeping:
        """
        Make the parts of *config*; nothing runs yet. *trust* may grow later.

        Raises:
            StartError: the internal CA's root can't be read or made.
        """
        store = Store(config.state_dir / STORE_FILE, WorkerThread(reactor), wall_time, config.acme.directory)
        threads, draw = ThreadPool(0, _KEY_THREADS, "keys"), random.SystemRandom().random
        http01, alpn01 = Http01Responder(), TlsAlpn01Responder(wall_time)
        on_disk = daemon_thread(reactor, "deploy")
        deployer = Deployer(config.deploy, store, reactor=reactor, wall_clock=wall_time, in_thread=on_disk)

        def authorities_for(config: Config) -> list[Authority]:
            webroot, state = config.deploy.webroot, config.state_dir
            responders = (http01 if webroot is None else WebrootResponder(webroot, on_disk), alpn01)

            def authority(acme: AcmeConfig) -> Authority:
                roots = trust[acme.trust]
                issuer = make_issuer(reactor, acme, state, roots, wall_time, threads, store, responders)
                return make_authority(acme, issuer, draw)

            return [authority(acme) for acme in config.cas]

        def issued(name: HostName, bundle: CertificateBundle) -> None:
            served.replace(name, bundle)
            deployer.changed(name, bundle)

        def failed(name: HostName, until: Any, _: str) -> None:
            served.fail(name, until)

        authorities = authorities_for(config)
        renewer = Renewer(authorities, store, reactor, wall_time, draw, issued=issued, failed=failed)
        contexts = ContextCache(config.tls.policy, CONTEXTS_KEPT, reactor.seconds)
        served = ServedCertificates(
            config.domains,
            config.listen.default_name,
            contexts,
            wall_time,
            renewer.want,
            lambda name, error: renewer.damaged(name, str(error)),
        )
        return cls(
            store, threads, http01, alpn01, deployer, authorities_for, authorities, renewer, contexts, served
        )  # fmt: skip

    async def start(self, config: Config, ending: AsyncExitStack, only: frozenset[HostName] | None) -> None:
        """
        Serve what is stored, and begin to keep it fresh; *ending* gets what undoes it, in the opposite order.

        Raises:
            StoreError: the store can't be opened or read.
        """
        await self.store.open()
        ending.push_async_callback(self.store.close)
        loaded = await self.store.load()
        self.threads.start()
        ending.callback(self.threads.stop)
        ending.push_async_callback(self._close_issuers)
        names = ordered_names(config)
        stored = {name: loaded.certificates[name].bundle for name in names if name in loaded.certificates}
        for name, bundle in stored.items():
            self.served.replace(name, bundle)
        self.deployer.start(stored, loaded.deployments)
        ending.push_async_callback(self.deployer.stop)
        self.renewer.start(names if only is None else only.intersection(names), loaded)
        ending.push_async_callback(self.renewer.stop)

    async def changed(self, old: Config, new: Config) -> Callable[[], None]:
        """
        Read what it takes to go on with *new*, and give what goes over to it, which neither waits nor fails.

        Raises:
            SptlsError: the store or the internal CA's root can't be read.
        """
        names = ordered_names(new)
        is_any_new = not all(self.renewer.takes_care_of(name) for name in names)
        loaded = await self.store.load() if is_any_new else Loaded()
        is_other_ca = (old.cas, old.deploy.webroot) != (new.cas, new.deploy.webroot)
        authorities = self.authorities_for(new) if is_other_ca else None

        def go_over() -> None:
            self.contexts.set_policy(new.tls.policy)
            self.served.set_domains(new.domains, new.listen.default_name)
            self.deployer.set_names(names)
            self.deployer.configure(new.deploy)
            # Names that go are dropped first, so that a new CA is not asked for them.
            self.renewer.set_names([name for name in names if self.renewer.takes_care_of(name)], Loaded())
            if authorities is not None:
                self.former += self.authorities
                self.authorities = authorities
                self.renewer.set_authorities(authorities)
            self.renewer.set_names(names, loaded)

        return go_over

    async def _close_issuers(self) -> None:
        for authority in (*self.former, *self.authorities):
            if isinstance(authority.issuer, LateAcmeIssuer):
                await authority.issuer.close()
