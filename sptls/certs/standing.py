"""
How a name stands with the renewer: its certificate, its history, the attempt that runs; and what people are told of it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import attrs

from sptls.certs import renewal_windows, schedule
from sptls.certs.diagnosis import unnamed, waiting
from sptls.certs.limits import Demand, Priority
from sptls.errors import Scope

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.diagnosis import Diagnosis
    from sptls.certs.limits import NotBefore
    from sptls.certs.records import History, RenewalAdvice, StoredCertificate
    from sptls.interfaces import Issued
    from sptls.names import HostName

State = Literal["valid", "renewing", "issuing", "failing", "waiting"]

# What a name says that waits with no failure on record: kills and crashes leave none.
_CUT_OFF: Final = "earlier attempts were cut off; the CA's limit of failed authorizations allows no other before"
# What a name says that a CA's limits, or its outage, make wait.
_WAITS_BECAUSE: Final = {
    Scope.NAME: "the CA's limits for this name allow no order before",
    Scope.REGISTERED_DOMAIN: "the CA's limits for its registered domain allow no order before",
    Scope.ACCOUNT: "the CA's limits for our account allow no order before",
    Scope.CA: "the CA does not answer, or wants no requests before",
}
# After every certificate that expires: the year 5138.
_NEVER_HAD_ONE: Final = 1e11


@attrs.frozen
class NameState:
    """
    How a name stands, for people; *directory* is the CA that its certificate came from, "" without one.

    One that is *waiting* has failed at nothing: its order is due, or its CA's limits put it off to *next_attempt_at*.
    *diagnosis* says what *last_error* means; None where all is well. *explanation_url* is where its CA explains when
    it wants the certificate renewed, "" where it does not. *failures* counts those since the last success.
    *dns_changed_at* is when the name's DNS was seen to have changed since it failed, until the next attempt has ended.
    """

    state: State
    not_after: datetime | None
    renew_at: datetime | None
    last_error: str
    next_attempt_at: datetime | None
    directory: str = ""
    diagnosis: Diagnosis | None = None
    explanation_url: str = ""
    failures: int = 0
    dns_changed_at: datetime | None = None


@attrs.define(eq=False)
class Standing:
    """
    What the renewer knows about a name.

    *is_issued_here* tells that its certificate is of this process's making, so that one that proves damaged is not
    ordered in a circle. With *is_given_up* the attempt that runs is not wanted any more. With *is_resuming* an
    earlier process's order is still under way. *failing_with* is the kind of the last failure: the log speaks when
    it changes. *waits_until* is set while a certificate that is needed must wait, *waits_because* to why where it
    was not a failure. *advice* is what its CA says of when to renew the certificate. *dns_changed_at* is when its DNS
    was seen to have changed since it failed.
    """

    name: HostName
    certificate: StoredCertificate | None
    history: History
    is_issued_here: bool = False
    is_removed: bool = False
    is_given_up: bool = False
    is_resuming: bool = False
    failing_with: str = ""
    waits_until: datetime | None = None
    waits_because: str = ""
    issuing: Deferred[Issued] | None = None
    advice: RenewalAdvice | None = None
    dns_changed_at: datetime | None = None

    def give_up(self) -> None:
        """
        End the attempt that runs, which is another CA's to make now.
        """
        self.is_given_up = True
        if self.issuing is not None:
            self.issuing.cancel()

    def take(self, certificate: StoredCertificate, history: History) -> None:
        """
        Take note of a new *certificate* of this process's making.
        """
        self.certificate, self.history, self.is_issued_here, self.failing_with = certificate, history, True, ""
        self.advice = self.dns_changed_at = None

    def adopt(self, certificate: StoredCertificate, history: History) -> None:
        """
        Take note of a *certificate* that another program obtained; an order that was cut off is of no use any more.
        """
        self.certificate, self.history, self.is_issued_here, self.is_resuming = certificate, history, False, False
        self.failing_with, self.advice, self.dns_changed_at = "", None, None

    def replaced_at(self, directory: str) -> CertificateBundle | None:
        """
        Give the certificate that a new one from *directory*'s CA will replace there, or None.
        """
        certificate = self.certificate
        return certificate.bundle if certificate is not None and certificate.directory == directory else None

    def is_valid(self, now: datetime) -> bool:
        """
        Tell whether it has a certificate that has not expired.
        """
        return self.certificate is not None and self.certificate.bundle.not_after > now

    @property
    def urgency(self) -> float:
        """
        Give a number that is less for those who go first: those that expire, those that never had one, and retries.
        """
        if self.certificate is not None:
            return self.certificate.bundle.not_after.timestamp()
        return math.inf if self.history.consecutive_failures else _NEVER_HAD_ONE

    def priority(self, now: datetime) -> Priority:
        """
        Tell what goes before it and what after, while no client waits for it.
        """
        if self.certificate is not None:
            return Priority.EXPIRING if schedule.is_near_expiry(self.certificate.bundle, now) else Priority.RENEWAL
        return Priority.RETRY if self.history.consecutive_failures else Priority.NEW

    def demand(self, priority: Priority, directory: str, now: datetime) -> Demand:
        """
        Give what an order from *directory*'s CA demands of that CA's limits.
        """
        replaced = self.replaced_at(directory)
        return Demand(
            self.name.text,
            priority,
            is_renewal=replaced is not None,
            follows_ari=replaced is not None and renewal_windows.follows(self.advice, replaced.serial, now),
            is_under_way=self.is_resuming and self.history.directory == directory,
        )

    def wait_for(self, wait: NotBefore) -> None:
        """
        Take note of what a CA's limits, or its outage, have it wait for.
        """
        self.waits_until, self.waits_because = datetime.fromtimestamp(wait.moment, UTC), _WAITS_BECAUSE[wait.scope]

    def state(self, now: datetime, *, is_running: bool, held_up: NotBefore | None = None) -> NameState:
        """
        Tell people how it stands; *is_running* says that an attempt is being made.

        *held_up* is what all names in the background wait for, where it is one of those.
        """
        if held_up is not None and not self.waits_until:
            waiting = attrs.evolve(self)
            waiting.wait_for(held_up)
            return waiting.state(now, is_running=is_running)
        certificate = self.certificate
        return NameState(
            state=self._word(is_valid=self.is_valid(now), is_running=is_running),
            not_after=None if certificate is None else certificate.bundle.not_after,
            renew_at=None if certificate is None else certificate.renew_at,
            last_error=self.history.last_error or self._waits_because,
            next_attempt_at=self.waits_until or self.history.next_attempt_at,
            directory="" if certificate is None else certificate.directory,
            diagnosis=self._diagnosis(),
            explanation_url="" if self.advice is None else self.advice.explanation_url,
            failures=self.history.consecutive_failures,
            dns_changed_at=self.dns_changed_at,
        )

    @property
    def _waits_because(self) -> str:
        return (self.waits_because or _CUT_OFF) if self.waits_until else ""

    def _diagnosis(self) -> Diagnosis | None:
        if self.history.last_error:
            return self.history.diagnosis or unnamed(self.history.last_error)
        return waiting(f"{self._waits_because} the next attempt") if self._waits_because else None

    def _word(self, *, is_valid: bool, is_running: bool) -> State:
        if is_running:
            return "renewing" if is_valid else "issuing"
        has_failed = self.history.consecutive_failures or (self.waits_until and self.history.last_error)
        if has_failed:  # also one whose back-off an operator has had forgotten, and that must wait all the same
            return "failing"
        return "valid" if is_valid and not self.waits_until else "waiting"
