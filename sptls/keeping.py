"""
The parts of a running daemon that keep certificates: store, CAs, renewer, what is served, what is deployed.

Who meets whom among them; `parts` joins them with the parts that face clients and tracking services.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import attrs
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sptls.alerts.channels import make_channels
from sptls.alerts.watch import CertificateWatch
from sptls.certs.copies import DailyCopies, exported
from sptls.certs.pruning import Pruning
from sptls.certs.records import Loaded
from sptls.certs.renewal_information import RenewalQuestions
from sptls.certs.renewer import Renewer
from sptls.certs.rescue import rescued
from sptls.certs.schema import STORE_FILE
from sptls.certs.store import Store, WorkerThread
from sptls.certs.warning_rules import subject_of
from sptls.clock import wall_time
from sptls.deploy import plan
from sptls.deploy.deployer import Deployer
from sptls.deploy.webroot import WebrootResponder
from sptls.issuing import LateAcmeIssuer, make_authority, make_issuer
from sptls.self_check import SelfCheck
from sptls.threads import daemon_thread
from sptls.tls.contexts import CONTEXTS_KEPT, ContextCache, client_trust
from sptls.tls.served import ServedCertificates

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from contextlib import AsyncExitStack
    from pathlib import Path

    from sptls.alerts.channels import Channel
    from sptls.certs.authority import Authority
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.warning_rules import Subject
    from sptls.config import AcmeConfig, Config, NotifyConfig
    from sptls.names import HostName
    from sptls.threads import InThread

_log = Logger()

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
    Give the names whose certificates are obtained here: those that do not bring their own, nor are another server's.
    """
    return [domain.name for domain in config.domains if domain.is_ordered]


@attrs.frozen(eq=False)
class Ordering:
    """
    What it takes to make the CAs of a configuration: what they share, whichever they are.
    """

    reactor: Any
    trust: TrustRoots
    threads: ThreadPool
    store: Store
    http01: Any
    alpn01: Any
    on_disk: InThread
    draw: Callable[[], float]

    def responders(self, config: Config) -> tuple[Any, ...]:
        """
        Give what answers challenges: here, or in the webroot of another server.
        """
        webroot = config.deploy.webroot
        return (self.http01 if webroot is None else WebrootResponder(webroot, self.on_disk), self.alpn01)

    def authorities(self, config: Config) -> list[Authority]:
        """
        Make the CAs, in the order in which they are asked.

        Raises:
            StartError: the internal CA's root can't be read or made.
        """
        responders = self.responders(config)

        def authority(acme: AcmeConfig) -> Authority:
            roots, is_last = self.trust[acme.trust], acme is config.cas[-1]
            issuer = make_issuer(
                self.reactor, acme, config.state_dir, roots, wall_time, self.threads, self.store, responders,
                has_successor=not is_last,
            )  # fmt: skip
            return make_authority(acme, issuer, self.draw)

        return [authority(acme) for acme in config.cas]


@attrs.define(eq=False)
class Keeping:
    """
    The parts that keep certificates. *former* are clients of former CAs whose last orders may still run: whoever still
    asks there holds them, and nobody else does.
    """

    store: Store
    threads: ThreadPool
    deployer: Deployer
    ordering: Ordering
    authorities: list[Authority]
    self_check: SelfCheck
    renewer: Renewer
    contexts: ContextCache
    served: ServedCertificates
    questions: RenewalQuestions
    watch: CertificateWatch
    copies: DailyCopies
    pruning: Pruning
    on_disk: InThread
    draw: Callable[[], float]
    former: WeakSet[LateAcmeIssuer] = attrs.field(factory=WeakSet)

    @classmethod
    def make(cls, reactor: Any, config: Config, trust: TrustRoots, responders: tuple[Any, Any]) -> Keeping:
        """
        Make the parts of *config*; nothing runs yet. *trust* may grow later.

        *responders* answer http-01 and tls-alpn-01 where clients are served (`txacme.interfaces.IResponder`).

        Raises:
            StartError: the internal CA's root can't be read or made.
        """
        store = Store(config.state_dir / STORE_FILE, WorkerThread(reactor), wall_time, config.acme.directory)
        threads, draw = ThreadPool(0, _KEY_THREADS, "keys"), random.SystemRandom().random
        on_disk = daemon_thread(reactor, "deploy")
        deployer = Deployer(config.deploy, store, reactor=reactor, wall_clock=wall_time, in_thread=on_disk)

        def issued(name: HostName, bundle: CertificateBundle) -> None:
            served.replace(name, bundle)
            deployer.changed(name, bundle)
            questions.changed(name)
            watch.changed(name)
            self_check.issued(name)

        def failed(name: HostName, until: Any, _: str) -> None:
            served.fail(name, until)
            watch.changed(name)

        def subject(name: HostName) -> Subject | None:
            return subject_of(name, renewer.state(name), served.bundle_for(name))

        def channels(notify: NotifyConfig) -> list[Channel]:
            return make_channels(reactor, notify, trust[None], daemon_thread(reactor, "notify"))

        ordering = Ordering(reactor, trust, threads, store, *responders, on_disk, draw)
        authorities = ordering.authorities(config)
        self_check = SelfCheck(reactor, store, config.cas, ordering.responders(config), draw)
        look = self_check.precheck
        renewer = Renewer(authorities, store, reactor, wall_time, draw, issued=issued, failed=failed, look=look)
        contexts = ContextCache(config.tls.policy, CONTEXTS_KEPT, reactor.seconds)
        served = ServedCertificates(
            config.domains,
            config.listen.default_name,
            contexts,
            wall_time,
            renewer.want,
            lambda name, error: renewer.damaged(name, str(error)),
        )
        questions = RenewalQuestions(renewer, store, reactor, wall_time, draw)
        watch = CertificateWatch(config.notify, store, subject, channels, reactor=reactor, wall_clock=wall_time)
        return cls(
            store, threads, deployer, ordering, authorities, self_check, renewer, contexts, served, questions, watch,
            DailyCopies(store, reactor), Pruning(store, reactor), on_disk, draw,
        )  # fmt: skip

    async def start(self, config: Config, ending: AsyncExitStack, only: frozenset[HostName] | None) -> None:
        """
        Serve what is stored, and begin to keep it fresh; *ending* gets what undoes it, in the opposite order.

        Raises:
            StoreError: the store can't be opened or read.
        """
        self.keep(config, ending, only, await self.open(config, ending))

    async def open(self, config: Config, ending: AsyncExitStack) -> Loaded:
        """
        Serve what is stored, and give what `keep` goes by; *ending* gets what undoes it, in the opposite order.

        Raises:
            StoreError: the store can't be opened or read.
        """
        await self.store.open()
        ending.push_async_callback(self.store.close)
        loaded = await self._rescued(config, await self.store.load())
        for name, bundle in self._stored(config, loaded).items():
            self.served.replace(name, bundle)
        return loaded

    def keep(self, config: Config, ending: AsyncExitStack, only: frozenset[HostName] | None, loaded: Loaded) -> None:
        """
        Begin to keep fresh what was *loaded*; *ending* gets what undoes it, in the opposite order.
        """
        self.copies.start()
        ending.push_async_callback(self.copies.stop)
        self.threads.start()
        ending.callback(self.threads.stop)
        ending.push_async_callback(self._close_issuers)
        names = ordered_names(config)
        self.deployer.start(self._stored(config, loaded), loaded.deployments)
        ending.push_async_callback(self.deployer.stop)
        self.renewer.start(names if only is None else only.intersection(names), loaded)
        ending.push_async_callback(self.renewer.stop)
        if only is None:  # or somebody waits for these names, and nothing else is our concern
            self.questions.start(names, loaded.advices)
            ending.push_async_callback(self.questions.stop)
            self.watch.start([domain.name for domain in config.domains], loaded.warned)
            ending.push_async_callback(self.watch.stop)
            self.self_check.start(self.renewer, names, loaded)
            ending.push_async_callback(self.self_check.stop)
            self.pruning.start(domain.name for domain in config.domains)
            ending.push_async_callback(self.pruning.stop)

    @staticmethod
    def _stored(config: Config, loaded: Loaded) -> dict[HostName, CertificateBundle]:
        found = loaded.certificates
        return {name: found[name].bundle for name in ordered_names(config) if name in found}

    async def changed(self, old: Config, new: Config, other_roots: Container[Path | None] = ()) -> Callable[[], None]:
        """
        Read what it takes to go on with *new*, and give what goes over to it, which neither waits nor fails.

        A CA is asked on new connections where its file of roots is in *other_roots*.

        Raises:
            SptlsError: the store or the internal CA's root can't be read.
        """
        names = ordered_names(new)
        is_any_new = not all(self.renewer.takes_care_of(name) for name in names)
        loaded = await self.store.load() if is_any_new else Loaded()
        is_other_ca = (old.cas, old.deploy.webroot) != (new.cas, new.deploy.webroot)
        is_other_ca = is_other_ca or any(acme.trust in other_roots for acme in new.cas)
        authorities = self.ordering.authorities(new) if is_other_ca else None

        def go_over() -> None:
            self.contexts.set_policy(new.tls.policy)
            self.self_check.configure(new.cas, self.ordering.responders(new))
            self.served.set_domains(new.domains, new.listen.default_name)
            self.deployer.set_names(names)
            self.deployer.configure(new.deploy)
            # Names that go are dropped first, so that a new CA is not asked for them.
            self.renewer.set_names([name for name in names if self.renewer.takes_care_of(name)], Loaded())
            if authorities is not None:
                self.former.update(_clients(self.authorities))
                self.authorities = authorities
                self.renewer.set_authorities(authorities)
            self.renewer.set_names(names, loaded)
            self.questions.set_names(names, loaded.advices)
            self.watch.set_names([domain.name for domain in new.domains], loaded.warned)
            self.watch.configure(new.notify)
            self.pruning.set_names(domain.name for domain in new.domains)
            self.self_check.set_names(names, loaded)

        return go_over

    async def _rescued(self, config: Config, loaded: Loaded) -> Loaded:
        """
        Give what is *loaded*, with certificates that it lacks taken from the files that were deployed.
        """
        missing = [name for name in ordered_names(config) if name not in loaded.certificates]
        directory = config.deploy.directory
        if directory is None or not missing:
            return loaded
        files = {
            name: (directory / name.text / plan.FULLCHAIN, directory / name.text / plan.PRIVATE_KEY) for name in missing
        }
        bundles = await self.on_disk(lambda: exported(files))
        certificates = dict(loaded.certificates)
        for found in rescued(missing, bundles, wall_time(), directory=config.acme.directory, fraction=self.draw()):
            await self.store.put_certificate(found)
            certificates[found.name] = found
            _log.info("{name}: its certificate came from {directory}", name=found.name, directory=directory)
        return attrs.evolve(loaded, certificates=certificates)

    async def _close_issuers(self) -> None:
        for client in (*self.former, *_clients(self.authorities)):
            await client.close()


def _clients(authorities: Iterable[Authority]) -> Iterator[LateAcmeIssuer]:
    """
    Give what has connections to CAs; the internal CA has none.
    """
    for authority in authorities:
        if isinstance(authority.issuer, LateAcmeIssuer):
            yield authority.issuer
