"""
One attempt to get a certificate for a name, from the record that it begins to what it leaves behind.

Runs what the renewer decided on: notes the attempt in the store before the CA hears of it, has the issuer make the
certificate, stores it and has it served; or notes the failure, with its next attempt. A full disk loses nothing that
was paid for, and whatever goes wrong ends in a history: only a stop or a removal leaves none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from sptls.certs import schedule
from sptls.certs.authority import Moment
from sptls.certs.calendar import Calendar
from sptls.certs.limits import Priority
from sptls.certs.records import StoredCertificate
from sptls.errors import IssuanceFailed, OrderCancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from twisted.internet.interfaces import IReactorTime

    from sptls.certs.authorities import Attempt
    from sptls.certs.authority import Authority
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Finding
    from sptls.certs.recorder import Recorder
    from sptls.certs.standing import Standing
    from sptls.clock import WallClock
    from sptls.interfaces import Issued
    from sptls.names import HostName

_log = Logger()


class Look(Protocol):
    """
    A look at a name from here; it ends in seconds.
    """

    async def gate(self, name: HostName, directory: str) -> None:
        """
        Let an order for *name* at *directory*'s CA begin.

        Raises:
            IssuanceFailed: it must not; the CA was not asked.
        """

    async def explain(self, name: HostName, directory: str, error: BaseException) -> tuple[Finding, ...]:
        """
        Give what may explain that an order for *name* at *directory*'s CA ended with *error*; raises nothing.
        """


@attrs.define(eq=False)
class Attempts:
    """
    Where attempts are made; see `Renewer` for *issued*, *failed* and *look*. With *is_stopping* nothing is begun any
    more.
    """

    recorder: Recorder
    clock: IReactorTime
    now: WallClock
    random: Callable[[], float]
    issued: Callable[[HostName, CertificateBundle], None]
    failed: Callable[[HostName, datetime, str], None]
    look: Look | None = None
    is_stopping: bool = False
    calendar: Calendar = attrs.field(factory=Calendar)

    def moment(self) -> Moment:
        """
        Give this moment on both clocks.
        """
        return Moment(self.now().timestamp(), self.clock.seconds())

    async def make(self, attempt: Attempt) -> None:
        """
        Make *attempt*; nothing that goes wrong with it is raised.
        """
        name = attempt.name
        try:
            await self._obtain(attempt)
        except CancelledError as error:
            # Its cost is not known: in the store it stays as begun.
            attempt.authority.failed(attempt.demand, error, self.moment())
            if not self.is_given_up(name):
                await self._fail(attempt, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, this name waits and the others go on
            attempt.authority.failed(attempt.demand, error, self.moment())
            has_cost_nothing = isinstance(error, IssuanceFailed) and isinstance(error.cause, OrderCancelled)
            if not (has_cost_nothing and self.is_given_up(name)):
                await self._fail(attempt, error)
            else:
                name.history = schedule.withdrawn(name.history)
                await self.recorder.history(name.name, name.history, self._changes(attempt.authority))
        if name.is_given_up and name.history.consecutive_failures:
            self.tell_failed(name, self.now())  # another CA is asked now, and clients may wait for that one
        name.is_given_up = False
        self.recorder.limits(attempt.authority.directory, attempt.authority.ledger.take_changes())

    def withdraw(self, name: Standing, authority: Authority | None) -> None:
        """
        Count nothing of *name*'s attempt at *authority* that a process began which ended before there was an order.
        """
        name.history = schedule.withdrawn(name.history)
        limits = {}
        if authority is not None:
            authority.withdrew(name.demand(Priority.NEW, authority.directory, self.now()))
            limits = self._changes(authority)
        self.recorder.corrected(name.name, name.history, limits)

    def _changes(self, authority: Authority) -> dict[str, dict[str, float]]:
        """
        Give what changed in *authority*'s ledger, by its directory.
        """
        return {authority.directory: authority.ledger.take_changes()}

    def expect(self, name: Standing) -> None:
        """
        Reckon with what is planned for *name* when others are.
        """
        if name.certificate is not None:
            self.calendar.add(name.certificate.renew_at)
        if name.history.next_attempt_at is not None:
            self.calendar.add(name.history.next_attempt_at)

    def is_given_up(self, name: Standing) -> bool:
        """
        Tell whether nobody wants a certificate for *name* here any more.
        """
        return self.is_stopping or name.is_removed or name.is_given_up

    async def _obtain(self, attempt: Attempt) -> None:
        name, authority = attempt.name, attempt.authority
        authority.began(attempt.demand, self.moment())
        name.history = schedule.started(
            name.history,
            self.now(),
            directory=authority.directory,
            challenge_types=authority.challenge_types,
            is_resuming=name.is_resuming,
        )
        name.is_resuming = False
        if name.history.consecutive_failures and not name.is_valid(self.now()):
            # A client would wait for what most probably fails again, and the CA takes its time to say so.
            self.tell_failed(name, self.now() + schedule.LONGEST_ATTEMPT)
        error = await self.recorder.history(name.name, name.history, self._changes(authority))
        if error is not None and name.is_valid(self.now()):
            # Nobody waits for it, and an order of which no restart knows may be repeated at each.
            raise error
        if self.is_given_up(name):  # meanwhile; nothing has begun that could be cancelled
            raise IssuanceFailed(OrderCancelled())
        issued = await self._issue(attempt)
        authority.issued(attempt.demand, issued.orders)
        await self._keep(attempt, issued)

    async def _issue(self, attempt: Attempt) -> Issued:
        name, issuer = attempt.name, attempt.authority.issuer

        async def order() -> Issued:
            if self.look is not None:
                await self.look.gate(name.name, issuer.directory)
            replaced, types = name.replaced_at(issuer.directory), attempt.challenge_types
            issued: Issued = await issuer.obtain(name.name, replaces=replaced, challenge_types=types)
            return issued

        issuing: Deferred[Issued] = Deferred.fromCoroutine(order())
        name.issuing = issuing.addTimeout(schedule.LONGEST_ATTEMPT.total_seconds(), self.clock)
        try:
            return await name.issuing
        except DeferredTimeoutError:
            raise TimeoutError from None
        finally:
            name.issuing = None

    async def _keep(self, attempt: Attempt, issued: Issued) -> None:
        """
        Store and serve a new certificate; serve it all the same when the disk does not take it.
        """
        name, bundle, now = attempt.name, issued.bundle, self.now()
        moments = (
            schedule.renewal_moment(bundle.not_before, bundle.not_after, now, self.random())
            for _ in range(schedule.MOMENTS_DRAWN)
        )
        renew_at = self.calendar.quietest(moments, now)
        certificate = StoredCertificate(name.name, bundle, attempt.authority.directory, renew_at)
        history = schedule.after_success(name.history, now, failed_authorizations=issued.failed_authorizations)
        await self.recorder.certificate(certificate, history, self._changes(attempt.authority))
        if name.is_removed:
            return
        is_first = name.certificate is None
        name.take(certificate, history)
        _log.info(
            "{name}: certificate {word} by {issuer}, valid until {not_after:%Y-%m-%d %H:%M:%S} UTC",
            name=name.name,
            word="issued" if is_first else "renewed",
            issuer=bundle.issuer,
            not_after=bundle.not_after,
        )
        self.tell_issued(name, bundle)

    async def _fail(self, attempt: Attempt, error: BaseException) -> None:
        name = attempt.name
        findings: tuple[Finding, ...] = ()
        if self.look is not None and not self.is_given_up(name):
            findings = await self.look.explain(name.name, attempt.authority.directory, error)
        failure = schedule.Failure.of(error, attempt.challenge_types, findings)
        if failure.is_unexpected:
            _log.failure("{name}: unexpected while obtaining a certificate", name=name.name)
        until = self.note_failure(name, failure, attempt.authority.challenge_types)
        if not attempt.has_next:  # clients that wait may be served by the next CA
            self.tell_failed(name, until)
        await self.recorder.history(name.name, name.history, self._changes(attempt.authority))

    def note_failure(self, name: Standing, failure: schedule.Failure, challenge_types: int) -> datetime:
        """
        Have *name* wait because of *failure* until the moment that is given, and say so where it is news.
        """
        now, certificate, name.dns_changed_at = self.now(), name.certificate, None
        drawn = [
            schedule.after_failure(
                name.history,
                failure,
                now,
                not_after=None if certificate is None else certificate.bundle.not_after,
                challenge_types=challenge_types,
                fraction=self.random(),
            )
            for _ in range(schedule.ATTEMPTS_DRAWN)
        ]
        until = self.calendar.quietest([one.next_attempt_at or now for one in drawn], now)
        name.history = next(one for one in drawn if (one.next_attempt_at or now) == until)
        if failure.kind != name.failing_with:
            name.failing_with = failure.kind
            _log.warn(
                "{name}: no {what}: {error}{meaning}; next attempt at {until:%Y-%m-%d %H:%M:%S} UTC",
                name=name.name,
                what="certificate" if name.certificate is None else "new certificate",
                error=failure.error,
                meaning=failure.meaning,
                until=until,
            )
        return until

    def tell_issued(self, name: Standing, bundle: CertificateBundle) -> None:
        """
        Have *name*'s new certificate served.
        """
        try:
            self.issued(name.name, bundle)
        except Exception:  # noqa: BLE001 - a fault there must not end the loop here
            _log.failure("{name}: its certificate could not be put in service", name=name.name)

    def tell_failed(self, name: Standing, until: datetime) -> None:
        """
        Have clients of *name* know that nothing new comes before *until*.
        """
        try:
            self.failed(name.name, until, name.history.last_error)
        except Exception:  # noqa: BLE001 - a fault there must not end the loop here
            _log.failure("{name}: its failure could not be told", name=name.name)
