"""
The renewer: the one owner of every name's certificate, from the first order to the last renewal.

It keeps the circle of the design going: `schedule` says obtain or wait, the issuer makes a certificate, the store keeps
it, the listener serves it, and `schedule` is asked again. It bounds how many orders run, puts names that a client waits
for first, and runs one order per name however many wait. It decides no moment itself. Nothing that goes wrong with
one name ends the loop: every failure becomes a history, and that has a next attempt.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.certs import schedule
from sptls.certs.agenda import Agenda
from sptls.certs.recorder import Recorder
from sptls.certs.records import NO_HISTORY, StoredCertificate
from sptls.certs.standing import Standing
from sptls.errors import IssuanceFailed, OrderCancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.recorder import RecordStore
    from sptls.certs.records import History, Loaded
    from sptls.certs.standing import NameState
    from sptls.clock import WallClock
    from sptls.interfaces import IIssuer
    from sptls.names import HostName

_log = Logger()

# Names in the background must not take every slot from a client that waits: so many more may run for waiting ones.
RESERVED_FOR_CLIENTS: Final = 8
# The wall clock may be set while a timer sleeps on monotonic seconds, so no sleep is longer.
LOOK_AGAIN_SECONDS: Final = 3600.0
# While the CA is out every background name would fail in turn; clients that wait still have theirs tried.
OUTAGE_PAUSE_SECONDS: Final = 15.0
# Cancelled orders withdraw their challenges, a write in progress is finished; more than this is not waited for.
STOP_SECONDS: Final = 5.0
# Wall time and monotonic time part by less than this, unless the wall clock was set.
CLOCK_STEP_SECONDS: Final = 60.0


class Renewer:
    """
    Keeps the certificates of all names fresh with *issuer*, *parallel* orders at a time; once per process.

    *issued* is called with each new certificate, to be served from then on; *failed* when nothing new comes for a name
    before a moment, and why (a certificate that the name has goes on being served). *challenge_types* tells how many
    authorizations an attempt may fail at the CA. *random* gives numbers in [0, 1).
    """

    def __init__(
        self,
        issuer: IIssuer,
        store: RecordStore,
        clock: IReactorTime,
        now: WallClock,
        random: Callable[[], float],
        *,
        issued: Callable[[HostName, CertificateBundle], None],
        failed: Callable[[HostName, datetime, str], None],
        challenge_types: int = 2,
        parallel: int = 32,
    ) -> None:
        self._issuer, self._store, self._clock, self._now, self._random = issuer, store, clock, now, random
        self._recorder = Recorder(store, clock)
        self._issued, self._failed = issued, failed
        self._challenge_types, self._parallel = challenge_types, parallel
        # Internal state
        self._names: dict[HostName, Standing] = {}
        self._agenda: Agenda[Standing] = Agenda()
        self._running: dict[Standing, Deferred[None]] = {}
        self._wake: IDelayedCall | None = None
        self._background_from = -math.inf
        self._clock_offset = 0.0
        self._is_turning = False
        self._is_stopping = False

    # What others ask for

    def start(self, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Begin with what was *loaded*: obtain what is missing or due of *names*, wait for the rest. Orders nothing else.
        """
        self._clock_offset = self._offset()
        self._add(names, loaded)
        self._turn()

    async def stop(self) -> None:
        """
        End the orders that run (their challenges are withdrawn) and write what is not stored; takes 5 s at most.
        """
        self._is_stopping = True
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        for name in list(self._running):
            if name.issuing is not None:
                name.issuing.cancel()
        left = [*self._running.values(), *self._recorder.finish()]
        begun = self._clock.seconds()
        with contextlib.suppress(DeferredTimeoutError):
            await DeferredList(left).addTimeout(STOP_SECONDS, self._clock)
        if self._clock.seconds() - begun >= STOP_SECONDS:
            _log.warn("orders or writes did not end in {seconds} s", seconds=STOP_SECONDS)

    def want(self, name: HostName) -> None:
        """
        Put *name*, for which a client waits, before all that nobody waits for; unless it waits out a failure.
        """
        found = self._names.get(name)
        if found is not None:
            self._plan_due()
            self._agenda.want(found)
            self._turn()

    def retry(self, name: HostName) -> None:
        """
        Try *name* now, because an operator asks: its back-off is forgotten; what the CA counts is not.
        """
        found = self._names.get(name)
        if found is None:
            return
        if found not in self._running and found.history is not NO_HISTORY:
            found.history = schedule.forgiven(found.history)
            self._plan(found, self._now())
        self.want(name)

    def takes_care_of(self, name: HostName) -> bool:
        """
        Tell whether *name* is one of those that are kept fresh here.
        """
        return name in self._names

    def set_issuer(self, issuer: IIssuer, challenge_types: int) -> None:
        """
        Obtain from *issuer* from now on; orders that run end where they began.

        Certificates of another CA become due, and are served until the new ones come.
        """
        self._issuer, self._challenge_types = issuer, challenge_types
        now = self._now()
        for name in self._names.values():
            if name not in self._running:
                self._plan(name, now, tell=True)
        self._turn()

    def set_names(self, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Take care of exactly *names* from now on: new ones are served as *loaded* or obtained, others dropped.
        """
        wanted = dict.fromkeys(names)
        added = [name for name in wanted if name not in self._names]
        for name in [name for name in self._names if name not in wanted]:
            self._remove(self._names.pop(name))
        self._add(added, loaded)
        for name in added:
            if name in loaded.certificates:
                self._tell_issued(self._names[name], loaded.certificates[name].bundle)
        self._turn()

    def damaged(self, name: HostName, error: object) -> None:
        """
        Take note that *name*'s certificate can't be served, because of *error*: it is set aside and obtained again.
        """
        found = self._names.get(name)
        if found is None or found.certificate is None:
            return
        _log.error("{name}: its certificate can't be served and is set aside: {error}", name=name, error=error)
        found.certificate = None
        if found.is_issued_here:
            # A new one would be no better: it waits like after any other failure.
            self._note_failure(found, schedule.Failure(str(error), kind="damaged"))
        self._recorder.set_aside(name, str(error), found.history)
        if found not in self._running:
            self._plan(found, self._now())
            self._turn()

    def state(self, name: HostName) -> NameState | None:
        """
        Tell how *name* stands, or None when it is not taken care of.
        """
        found = self._names.get(name)
        return None if found is None else found.state(self._now(), is_running=found in self._running)

    # The loop

    def _add(self, names: Iterable[HostName], loaded: Loaded) -> None:
        now = self._now()
        for name in names:
            certificate = loaded.certificates.get(name)
            history = loaded.histories.get(name, NO_HISTORY)
            added = self._names[name] = Standing(name, certificate, history)
            self._plan(added, now, tell=True)

    def _remove(self, name: Standing) -> None:
        name.is_removed = True
        self._agenda.drop(name)
        self._recorder.forget(name.name)
        if name.issuing is not None:
            name.issuing.cancel()

    def _plan(self, name: Standing, now: datetime, *, tell: bool = False) -> None:
        """
        Put *name* where `schedule` wants it; *tell* when it has nothing to serve and must wait.
        """
        if name.history is not NO_HISTORY:
            name.history = schedule.corrected(name.history, now)
        decision = schedule.decide(
            name.certificate,
            name.history,
            now,
            directory=self._issuer.directory,
            challenge_types=self._challenge_types,
        )
        name.waits_until = None
        if isinstance(decision, schedule.Obtain):
            self._agenda.ready(name, name.urgency)
            return
        if name.certificate is None or decision.until != name.certificate.renew_at:
            name.waits_until = decision.until
        self._agenda.wait(name, decision.until.timestamp())
        if tell and not name.is_valid(now):
            self._tell_failed(name, decision.until)

    def _plan_due(self) -> None:
        """
        Plan the names whose moment has come; after the wall clock was set, all that wait or are ready.
        """
        now = self._now()
        offset = self._offset()
        if abs(offset - self._clock_offset) > CLOCK_STEP_SECONDS:
            _log.warn("the wall clock was set by {seconds:.0f} s", seconds=offset - self._clock_offset)
            self._clock_offset = offset
            for name in self._names.values():
                if name not in self._running:
                    self._plan(name, now, tell=True)
        for name in self._agenda.due(now.timestamp()):
            self._plan(name, now)

    def _turn(self) -> None:
        """
        Begin all the orders that may begin now, and set the timer for the next moment.
        """
        if self._is_turning or self._is_stopping:
            return
        self._is_turning = True
        try:
            self._plan_due()
            while (name := self._next()) is not None:
                self._begin(name)
        finally:
            self._is_turning = False
            self._set_timer()

    def _next(self) -> Standing | None:
        """
        Take the name that gets the next slot, or give None when no slot or no name is left.
        """
        name = None
        if len(self._running) < self._parallel + RESERVED_FOR_CLIENTS:
            name = self._agenda.take_wanted()
        if name is None and len(self._running) < self._parallel and self._clock.seconds() >= self._background_from:
            name = self._agenda.take_ready()
        return name

    def _set_timer(self) -> None:
        seconds = LOOK_AGAIN_SECONDS
        moment = self._agenda.next_moment()
        if moment is not None:
            seconds = min(seconds, max(0.0, moment - self._now().timestamp()))
        pause = self._background_from - self._clock.seconds()
        if pause > 0 and self._agenda.is_anything_ready:
            seconds = min(seconds, pause)
        if self._wake is not None and self._wake.active():
            self._wake.reset(seconds)
        else:
            self._wake = self._clock.callLater(seconds, self._turn)

    def _offset(self) -> float:
        return self._now().timestamp() - self._clock.seconds()

    # One attempt

    def _begin(self, name: Standing) -> None:
        attempt = Deferred.fromCoroutine(self._attempt(name))
        self._running[name] = attempt
        attempt.addBoth(self._ended, name)

    def _ended(self, result: object, name: Standing) -> None:
        del self._running[name]
        if isinstance(result, Failure) and not self._is_stopping:
            _log.failure("{name}: an attempt broke off", result, name=name.name)
        if not self._is_given_up(name):
            self._plan(name, self._now())
            self._turn()

    async def _attempt(self, name: Standing) -> None:
        try:
            await self._obtain(name)
        except CancelledError as error:
            # Its cost is not known: in the store it stays as begun, which counts in full (`schedule.started`).
            if not self._is_given_up(name):
                await self._fail(name, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, this name waits and the others go on
            has_cost_nothing = isinstance(error, IssuanceFailed) and isinstance(error.cause, OrderCancelled)
            if not (has_cost_nothing and self._is_given_up(name)):
                await self._fail(name, error)
                return
            name.history = schedule.withdrawn(name.history)
            await self._recorder.history(name.name, name.history)

    def _is_given_up(self, name: Standing) -> bool:
        return self._is_stopping or name.is_removed

    async def _obtain(self, name: Standing) -> None:
        issuer = self._issuer
        name.history = schedule.started(
            name.history, self._now(), directory=issuer.directory, challenge_types=self._challenge_types
        )
        error = await self._recorder.history(name.name, name.history)
        if error is not None and name.is_valid(self._now()):
            # Nobody waits for it, and an order of which no restart knows may be repeated at each.
            raise error
        if self._is_given_up(name):  # meanwhile; nothing has begun that could be cancelled
            raise IssuanceFailed(OrderCancelled())
        bundle = await self._issue(name, issuer)
        now = self._now()
        renew_at = schedule.renewal_moment(bundle.not_before, bundle.not_after, now, self._random())
        certificate = StoredCertificate(name.name, bundle, issuer.directory, renew_at)
        await self._keep(name, certificate, schedule.after_success(name.history, now))

    async def _issue(self, name: Standing, issuer: IIssuer) -> CertificateBundle:
        issuing: Deferred[CertificateBundle] = Deferred.fromCoroutine(issuer.issue(name.name))
        name.issuing = issuing.addTimeout(schedule.LONGEST_ATTEMPT.total_seconds(), self._clock)
        try:
            return await name.issuing
        except DeferredTimeoutError:
            raise TimeoutError from None
        finally:
            name.issuing = None

    async def _keep(self, name: Standing, certificate: StoredCertificate, history: History) -> None:
        """
        Store and serve a new certificate; serve it all the same when the disk does not take it.
        """
        await self._recorder.certificate(certificate, history)
        if name.is_removed:
            return
        is_first = name.certificate is None
        name.certificate, name.history, name.is_issued_here, name.failing_with = certificate, history, True, ""
        _log.info(
            "{name}: certificate {word} by {issuer}, valid until {not_after:%Y-%m-%d %H:%M:%S} UTC",
            name=name.name,
            word="issued" if is_first else "renewed",
            issuer=certificate.bundle.issuer,
            not_after=certificate.bundle.not_after,
        )
        self._tell_issued(name, certificate.bundle)

    async def _fail(self, name: Standing, error: Exception) -> None:
        failure = schedule.Failure.of(error, self._challenge_types)
        if failure.is_unexpected:
            _log.failure("{name}: unexpected while obtaining a certificate", name=name.name)
        if failure.is_outage:
            self._background_from = self._clock.seconds() + OUTAGE_PAUSE_SECONDS
        self._note_failure(name, failure)
        await self._recorder.history(name.name, name.history)

    def _note_failure(self, name: Standing, failure: schedule.Failure) -> None:
        name.history = schedule.after_failure(
            name.history,
            failure,
            self._now(),
            not_after=None if name.certificate is None else name.certificate.bundle.not_after,
            challenge_types=self._challenge_types,
            fraction=self._random(),
        )
        until = name.history.next_attempt_at or self._now()
        if failure.kind != name.failing_with:
            name.failing_with = failure.kind
            _log.warn(
                "{name}: no {what}: {error}; next attempt at {until:%Y-%m-%d %H:%M:%S} UTC",
                name=name.name,
                what="certificate" if name.certificate is None else "new certificate",
                error=failure.error,
                until=until,
            )
        self._tell_failed(name, until)

    def _tell_issued(self, name: Standing, bundle: CertificateBundle) -> None:
        try:
            self._issued(name.name, bundle)
        except Exception:  # noqa: BLE001 - a fault there must not end the loop here
            _log.failure("{name}: its certificate could not be put in service", name=name.name)

    def _tell_failed(self, name: Standing, until: datetime) -> None:
        try:
            self._failed(name.name, until, name.history.last_error)
        except Exception:  # noqa: BLE001 - a fault there must not end the loop here
            _log.failure("{name}: its failure could not be told", name=name.name)
