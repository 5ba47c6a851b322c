"""
From a `Config` to a running daemon, and down again in order: what twistd starts and stops.

`make` runs before twistd forks (`startup` has what needs that); the service makes and starts the `parts` after it, and
drains and ends them. Signals and the daemon's own log are minded here.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from sptls import early_signals, startup
from sptls.certs.own import OwnCertificates
from sptls.certs.schema import STORE_FILE
from sptls.clock import run_on_monotonic_time, wall_time
from sptls.deploy import layout, webroot
from sptls.errors import ConfigError, SptlsError
from sptls.estate import DaemonEstate
from sptls.inherited_sockets import InheritedSockets
from sptls.keeping import TrustRoots, trust_roots
from sptls.notify import Supervisor
from sptls.parts import Parts
from sptls.predecessor import ask
from sptls.reloading import Reloading, check_external_accounts
from sptls.successor import Succession
from sptls.threads import daemon_thread
from sptls.wakes import wake_directly
from sptls.workers.count import worker_count

if TYPE_CHECKING:
    from types import FrameType

    from twisted.application.service import IServiceCollection

    from sptls.certs.lock import StateLock
    from sptls.config import Config
    from sptls.config_source import ConfigSource
    from sptls.names import HostName
    from sptls.ops.status import Reading
    from sptls.predecessor import Predecessor
    from sptls.startup import Bound, ProcessSettings

_log = Logger()


class World(Protocol):
    """
    What is started before the daemon's parts and ended after them (the demo's CA and tracking service).
    """

    async def start(self, config: Config) -> Config:
        """
        Start, and give *config* with what is known only now.
        """

    def announce(self, config: Config) -> None:
        """
        Take note that the daemon serves *config*.
        """

    async def stop(self) -> None:
        """
        End what was started.
        """

    def remove(self) -> None:
        """
        Clean up after everything else has ended.
        """


def make(
    reactor: Any,
    process: ProcessSettings,
    config: Config,
    world: World | None = None,
    *,
    source: ConfigSource | None = None,
    only: frozenset[HostName] | None = None,
    inherited: InheritedSockets | None = None,
    is_taking_over: bool = False,
) -> Sptls:
    """
    Check, lock and bind what *config* names, and give the service that serves it.

    *source* is where SIGHUP finds the configuration again. With *only*, no certificate is obtained for any other name.
    *inherited* are sockets that are used instead of bound. Where it *is_taking_over*, lock and sockets are those of the
    process that uses the state directory, if there is one.

    Raises:
        ConfigError: a file that the configuration names can't be used.
        StartError: the state directory or an address can't be had.
    """
    if only is not None:
        config = attrs.evolve(config, workers=1)  # this process serves for as long as the command takes
    run_on_monotonic_time(reactor)
    wake_directly(reactor)
    in_thread = daemon_thread(reactor, "own certificates")
    own = OwnCertificates(config.domains, clock=reactor, wall_clock=wall_time, in_thread=in_thread)
    faults = own.load()
    if faults:
        raise ConfigError(faults)
    check_external_accounts(config)
    # Read while the user who started us may read them; the one that serves need not.
    trust = trust_roots(config)
    predecessor = ask(config.state_dir) if is_taking_over else None
    is_left = predecessor is None and startup.was_killed(config)
    lock = startup.lock_state(config) if predecessor is None else predecessor.lock
    try:
        startup.check_store(config.state_dir / STORE_FILE)
        if config.deploy.directory is not None:
            layout.prepare(config.deploy.directory, process.uid, process.gid)
        if config.deploy.webroot is not None:
            webroot.prepare(config.deploy.webroot, process.uid, process.gid)
        bound = startup.bind_all(
            config,
            InheritedSockets.of(inherited, () if predecessor is None else predecessor.sockets),
            worker_count(config),
            is_patient=is_left,
        )
        startup.raise_descriptor_limit(config, worker_count(config))
        startup.import_ahead(process)
        startup.give_away(config.state_dir, process)
    except BaseException:
        lock.release()
        if predecessor is not None:
            predecessor.let_go()
        raise
    return Sptls(
        reactor, process, config, own, trust, lock, bound, world, source=source, only=only, predecessor=predecessor
    )


class Sptls(Service):
    """
    The daemon: all parts, made and started by `startService`, drained and ended by `stopService`.
    """

    name = "sptls"

    def __init__(
        self,
        reactor: Any,
        process: ProcessSettings,
        config: Config,
        own: OwnCertificates,
        trust: TrustRoots,
        lock: StateLock,
        bound: Bound,
        world: World | None = None,
        *,
        source: ConfigSource | None = None,
        only: frozenset[HostName] | None = None,
        predecessor: Predecessor | None = None,
    ) -> None:
        self._source, self._only = source, only
        self._predecessor = predecessor
        if predecessor is not None:
            bound.share(frozenset(bound.sockets))
        self._reactor, self._process, self.config = reactor, process, config
        self._own, self._trust, self._lock, self._bound, self._world = own, trust, lock, bound, world
        self._ending = AsyncExitStack()
        self._starting: Deferred[None] | None = None
        self.parts: Parts | None = None
        self._reloading: Reloading | None = None
        self._succession: Succession | None = None
        self._is_reload_due = False
        self._supervisor = Supervisor.from_environment(os.environ, os.getpid())

    def setServiceParent(self, parent: IServiceCollection) -> None:  # noqa: N802 - Twisted's name
        """
        Join the application, whose log goes where `ProcessSettings` says; twistd looks there before it starts its log.
        """
        if self._process.observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._process.observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """
        Start the parts; what goes wrong now is logged, and ends the process with status 1.
        """
        super().startService()  # type: ignore[no-untyped-call]
        self._lock.write_pid()
        self._take_signals()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """
        Drain and end; takes `DRAIN_SECONDS` and a little at the most.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._supervisor.stopping()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        if self._predecessor is not None:
            self._ending.callback(self._predecessor.let_go)
        self._ending.callback(self._lock.release)
        if self._world is not None:
            self._ending.callback(self._world.remove)
            self._ending.push_async_callback(self._world.stop)
            self.config = await self._world.start(self.config)
            self._trust = trust_roots(self.config)
        self.parts = parts = Parts.make(self._reactor, self.config, self._own, self._trust, worker_count(self.config))
        await parts.start(self._ending)
        await self._serve(parts)
        if self._source is not None:
            in_thread = daemon_thread(self._reactor, "configuration")
            self._reloading = Reloading(self._reactor, parts, self._source, in_thread, self._was_read)
            self._ending.push_async_callback(self._reloading.stop)
            if self._is_reload_due:
                self._reloading.ask()
        estate = DaemonEstate(self._reactor, parts, self._lock, self._bound, self._reloading)
        self._succession = Succession(self._reactor, estate)
        parts.take_commands(self._ending, self._succession.begin)
        for address in (*self.config.listen.https, *self.config.listen.http):
            _log.info("listening on {address}", address=str(address))
        _log.info("{what}", what=_what(self.config))
        if self._world is not None:
            self._world.announce(self.config)
        # What lives now lives for ever: the garbage collector, which `tap` disabled, need not look at it again.
        gc.freeze()
        gc.enable()
        self._supervisor.ready(_what(self.config))
        self._show_life()

    def _show_life(self) -> None:
        if self._supervisor.watchdog_seconds:
            life = LoopingCall(self._supervisor.alive)
            life.clock = self._reactor
            life.start(self._supervisor.watchdog_seconds / 2)
            self._ending.callback(life.stop)

    async def _serve(self, parts: Parts) -> None:
        """
        Listen and keep certificates. A process before this one, if there is one, has to give way between the two.

        Until it does, it may go on itself, and a CA's validations may reach it.
        """
        if self._predecessor is None:
            parts.keep(self._only)
            await parts.listen(self._bound, self._ending)
            return
        await parts.listen(self._bound, self._ending)
        await self._predecessor.take_over(self._reactor)
        # From now on lock and sockets are ours alone.
        self._lock.is_shared = False
        self._bound.share(frozenset())
        parts.keep(self._only)

    def _start_failed(self, failure: Any) -> None:
        if failure.check(CancelledError) or not self.running:  # it is being stopped
            return
        if failure.check(SptlsError):
            _log.critical("can't start: {error}", error=str(failure.value))
        else:
            _log.failure("can't start", failure)
        atexit.register(_exit_failed)
        # twistd starts services before the reactor, which can be stopped only once it runs.
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        self._reloading = None
        if self._starting is not None:
            self._starting.cancel()
        try:
            if self._succession is not None:
                await self._succession.stop()  # before the sockets are closed: a successor may have asked for them
            if self.parts is not None:
                await self.parts.drain()
        finally:
            await self._ending.aclose()
        _log.info("ended")

    def _take_signals(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)

        def reopen(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(self._reopen_logs)
            if before and callable(before):  # twistd's own, which rotates its log file
                before(number, frame)

        signal.signal(signal.SIGUSR1, reopen)
        if early_signals.came(before):
            self._reactor.callFromThread(self._reopen_logs)
        if early_signals.asks_to_read_again(foreground=self._process.foreground):
            until_now = signal.signal(signal.SIGHUP, lambda _number, _frame: self._reactor.callFromThread(self.reload))
            self._is_reload_due = early_signals.came(until_now)

    def reload(self) -> None:
        """
        Read the configuration again, as SIGHUP asks.
        """
        if self._reloading is not None:
            self._supervisor.reloading()
            self._reloading.ask()
        elif self._source is None:
            _log.warn("there is no configuration to read again: this is the demo, or a command")
        else:
            self._is_reload_due = True  # after the start

    def _was_read(self, reading: Reading) -> None:
        if self.parts is not None:
            self.parts.report.was_read(reading)
            self._supervisor.ready(_what(self.parts.config))

    def _reopen_logs(self) -> None:
        if self._process.log_file is not None:
            self._process.log_file.rotate()
        if self.parts is not None:
            self.parts.front.reopen_logs()


def _what(config: Config) -> str:
    count = len(config.domains)
    return f"{'renewing' if config.renew_only else 'serving'} {count} domain{'' if count == 1 else 's'}"


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
