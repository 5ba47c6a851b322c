"""
How a name stands with the renewer: its certificate, its history, the attempt that runs; and what people are told of it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import attrs

if TYPE_CHECKING:
    from datetime import datetime

    from twisted.internet.defer import Deferred

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import History, StoredCertificate
    from sptls.names import HostName

State = Literal["valid", "renewing", "issuing", "failing", "waiting"]

# What a name says that waits with no failure on record: kills and crashes leave none.
_CUT_OFF: Final = "earlier attempts were cut off; the CA's limit of failed authorizations allows no other before"


@attrs.frozen
class NameState:
    """
    How a name stands, for people; *directory* is the CA that its certificate came from, "" without one.
    """

    state: State
    not_after: datetime | None
    renew_at: datetime | None
    last_error: str
    next_attempt_at: datetime | None
    directory: str = ""


@attrs.define(eq=False)
class Standing:
    """
    What the renewer knows about a name.

    *is_issued_here* tells that its certificate is of this process's making, so that one that proves damaged is not
    ordered in a circle. *failing_with* is the kind of the last failure: the log speaks when it changes. *waits_until*
    is set while a certificate that is needed must wait.
    """

    name: HostName
    certificate: StoredCertificate | None
    history: History
    is_issued_here: bool = False
    is_removed: bool = False
    failing_with: str = ""
    waits_until: datetime | None = None
    issuing: Deferred[CertificateBundle] | None = None

    def is_valid(self, now: datetime) -> bool:
        """
        Tell whether it has a certificate that has not expired.
        """
        return self.certificate is not None and self.certificate.bundle.not_after > now

    @property
    def urgency(self) -> float:
        """
        Give the moment when something is lost: first those that expire, then those that never had one.
        """
        return math.inf if self.certificate is None else self.certificate.bundle.not_after.timestamp()

    def state(self, now: datetime, *, is_running: bool) -> NameState:
        """
        Tell people how it stands; *is_running* says that an attempt is being made.
        """
        certificate = self.certificate
        return NameState(
            state=self._word(is_valid=self.is_valid(now), is_running=is_running),
            not_after=None if certificate is None else certificate.bundle.not_after,
            renew_at=None if certificate is None else certificate.renew_at,
            last_error=self.history.last_error or (_CUT_OFF if self.waits_until else ""),
            next_attempt_at=self.waits_until or self.history.next_attempt_at,
            directory="" if certificate is None else certificate.directory,
        )

    def _word(self, *, is_valid: bool, is_running: bool) -> State:
        if is_running:
            return "renewing" if is_valid else "issuing"
        if self.history.consecutive_failures or self.waits_until:
            return "failing"
        return "valid" if is_valid else "waiting"
