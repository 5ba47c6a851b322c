"""
The real renewer with the real store and the real issuer, in a `World`: what runs for months, in minutes of the test.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sptls.certs.authority import Authority
from sptls.certs.limits import NO_LIMITS, Ledger, Limits
from sptls.certs.renewer import Renewer
from sptls.certs.store import InlineWorker, Store
from sptls.names import HostName

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.standing import NameState
    from tests.faults.world import World


class Keeper:
    """
    A renewer in *world* with its store at *path*, for a CA with these *limits*; `served` is what clients get.
    """

    def __init__(self, world: World, path: Path, limits: Limits = NO_LIMITS) -> None:
        self.world, self._path, self._limits = world, path, limits
        self.served: dict[HostName, CertificateBundle] = {}
        self.failures: dict[HostName, tuple[datetime, str]] = {}
        self._names: tuple[HostName, ...] = ()
        self._make()

    def _make(self) -> None:
        world, directory = self.world, self.world.config.directory
        self.store = Store(self._path, InlineWorker(), world.now, directory)
        issuer = world.make_issuer(records=self.store)
        self.renewer = Renewer(
            [Authority(issuer, 1, Ledger(self._limits, lambda name: name), lambda: 0.5)],
            self.store,
            world.reactor,
            world.now,
            lambda: 0.5,
            issued=self.served.__setitem__,
            failed=self._failed,
        )

    def _failed(self, name: HostName, until: datetime, error: str) -> None:
        self.failures[name] = until, error

    def start(self, *names: HostName) -> None:
        """
        Take care of *names*, from what is stored.
        """
        self._names = names

        async def started() -> None:
            await self.store.open()
            loaded = await self.store.load()
            for name in names:
                if name in loaded.certificates:
                    self.served[name] = loaded.certificates[name].bundle
            self.renewer.start(names, loaded)

        self.world.reactor.run_coroutine(started())

    def stop(self) -> None:
        """
        End it.
        """

        async def stopped() -> None:
            await self.renewer.stop()
            await self.store.close()

        self.world.reactor.run_coroutine(stopped())

    def restart(self) -> None:
        """
        End it and begin anew, as a new process does.
        """
        self.stop()
        self.served.clear()
        self._make()
        self.start(*self._names)

    def run_until_served(self, *names: HostName, seconds: float = 3600.0) -> float:
        """
        Go on until *names* are served; gives how many seconds that took: those that were waited, and our own CPU's.

        For how long others had the CPU is the machine's business.
        """
        begun, clock, cpu = self.world.reactor.seconds(), time.monotonic(), time.process_time()
        self.world.reactor.run_until(lambda: all(name in self.served for name in names), seconds)
        waited = self.world.reactor.seconds() - begun - (time.monotonic() - clock)
        return waited + time.process_time() - cpu

    def state(self, name: HostName) -> NameState:
        """
        Tell how *name* stands.
        """
        found = self.renewer.state(name)
        assert found is not None
        return found
