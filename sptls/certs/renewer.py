"""
The renewer: the one owner of every name's certificate, from the first order to the last renewal.

It keeps the circle of the design going: `schedule` says obtain or wait, an `authority` whether its CA allows an order
now, `attempts` makes it, the listener serves what came, and `schedule` is asked again. It bounds how many orders run,
puts names that a client waits for first, and runs one order per name however many wait. It decides no moment itself.
Nothing that goes wrong with one name ends the loop: every failure becomes a history, and that has a next attempt.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.certs import schedule
from sptls.certs.agenda import Agenda
from sptls.certs.attempts import Attempts
from sptls.certs.authorities import Attempt, Authorities
from sptls.certs.clock_steps import ClockSteps
from sptls.certs.diagnosis import UNSERVABLE
from sptls.certs.limits import Priority
from sptls.certs.pause import Pause
from sptls.certs.recorder import Recorder
from sptls.certs.records import NO_HISTORY
from sptls.certs.standings import Standings, recalled
from sptls.errors import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.certs.attempts import Look
    from sptls.certs.authority import Authority
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.limits import NotBefore
    from sptls.certs.recorder import RecordStore
    from sptls.certs.records import Loaded, RenewalAdvice, StoredCertificate
    from sptls.certs.standing import NameState, Standing
    from sptls.clock import WallClock
    from sptls.names import HostName

_log = Logger()

# Names in the background must not take every slot from a client that waits: so many more may run for waiting ones.
RESERVED_FOR_CLIENTS: Final = 8
# The wall clock may be set while a timer sleeps on monotonic seconds, so no sleep is longer.
LOOK_AGAIN_SECONDS: Final = 3600.0
# Cancelled orders withdraw their challenges, a write in progress is finished; more than this is not waited for.
STOP_SECONDS: Final = 5.0
# Names that nothing is known of, planned at a time: some 5 ms of work.
NAMES_A_TURN: Final = 500

_EVERYBODY: Final = frozenset({Scope.ACCOUNT, Scope.CA})


class Renewer:
    """
    Keeps the certificates of all names fresh with *authorities*, *parallel* orders at a time; once per process.

    *authorities* are asked in their order: the next one where one fails, may not be asked, or is out. *issued* is
    called with each new certificate, to be served from then on; *failed* when nothing new comes for a name before a
    moment, and why (a certificate that the name has goes on being served). *random* gives numbers in [0, 1).
    *look* may explain failures by what is seen from here, and stop orders that would be in vain.
    """

    def __init__(
        self,
        authorities: Sequence[Authority],
        store: RecordStore,
        clock: IReactorTime,
        now: WallClock,
        random: Callable[[], float],
        *,
        issued: Callable[[HostName, CertificateBundle], None],
        failed: Callable[[HostName, datetime, str], None],
        parallel: int = 32,
        look: Look | None = None,
    ) -> None:
        self._clock, self._now, self._parallel = clock, now, parallel
        self._recorder = Recorder(store, clock)
        self._attempts = Attempts(self._recorder, clock, now, random, issued, failed, look)
        self._authorities = Authorities(authorities)
        self._names = Standings(self._came_up)
        self._agenda: Agenda[Standing] = Agenda()
        self._running: dict[Standing, Deferred[None]] = {}
        self._wake: IDelayedCall | None = None
        self._bringing_up: IDelayedCall | None = None
        self._pause, self._clock_steps = Pause(), ClockSteps()
        self._is_turning = self._is_stopping = False

    # What others ask for

    def start(self, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Begin with what was *loaded*: obtain what is missing or due of *names*, wait for the rest. Orders nothing else.
        """
        self._clock_steps.begin(self._attempts.moment())
        self._authorities.load(loaded.limits, self._now().timestamp())
        self._add(names, loaded)
        self._bring_up()

    async def stop(self) -> None:
        """
        End the orders that run (their challenges are withdrawn) and write what is not stored; takes 5 s at most.
        """
        self._is_stopping = self._attempts.is_stopping = True
        for timer in (self._wake, self._bringing_up):
            if timer is not None and timer.active():
                timer.cancel()
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

    def dns_changed(self, name: HostName) -> None:
        """
        Try *name* now, because its DNS is seen to have changed since it failed: as `retry`, and people are told why.
        """
        found = self._names.get(name)
        if found is not None and found not in self._running:
            found.dns_changed_at = self._now()
            self.retry(name)

    def renew(self, name: HostName) -> None:
        """
        Replace *name*'s certificate now, because an operator asks; unless it waits out a failure, or a CA's limits.
        """
        found = self._names.get(name)
        if found is None:
            return
        if found.certificate is not None and found not in self._running:
            found.certificate = attrs.evolve(found.certificate, renew_at=self._now())
            self._recorder.due(found.certificate)
            self._plan(found, self._now())
        self.want(name)

    async def adopt(self, certificate: StoredCertificate) -> bool:
        """
        Serve *certificate*, which another program obtained, from now on; it is stored, now or later, when this returns.

        False, and nothing is changed, where its name is not taken care of, or an order for it runs.
        """
        found = self._names.get(certificate.name)
        if found is None or found in self._running:
            return False
        found.adopt(certificate, schedule.after_success(found.history, self._now()))
        self._plan(found, self._now())
        self._attempts.tell_issued(found, certificate.bundle)
        self._turn()
        await self._recorder.certificate(certificate, found.history)
        return True

    def certificate(self, name: HostName) -> StoredCertificate | None:
        """
        Give *name*'s certificate, or None.
        """
        return self._names.certificate(name)

    def authority(self, directory: str) -> Authority | None:
        """
        Give the CA with this *directory*, or None when it is none of those that are asked.
        """
        return self._authorities.get(directory)

    def directory_of(self, name: HostName) -> str | None:
        """
        Give the CA that *name*'s last attempt was made at, or the next will be; None when it is not taken care of.
        """
        found = self._names.get(name)
        if found is None or not self._authorities.cas:
            return None
        asked = found.history.directory
        return asked if self._authorities.get(asked) is not None else self._authorities.cas[0].directory

    def reschedule(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Renew *name*'s certificate, if it still is the one with this *serial*, at *renew_at*: its CA gave *advice*.
        """
        found = self._names.get(name)
        if found is None or found.certificate is None or found.certificate.bundle.serial != serial:
            return
        found.advice = advice
        if found.certificate.renew_at != renew_at:
            found.certificate = attrs.evolve(found.certificate, renew_at=renew_at)
            if found not in self._running:
                self._plan(found, self._now())
                self._turn()

    def takes_care_of(self, name: HostName) -> bool:
        """
        Tell whether *name* is one of those that are kept fresh here.
        """
        return name in self._names

    def set_authorities(self, authorities: Sequence[Authority]) -> None:
        """
        Obtain from *authorities* from now on; orders at others are given up, however long those take to answer.

        Certificates of other CAs become due, and are served until the new ones come.
        """
        self._authorities.take(authorities)
        now = self._now()
        for name in self._names.values():
            if name not in self._running:
                self._plan(name, now, tell=True)
            elif self._authorities.get(name.history.directory) is None:
                name.give_up()
        self._turn()

    def set_names(self, names: Iterable[HostName], loaded: Loaded) -> None:
        """
        Take care of exactly *names* from now on: new ones are served as *loaded* or obtained, others dropped.
        """
        self._authorities.prune(self._now().timestamp())
        wanted = dict.fromkeys(names)
        added = [name for name in wanted if name not in self._names]
        for former in self._names.keep(wanted):
            self._remove(former)
        self._add(added, loaded)
        for name in added:
            if name in loaded.certificates and (standing := self._names.get(name)) is not None:
                self._attempts.tell_issued(standing, loaded.certificates[name].bundle)
        self._bring_up()

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
            until = self._attempts.note_failure(found, schedule.Failure(str(error), diagnosis=UNSERVABLE), 0)
            self._attempts.tell_failed(found, until)
        self._recorder.set_aside(name, str(error), found.history)
        if found not in self._running:
            self._plan(found, self._now())
            self._turn()

    def state(self, name: HostName) -> NameState | None:
        """
        Tell how *name* stands, or None when it is not taken care of.
        """
        found = self._names.get(name)
        if found is None:
            return None
        held_up = self._pause.reason(self._clock.seconds()) if self._agenda.is_ready(found) else None
        return found.state(self._now(), is_running=found in self._running, held_up=held_up)

    # The loop

    def _add(self, names: Iterable[HostName], loaded: Loaded) -> None:
        unknown: list[HostName] = []
        for name in names:
            added = recalled(name, loaded)
            if added is None:
                unknown.append(name)
                continue
            self._names.put(added)
            if added.history.attempt_started_at is not None and not added.is_resuming:
                # No order on record: it was cut off before the CA was asked to validate anything.
                self._attempts.withdraw(added, self._authorities.get(added.history.directory))
            self._came_up(added)
        self._names.put_off(unknown)

    def _bring_up(self) -> None:
        """
        Begin with some of the names that were put off, and go on when the clients have had their turn.
        """
        if self._bringing_up is not None and self._bringing_up.active():
            return
        if self._names.bring_up(NAMES_A_TURN) and not self._is_stopping:
            self._bringing_up = self._clock.callLater(0, self._bring_up)
        self._turn()

    def _came_up(self, name: Standing) -> None:
        self._attempts.expect(name)
        self._plan(name, self._now(), tell=True)

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
        cas = self._authorities.cas
        decision = schedule.decide(name.certificate, name.history, now, cas, is_resuming=name.is_resuming)
        name.waits_until, name.waits_because = None, ""
        if isinstance(decision, schedule.Obtain):
            self._agenda.ready(name, name.urgency)
            self._pause.end()  # it may be allowed what the others are not
            return
        if name.certificate is None or decision.until != name.certificate.renew_at:
            name.waits_until = decision.until
        self._agenda.wait(name, decision.until.timestamp())
        if tell and not name.is_valid(now):
            self._attempts.tell_failed(name, decision.until)

    def _plan_due(self) -> None:
        """
        Plan the names whose moment has come; after the wall clock was set, all that wait or are ready.
        """
        step_seconds = self._clock_steps.step_seconds(self._attempts.moment())
        if step_seconds:
            _log.warn("the wall clock was set by {seconds:.0f} s", seconds=step_seconds)
            self._go_by_new_clock(step_seconds)
        now = self._now()
        for name in self._agenda.due(now.timestamp()):
            self._plan(name, now)

    def _go_by_new_clock(self, step_seconds: float) -> None:
        now = self._now()
        self._authorities.shift(step_seconds)
        for name in self._names.values():
            if name.history is not NO_HISTORY:
                name.history = schedule.shifted(name.history, timedelta(seconds=step_seconds))
            if name not in self._running:
                self._plan(name, now, tell=True)

    def _turn(self) -> None:
        """
        Begin all the orders that may begin now, and set the timer for the next moment.
        """
        if self._is_turning or self._is_stopping:
            return
        self._is_turning = True
        try:
            self._plan_due()
            while (attempt := self._next()) is not None:
                self._begin(attempt)
        finally:
            self._is_turning = False
            self._set_timer()

    def _next(self) -> Attempt | None:
        """
        Give the attempt that gets the next slot, or None when no slot is left or nobody may begin.
        """
        while len(self._running) < self._parallel + RESERVED_FOR_CLIENTS:
            name = self._agenda.take_wanted()
            if name is None:
                break
            choice = self._authorities.choose(name, Priority.WAITING, self._now(), self._attempts.moment())
            if isinstance(choice, Attempt):
                return choice
            self._put_off(name, choice)
        while len(self._running) < self._parallel and self._pause.seconds_left(self._clock.seconds()) <= 0:
            name = self._agenda.take_ready()
            if name is None:
                break
            now = self._now()
            choice = self._authorities.choose(name, name.priority(now), now, self._attempts.moment())
            if isinstance(choice, Attempt):
                return choice
            if choice.scope in _EVERYBODY and len(self._authorities.cas) == 1:
                # All the others would be told the same; this one is still the most urgent.
                self._agenda.ready(name, name.urgency)
                self._pause.begin(choice, self._attempts.moment())
            else:
                self._put_off(name, choice)
        return None

    def _put_off(self, name: Standing, wait: NotBefore) -> None:
        """
        Have *name* wait for what a CA's limits or its outage ask for, and clients of it know.
        """
        name.wait_for(wait)
        self._agenda.wait(name, wait.moment)
        if name.waits_until is not None and not name.is_valid(self._now()):
            self._attempts.tell_failed(name, name.waits_until)

    def _set_timer(self) -> None:
        seconds = LOOK_AGAIN_SECONDS
        moment = self._agenda.next_moment()
        if moment is not None:
            seconds = min(seconds, max(0.0, moment - self._now().timestamp()))
        pause = self._pause.seconds_left(self._clock.seconds())
        if pause > 0 and self._agenda.is_anything_ready:
            seconds = min(seconds, pause)
        if self._wake is not None and self._wake.active():
            self._wake.reset(seconds)
        else:
            self._wake = self._clock.callLater(seconds, self._turn)

    # One attempt

    def _begin(self, attempt: Attempt) -> None:
        making = Deferred.fromCoroutine(self._attempts.make(attempt))
        self._running[attempt.name] = making
        making.addBoth(self._ended, attempt.name)

    def _ended(self, result: object, name: Standing) -> None:
        del self._running[name]
        # What a CA's limits and its breaker allow may be another thing now.
        self._pause.end()
        if isinstance(result, Failure) and not self._is_stopping:
            _log.failure("{name}: an attempt broke off", result, name=name.name)
        if not self._attempts.is_given_up(name):
            self._plan(name, self._now())
        self._turn()
