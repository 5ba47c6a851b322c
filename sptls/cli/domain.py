"""
A domain as ``/status`` tells of it, and whether a monitor is to worry about it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

# An order is due, and may wait for what its CA's limits allow.
_WAITING: Final = "waiting"
# An order runs or is due; somebody has to look; all other words mean that nothing is amiss.
UNDER_WAY: Final = ("issuing", "renewing", "replacing", _WAITING)
AMISS: Final = ("failing", "faulty", "expired")
# The source of a certificate that the operator brings.
OWN: Final = "own"
# That of a name whose connections go to another server untouched.
PASSED_THROUGH: Final = "passthrough"


@attrs.frozen
class Domain:
    """
    One domain of a status; the texts are "" where there is nothing to say.

    *deploy_problem* is why its files for another server are not in place, or why that one does not read them yet.
    *cause*, *who* and *advice* are what the problem means (`certs.diagnosis`); a daemon of an older sptls says none.
    *dns_changed_at* is when the DNS of a name that failed was seen to have changed, so that it is tried again.
    """

    name: str
    state: str
    source: str
    issuer: str = ""
    not_after: datetime | None = None
    renew_at: datetime | None = None
    next_attempt_at: datetime | None = None
    problem: str = ""
    deploy_problem: str = ""
    cause: str = ""
    who: str = ""
    advice: str = ""
    explanation_url: str = ""
    serial: str = ""
    dns_changed_at: datetime | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Domain:
        """
        Read what ``/status`` says of a domain; what a newer daemon says beside it is left out.

        Raises:
            ValueError: it is no such thing.
        """
        try:
            return cls(
                str(told["name"]),
                str(told["state"]),
                str(told["source"]),
                _text(told["issuer"]),
                _moment(told["not_after"]),
                _moment(told["renew_at"]),
                _moment(told["next_attempt_at"]),
                _text(told["problem"]),
                _text((told.get("deployment") or {}).get("problem")),
                cause=_text(told.get("cause")),
                who=_text(told.get("who")),
                advice=_text(told.get("advice")),
                explanation_url=_text(told.get("explanation_url")),
                serial=_text(told.get("serial")),
                dns_changed_at=_moment(told.get("dns_changed_at")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the status of a domain ({type(error).__name__})") from None

    @property
    def is_own(self) -> bool:
        """
        Tell whether the operator brings its certificate.
        """
        return self.source == OWN

    @property
    def is_passed_through(self) -> bool:
        """
        Tell whether another server has it, certificate and all.
        """
        return self.source == PASSED_THROUGH

    @property
    def is_ordered(self) -> bool:
        """
        Tell whether its certificate is obtained here.
        """
        return not (self.is_own or self.is_passed_through)

    @property
    def is_put_off(self) -> bool:
        """
        Tell whether it has failed at nothing, and waits for its CA's limits, or its outage, until the next attempt.
        """
        return self.state == _WAITING and self.next_attempt_at is not None

    def needs_no_order(self, now: datetime) -> bool:
        """
        Tell whether an order now would be one too many: its certificate is not ours, or is valid and not yet due.
        """
        is_due = self.renew_at is not None and self.renew_at <= now
        return not self.is_ordered or (self.state == "valid" and not is_due)

    def is_fine(self, now: datetime) -> bool:
        """
        Tell whether nobody needs to look: nothing fails, and no client gets an expired certificate.

        One that has no certificate yet and no failure is fine, since its first order is under way; unless that is put
        off. A renewal that is put off is fine while the certificate lasts.
        """
        has_expired = self.not_after is not None and self.not_after <= now
        return self.state not in AMISS and not has_expired and not self._is_late and not self.deploy_problem

    @property
    def _is_late(self) -> bool:
        """
        Tell whether there is no valid certificate any more when a wait for the CA's limits ends.
        """
        if not (self.is_put_off and self.next_attempt_at):
            return False
        return self.not_after is None or self.not_after <= self.next_attempt_at


def _text(told: object) -> str:
    return "" if told is None else str(told)


def _moment(told: object) -> datetime | None:
    if told is None:
        return None
    return datetime.strptime(str(told), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
