"""
A host with sptls on it, its clients and its CA, in simulated time: the real renewer with all that it decides by.

Time is `task.Clock`'s and goes from one event to the next. What belongs to the process (timers, answers that it waits
for) is on the clock, and a kill -9 takes it all away; what belongs to the world (clients, the CA's own work) is on a
list beside it and goes on. Everything is drawn from one seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
from OpenSSL import SSL
from twisted.internet.task import Clock

from sptls.certs.authority import Authority
from sptls.certs.limits import LETS_ENCRYPT, Ledger, Limits
from sptls.certs.renewal_information import RenewalQuestions
from sptls.certs.renewer import Renewer
from sptls.config import DomainConfig
from sptls.interfaces import Hold
from sptls.names import HostName, NameTable
from sptls.tls.contexts import ContextCache, ServerContext
from sptls.tls.served import ServedCertificates
from tests.certs.authority import NOW
from tests.certs.stored import outcome
from tests.simulation.lets_encrypt import registered_domain
from tests.simulation.memory_store import MemoryStore, SimulatedStore
from tests.simulation.model_ca import CHALLENGE_TYPES, Ca, MakeBundle, ModelCa, bare_bundle

if TYPE_CHECKING:
    from sptls.certs.bundle import CertificateBundle

# The CA's own seed is another than the process's: what one draws does not change what the other does.
_CA_SEED: Final = 1_000_003


class _NoContexts(ContextCache):
    """
    Gives the same context for every bundle: the simulation's have no key.
    """

    def __init__(self) -> None:
        super().__init__("intermediate", 1, lambda: 0.0)
        self._context = ServerContext(SSL.Context(SSL.TLS_SERVER_METHOD), NameTable())

    def get(self, _key: HostName, _bundle: CertificateBundle) -> ServerContext:
        """
        Give it.
        """
        return self._context


@attrs.define
class Clicks:
    """
    What clients of names without a certificate got, and how long those that were held waited.
    """

    refused: int = 0
    held_seconds: list[float] = attrs.field(factory=list)


class World:
    """
    A process that takes care of *names*, of which *dead* ones can't be validated; `run` lets time pass.

    *lifetime* is how long a certificate of a name lives that is made now. *limits* are what the ledger knows of the
    CA's.
    """

    def __init__(
        self,
        names: Iterable[HostName],
        lifetime: Callable[[HostName], timedelta],
        *,
        dead: Iterable[HostName] = (),
        seed: int = 1,
        limits: Limits = LETS_ENCRYPT,
        store: Callable[[Callable[[], datetime]], SimulatedStore] = MemoryStore,
        make_bundle: MakeBundle = bare_bundle,
    ) -> None:
        self.clock = Clock()
        self._now_at, self._now = 0.0, NOW
        self.random = Random(seed)  # noqa: S311 - reproducible
        self.names, self.dead = tuple(names), frozenset(dead)
        self.store = store(self.now)
        self.ca = Ca(
            self.clock.seconds,
            self.now,
            self.later,
            Random(seed + _CA_SEED),  # noqa: S311
            lifetime,
            self.dead.__contains__,
            make_bundle,
            self._ordered,
        )
        self.clicks = Clicks()
        self.expired: list[tuple[HostName, float]] = []
        self.first_issued: dict[HostName, float] = {}
        self.replaced_at: dict[HostName, float] = {}
        self.asks_when = False
        self.kills = 0
        # Internal state
        self._kills_within = 0.0
        self._limits = limits
        self._process_random = Random(seed)  # noqa: S311
        self._held: dict[HostName, list[float]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.begin()

    def now(self) -> datetime:
        """
        Give the wall time.
        """
        seconds = self.clock.rightNow
        if seconds != self._now_at:  # asked for far more often than time goes on
            self._now_at, self._now = seconds, NOW + timedelta(seconds=seconds)
        return self._now

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """
        Have *event* happen after some *seconds*, whatever becomes of the process.
        """
        heapq.heappush(self._events, (self.clock.seconds() + seconds, next(self._numbers), event))

    def run(self, until: timedelta) -> None:
        """
        Let time pass up to *until*, counted from the beginning.
        """
        end = until.total_seconds()
        while True:
            call = self.clock.calls[0].getTime() if self.clock.calls else end
            event = self._events[0][0] if self._events else end
            moment = min(call, event)
            if moment >= end:
                break
            self.clock.rightNow = max(self.clock.rightNow, moment)
            if event <= call:
                heapq.heappop(self._events)[2]()
            else:
                self.clock.advance(0)
        self.clock.rightNow = end

    def begin(self) -> None:
        """
        Start a process on what is stored.
        """
        loaded = outcome(self.store.load())
        random = self._process_random.random
        authority = Authority(
            ModelCa(self.ca, self.clock, self.store),
            len(CHALLENGE_TYPES),
            Ledger(self._limits, registered_domain),
            random,
        )
        self.renewer = Renewer(
            [authority], self.store, self.clock, self.now, random, issued=self._issued, failed=self._failed
        )
        self.served = ServedCertificates(
            map(DomainConfig, self.names), None, _NoContexts(), self.now, self.renewer.want, lambda *_: None
        )
        self.served.watch(self._settled)
        for name, certificate in loaded.certificates.items():
            self.served.replace(name, certificate.bundle)
        self.renewer.start(self.names, loaded)
        self.questions = RenewalQuestions(self.renewer, self.store, self.clock, self.now, random)
        if self.asks_when:
            self.questions.start(self.names, loaded.advices)

    def kill(self) -> None:
        """
        Have the process end where it stands, and start another one; clients that waited get nothing.
        """
        self.kills += 1
        self.clock.calls.clear()
        self._held.clear()
        self.begin()

    def kill_within(self, seconds: float) -> None:
        """
        Kill the process at some moment within *seconds* of the next order.
        """
        self._kills_within = seconds

    def _ordered(self) -> None:
        if self._kills_within:
            seconds, self._kills_within = self._kills_within, 0.0
            self.later(self.random.uniform(0, seconds), self.kill)

    def click(self, name: HostName) -> None:
        """
        Have a client ask for *name*, as the listener does for it.
        """
        answer = self.served.answer(name.wire)
        if isinstance(answer, Hold):
            self._held.setdefault(name, []).append(self.clock.seconds())
            self.served.want(name)
        elif not isinstance(answer, ServerContext):
            self.clicks.refused += 1

    def stop(self) -> None:
        """
        End the process in peace.
        """
        self._events.clear()
        self.clock.calls.clear()

    def _issued(self, name: HostName, bundle: CertificateBundle) -> None:
        now = self.now()
        before = self.served.bundle_for(name)
        if before is not None and before.not_after <= now:
            self.expired.append((name, self.clock.seconds()))
        self.first_issued.setdefault(name, self.clock.seconds())
        self.replaced_at[name] = self.clock.seconds()
        self.served.replace(name, bundle)
        self.questions.changed(name)

    def _failed(self, name: HostName, until: datetime, _error: str) -> None:
        self.served.fail(name, until)

    def _settled(self, name: HostName) -> None:
        now = self.clock.seconds()
        self.clicks.held_seconds += [now - since for since in self._held.pop(name, ())]

    @property
    def held(self) -> int:
        """
        Tell how many clients wait.
        """
        return sum(map(len, self._held.values()))

    @property
    def expired_now(self) -> list[HostName]:
        """
        Give the names that should have a certificate and have none that is valid.
        """
        now = self.now()
        bundles = ((name, self.served.bundle_for(name)) for name in self.names if name not in self.dead)
        return [name for name, bundle in bundles if bundle is None or bundle.not_after <= now]
