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

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from sptls import startup
from sptls.certs.own import OwnCertificates
from sptls.clock import run_on_monotonic_time, wall_time
from sptls.errors import ConfigError, SptlsError
from sptls.parts import Parts, TrustRoots, trust_roots
from sptls.threads import daemon_thread

if TYPE_CHECKING:
    from types import FrameType

    from twisted.application.service import IServiceCollection

    from sptls.certs.lock import StateLock
    from sptls.config import Config
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


def make(reactor: Any, process: ProcessSettings, config: Config, world: World | None = None) -> Sptls:
    """
    Check, lock and bind what *config* names, and give the service that serves it.

    Raises:
        ConfigError: a file that the configuration names can't be used.
        StartError: the state directory or an address can't be had.
    """
    run_on_monotonic_time(reactor)
    in_thread = daemon_thread(reactor, "own certificates")
    own = OwnCertificates(config.domains, clock=reactor, wall_clock=wall_time, in_thread=in_thread)
    faults = own.load()
    if faults:
        raise ConfigError(faults)
    if config.acme.eab is not None:
        from sptls.acme.account import read_external_account

        read_external_account(config.acme.eab)
    # Read while the user who started us may read them; the one that serves need not.
    trust = trust_roots(config)
    lock = startup.lock_state(config)
    try:
        startup.check_store(config.state_dir / startup.STORE_FILE)
        bound = startup.bind_all(config)
        startup.raise_descriptor_limit(config)
        startup.import_ahead(process)
        startup.give_away(config.state_dir, process)
    except BaseException:
        lock.release()
        raise
    return Sptls(reactor, process, config, own, trust, lock, bound, world)


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
    ) -> None:
        self._reactor, self._process, self.config = reactor, process, config
        self._own, self._trust, self._lock, self._bound, self._world = own, trust, lock, bound, world
        self._ending = AsyncExitStack()
        self._starting: Deferred[None] | None = None
        self.parts: Parts | None = None

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
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._ending.callback(self._lock.release)
        if self._world is not None:
            self._ending.callback(self._world.remove)
            self._ending.push_async_callback(self._world.stop)
            self.config = await self._world.start(self.config)
            self._trust = trust_roots(self.config)
        self.parts = parts = Parts.make(self._reactor, self.config, self._own, self._trust)
        await parts.start(self._ending)
        parts.listen(self._reactor, self.config, self._bound, self._ending)
        for address in (*self.config.listen.https, *self.config.listen.http):
            _log.info("listening on {address}", address=str(address))
        _log.info("serving {count} domains", count=len(self.config.domains))
        if self._world is not None:
            self._world.announce(self.config)
        # What lives now lives for ever: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()

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
        if self._starting is not None:
            self._starting.cancel()
        try:
            if self.parts is not None:
                await self.parts.drain(self._reactor)
        finally:
            await self._ending.aclose()
        _log.info("ended")

    def _take_signals(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)

        def reopen(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(self._reopen_logs)
            if callable(before):  # twistd's own, which rotates its log file
                before(number, frame)

        signal.signal(signal.SIGUSR1, reopen)
        if not (self._process.foreground and sys.stdin is not None and sys.stdin.isatty()):
            signal.signal(signal.SIGHUP, self._reload)

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(
            _log.warn, "SIGHUP: the configuration is not read again yet; restart to have it changed"
        )

    def _reopen_logs(self) -> None:
        if self._process.log_file is not None:
            self._process.log_file.rotate()
        if self.parts is not None:
            self.parts.access_log.reopen()


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
