"""
A domain as ``/status`` tells of it, and whether a monitor is to worry about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

# An order is due, and may wait for what its CA's limits allow.
_WAITING: Final = "waiting"
# An order runs or is due; somebody has to look; all other words mean that nothing is amiss.
UNDER_WAY: Final = ("issuing", "renewing", "replacing", _WAITING)
AMISS: Final = ("failing", "faulty", "expired")
# The source of a certificate that the operator brings.
OWN: Final = "own"
# That of a name whose connections go to another server untouched.
PASSED_THROUGH: Final = "passthrough"
# Stands for a state of which a daemon of another version says nothing.
NOT_TOLD: Final = "not told"

# Every version says these, of every domain; the first two are never null.
_WORDS: Final = ("state", "source")
_NEVER_LEFT_OUT: Final = (*_WORDS, "issuer", "not_after", "renew_at", "next_attempt_at", "problem")
_DECISIVE: Final = frozenset({*_NEVER_LEFT_OUT, "serial", "deployment"})


def _text(told: object) -> str | None:
    return told if isinstance(told, str) else None


def _moment(told: object) -> datetime | None:
    try:
        return datetime.strptime(str(told), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _deploy_problem(told: object) -> str | None:
    if not isinstance(told, Mapping):
        return None
    problem = told.get("problem")
    return "" if problem is None else _text(problem)


# How each key is read whose value is not null; None stands for a value that is not understood.
_READ: Final[Mapping[str, Callable[[object], Any]]] = {
    **dict.fromkeys((*_WORDS, "issuer", "problem", "cause", "who", "advice", "explanation_url", "serial"), _text),
    **dict.fromkeys(("not_after", "renew_at", "next_attempt_at", "dns_changed_at"), _moment),
    "deployment": _deploy_problem,
}


@attrs.frozen
class Domain:
    """
    One domain of a status; the texts are "" where there is nothing to say.

    *deploy_problem* is why its files for another server are not in place, or why that one does not read them yet.
    *cause*, *who* and *advice* are what the problem means (`certs.diagnosis`); a daemon of an older sptls says none.
    *dns_changed_at* is when the DNS of a name that failed was seen to have changed, so that it is tried again.
    *unread* are the keys of what a daemon of another version left out, or said in a way that is not understood here.
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
    unread: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Domain:
        """
        Read what ``/status`` says of a domain, whichever version of sptls says it: as much of it as is understood.

        Raises:
            ValueError: it is no such thing.
        """
        match told:
            case {"name": str(name)}:
                pass
            case _:
                raise ValueError("not the status of a domain: it has no name")
        found = {key: read(told[key]) for key, read in _READ.items() if told.get(key) is not None}
        unread = [key for key in _NEVER_LEFT_OUT if key not in told or (key in _WORDS and not told[key])]
        unread += [key for key, value in found.items() if value is None and key not in unread]
        known = {key: value for key, value in found.items() if value is not None}
        return cls(
            name,
            known.pop("state", "") or NOT_TOLD,
            known.pop("source", ""),
            deploy_problem=known.pop("deployment", ""),
            unread=tuple(unread),
            **known,
        )

    @property
    def is_whole(self) -> bool:
        """
        Tell whether all is understood that anything is decided by.
        """
        return _DECISIVE.isdisjoint(self.unread)

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
        Tell whether nobody needs to look: nothing fails, no client gets an expired certificate, and all is understood.

        One that has no certificate yet and no failure is fine, since its first order is under way; unless that is put
        off. A renewal that is put off is fine while the certificate lasts.
        """
        has_expired = self.not_after is not None and self.not_after <= now
        is_amiss = self.state in AMISS or has_expired or self._is_late or bool(self.deploy_problem)
        return self.is_whole and not is_amiss

    @property
    def _is_late(self) -> bool:
        """
        Tell whether there is no valid certificate any more when a wait for the CA's limits ends.
        """
        if not (self.is_put_off and self.next_attempt_at):
            return False
        return self.not_after is None or self.not_after <= self.next_attempt_at
