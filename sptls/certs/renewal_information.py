"""
Asks CAs when they want their certificates renewed (RFC 9773), and has the renewer go by what they say.

When a certificate is asked about and what an answer means is `renewal_windows`' to say; a few questions run at a time,
and none is put to a CA that is out. What came is stored before the renewer hears of it, so that a moment is drawn once.
Nothing that goes wrong ends the asking: a certificate of which no CA says anything is renewed at its usual moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.certs import renewal_windows
from sptls.certs.agenda import Agenda
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.certs.authority import Authority
    from sptls.certs.records import RenewalAdvice, RenewalInfo, StoredCertificate
    from sptls.clock import WallClock
    from sptls.names import HostName

_log = Logger()

# Nobody waits for an answer, and the CA's front end is for orders first.
PARALLEL: Final = 4
# Twice what an issuer may take.
QUESTION_SECONDS: Final = 60.0
# The wall clock may be set while a timer sleeps on monotonic seconds, so no sleep is longer.
LOOK_AGAIN_SECONDS: Final = 3600.0


class AdviceStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def put_renewal(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Store what a CA says of a certificate, and when that one is due.
        """


class RenewingParty(Protocol):
    """
    What is needed of `sptls.certs.renewer.Renewer`.
    """

    def certificate(self, name: HostName) -> StoredCertificate | None:
        """
        Give a name's certificate.
        """

    def authority(self, directory: str) -> Authority | None:
        """
        Give a CA that may be asked.
        """

    def reschedule(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Renew a certificate at another moment.
        """


class RenewalQuestions:
    """
    Asks about the certificates of *renewer*, from `start` to `stop`. *random* gives numbers in [0, 1).
    """

    def __init__(
        self,
        renewer: RenewingParty,
        store: AdviceStore,
        clock: IReactorTime,
        now: WallClock,
        random: Callable[[], float],
    ) -> None:
        self._renewer, self._store, self._clock, self._now, self._random = renewer, store, clock, now, random
        # Internal state
        self._advices: dict[HostName, RenewalAdvice] = {}
        self._agenda: Agenda[HostName] = Agenda()
        self._names: set[HostName] = set()
        self._running: set[Deferred[None]] = set()
        self._wake: IDelayedCall | None = None
        self._is_running = self._is_turning = self._is_failing = False

    def start(self, names: Iterable[HostName], advices: Mapping[HostName, RenewalAdvice]) -> None:
        """
        Begin to ask about the certificates of *names*, each at its own moment; *advices* are what was stored.
        """
        self._is_running = True
        self._names = set(names)
        self._advices = {name: advice for name, advice in advices.items() if name in self._names}
        for name in self._names:
            if self._renewer.certificate(name) is not None:  # there may be none of 90,000
                self._plan(name)
        self._turn()

    async def stop(self) -> None:
        """
        Ask no more, and give up the questions that run.
        """
        self._is_running = False
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        for asking in list(self._running):
            asking.cancel()

    def changed(self, name: HostName) -> None:
        """
        Take note that *name* has a new certificate.
        """
        if name in self._names:
            self._plan(name)
            self._turn()

    def set_names(self, names: Iterable[HostName], advices: Mapping[HostName, RenewalAdvice]) -> None:
        """
        Ask about the certificates of exactly *names* from now on; *advices* are what was stored of new ones.
        """
        wanted = set(names)
        for name in self._names - wanted:
            self._agenda.drop(name)
            self._advices.pop(name, None)
        added, self._names = wanted - self._names, wanted
        for name in added:
            if name in advices:
                self._advices[name] = advices[name]
            self._plan(name)
        self._turn()

    def _plan(self, name: HostName) -> None:
        """
        Have *name*'s certificate, if there is one, asked about at its first moment.
        """
        certificate = self._renewer.certificate(name)
        if certificate is None:
            self._agenda.drop(name)
            return
        moment = renewal_windows.first_question(certificate.bundle.serial, self._advices.get(name), self._now())
        self._agenda.wait(name, moment.timestamp())

    def _turn(self) -> None:
        """
        Ask what is due, as far as there is room, and set the timer for the next moment.
        """
        if not self._is_running or self._is_turning:
            return
        self._is_turning = True
        for name in self._agenda.due(self._now().timestamp()):
            self._agenda.ready(name, 0.0)
        while len(self._running) < PARALLEL and (ready := self._agenda.take_ready()) is not None:
            self._ask_about(ready)
        self._is_turning = False
        self._set_timer()

    def _set_timer(self) -> None:
        seconds = LOOK_AGAIN_SECONDS
        moment = self._agenda.next_moment()
        if moment is not None:
            seconds = min(seconds, max(0.0, moment - self._now().timestamp()))
        if self._wake is not None and self._wake.active():
            self._wake.reset(seconds)
        else:
            self._wake = self._clock.callLater(seconds, self._turn)

    def _ask_about(self, name: HostName) -> None:
        certificate = self._renewer.certificate(name)
        if certificate is None:
            return
        serial, now = certificate.bundle.serial, self._now()
        authority = self._renewer.authority(certificate.directory)
        # Whatever comes of this question, or keeps it from being put, there is a next one.
        self._agenda.wait(name, (now + renewal_windows.HALF_DAY).timestamp())
        if authority is None or certificate.bundle.not_after <= now:
            return
        if authority.breaker.open_until(self._clock.seconds()) is not None:
            later = renewal_windows.place_after(serial, now, renewal_windows.CATCH_UP)
            self._agenda.wait(name, later.timestamp())
            return
        asking = Deferred.fromCoroutine(self._ask(name, certificate, authority))
        self._running.add(asking)
        asking.addBoth(self._ended, asking, name)

    def _ended(self, result: object, asking: Deferred[None], name: HostName) -> None:
        self._running.discard(asking)
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.failure("{name}: asking when to renew its certificate broke off", result, name=name)
        self._turn()

    async def _ask(self, name: HostName, certificate: StoredCertificate, authority: Authority) -> None:
        question: Deferred[RenewalInfo | None] = Deferred.fromCoroutine(
            authority.issuer.renewal_info(certificate.bundle)
        )
        try:
            info = await question.addTimeout(QUESTION_SECONDS, self._clock)
        except DeferredTimeoutError:
            return
        # Meanwhile there may be another certificate, or another moment for this one.
        current = self._renewer.certificate(name)
        if info is None or name not in self._names or current is None or current.bundle != certificate.bundle:
            return
        await self._take(name, current, info)

    async def _take(self, name: HostName, certificate: StoredCertificate, info: RenewalInfo) -> None:
        serial = certificate.bundle.serial
        judgement = renewal_windows.judge(info, self._advices.get(name), certificate, self._now(), self._random())
        advice, renew_at = judgement.advice, judgement.renew_at
        self._advices[name] = advice
        self._agenda.wait(name, advice.ask_again_at.timestamp())
        try:
            await self._store.put_renewal(name, serial, renew_at, advice)
        except StoreError as error:
            if not self._is_failing:
                _log.error("{error}; until then a restart draws the moments of renewals once more", error=error)
            self._is_failing = True
        else:
            self._is_failing = False
        if renew_at < certificate.renew_at:
            _log.info(
                "{name}: the CA wants its certificate renewed by {end:%Y-%m-%d %H:%M} UTC, so that is done at "
                "{renew_at:%Y-%m-%d %H:%M} UTC instead of {before:%Y-%m-%d %H:%M} UTC{why}",
                name=name,
                end=advice.end,
                renew_at=renew_at,
                before=certificate.renew_at,
                why=f"; see {advice.explanation_url}" if advice.explanation_url else "",
            )
        self._renewer.reschedule(name, serial, renew_at, advice)
