"""
Which of the names that certificates were asked for have come to an end, and to which one. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sptls.cli import wording
from sptls.cli.domain import UNDER_WAY
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sptls.cli.domain import Domain


_PASSED_THROUGH: Final = "is passed through, nothing is ordered: its certificate is the other server's"


@attrs.frozen
class Settled:
    """
    What became of *name*, in *words*; *is_fine* when it has a certificate that can be served.
    """

    name: str
    is_fine: bool
    words: str

    def __str__(self) -> str:
        return f"{self.name}: {self.words}"


def _in_order(names: Iterable[str]) -> dict[str, None]:
    return dict.fromkeys(names)


@attrs.define(eq=False)
class Tally:
    """
    The names that are wanted: those that are *pending*, in order, and how many have *failed*.

    *replaced* has the serial numbers of certificates that are not what is wanted, by their names.
    """

    pending: dict[str, None] = attrs.field(converter=_in_order)
    failed: int = 0
    replaced: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)

    @property
    def names(self) -> tuple[HostName, ...]:
        """
        Give what is pending.
        """
        return tuple(HostName(name) for name in self.pending)

    def begin(self, domains: Iterable[Domain], now: datetime) -> tuple[Settled, ...]:
        """
        Take how *domains* stand before anything is asked for, and give those for which nothing has to be.
        """
        return tuple(
            self._end(_left_alone(domain, now))
            for domain in domains
            if domain.name in self.pending and domain.needs_no_order(now)
        )

    def leave_own(self, domains: Iterable[Domain], now: datetime) -> tuple[Settled, ...]:
        """
        Settle as failed those of *domains* whose certificate is not ours to replace: the operator's, another server's.
        """
        words = "brings its own certificate, which is yours to renew; valid until"
        return tuple(
            self._end(
                Settled(
                    domain.name,
                    is_fine=False,
                    words=_PASSED_THROUGH if domain.is_passed_through else f"{words} {wording.validity(domain, now)}",
                )
            )
            for domain in domains
            if not domain.is_ordered
        )

    def take(self, domains: Iterable[Domain], now: datetime) -> tuple[Settled, ...]:
        """
        Take how *domains* stand *now*, and give those that have come to an end with it.
        """
        wanted = [domain for domain in domains if domain.name in self.pending and not self._is_still_old(domain)]
        ends = [outcome(domain, now) for domain in wanted]
        return tuple(self._end(end) for end in ends if end is not None)

    def give_up(self, words: str, *, but: Iterable[Domain] = ()) -> tuple[Settled, ...]:
        """
        Settle as failed, with *words*, all that is pending *but* these.
        """
        spared = {domain.name for domain in but}
        given_up = [name for name in self.pending if name not in spared]
        return tuple(self._end(Settled(name, is_fine=False, words=words)) for name in given_up)

    def _is_still_old(self, domain: Domain) -> bool:
        """
        Tell whether another certificate than the domain has is still on its way: nothing failed, or is put off.
        """
        if domain.state == "failing" or domain.is_put_off:
            return False
        return domain.serial != "" and domain.serial == self.replaced.get(domain.name)

    def _end(self, end: Settled) -> Settled:
        del self.pending[end.name]
        self.failed += not end.is_fine
        return end


def outcome(domain: Domain, now: datetime) -> Settled | None:
    """
    Tell what a name that was asked for has come to, or None while an order is under way.

    One that its CA's limits put off has come to an end too: that may take days.
    """
    if domain.state in UNDER_WAY and not domain.is_put_off:
        return None
    if attrs.evolve(domain, deploy_problem="").is_fine(now) and not domain.is_put_off:
        deployment = f"; deployment: {wording.plain(domain.deploy_problem)}" if domain.deploy_problem else ""
        words = f"issued by {wording.issuer(domain)}; valid until {wording.validity(domain, now)}{deployment}"
        return Settled(domain.name, domain.is_fine(now), words)
    reason = wording.plain(domain.problem) or "no reason is known; see the daemon's log"
    what = "waits" if domain.is_put_off else "failed"
    return Settled(domain.name, is_fine=False, words=f"{what}: {reason}; next: {wording.next_step(domain, now)}")


def _left_alone(domain: Domain, now: datetime) -> Settled:
    if domain.is_passed_through:
        return Settled(domain.name, is_fine=True, words=_PASSED_THROUGH)
    words = "brings its own certificate" if domain.is_own else "has a certificate already"
    problem = f"; {wording.plain(domain.problem)}" if domain.problem else ""
    until = wording.validity(domain, now)
    return Settled(domain.name, domain.is_fine(now), f"{words}, nothing is ordered; valid until {until}{problem}")
