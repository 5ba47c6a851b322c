"""
One configured CA: who issues there, what its limits allow, and whether it answers at all.

Joins an issuer with the books of its limits (`limits`) and its circuit breaker (`breaker`): it says whether an order
may begin, and learns from what became of it. Does no I/O; the books' changes are the renewer's to store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs.breaker import Breaker
from sptls.certs.limits import NotBefore
from sptls.errors import (
    AcmeError,
    AcmeProblem,
    AcmeUnreachable,
    IssuanceFailed,
    OrderCancelled,
    PrecheckFailed,
    Scope,
    SptlsError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sptls.certs.limits import Demand, Ledger
    from sptls.interfaces import IIssuer

# A limit of the CA's that does not say how long it lasts.
UNKNOWN_LIMIT_SECONDS: Final = 60.0
# Less would be lost in epoch seconds, which are good to a quarter of a microsecond: a wait that is over when it begins.
_SHORTEST_WAIT_SECONDS: Final = 0.001
# A CA that asks for more is asked again after a day all the same: its limits refill, its clock may be wrong.
LONGEST_BLOCK_SECONDS: Final = 86400.0
# Whoever is behind these refuses every name alike.
_EVERYBODY: Final = frozenset({Scope.ACCOUNT, Scope.CA})


@attrs.frozen
class Moment:
    """
    One moment on both clocks: *wall* is epoch seconds, *monotonic* the reactor's.
    """

    wall: float
    monotonic: float


@attrs.define(eq=False)
class Authority:
    """
    A CA that may be asked; *challenge_types* tells how many authorizations one attempt may fail there.

    *random* gives numbers in [0, 1).
    """

    issuer: IIssuer
    challenge_types: int
    ledger: Ledger
    random: Callable[[], float]
    breaker: Breaker = attrs.field(factory=Breaker)

    @property
    def directory(self) -> str:
        """
        Give the CA's directory URL.
        """
        directory: str = self.issuer.directory
        return directory

    def not_before(self, demand: Demand, now: Moment) -> NotBefore | None:
        """
        Tell what an order has to wait for, or None when it may begin *now*.
        """
        until = self.breaker.open_until(now.monotonic)
        if until is not None:
            return NotBefore(now.wall + max(until - now.monotonic, _SHORTEST_WAIT_SECONDS), Scope.CA)
        return self.ledger.earliest(self._at_most(demand), now.wall)

    def began(self, demand: Demand, now: Moment) -> None:
        """
        Count the orders that an attempt may need: each challenge type that fails costs one.
        """
        self.breaker.began()
        self.ledger.spend(self._at_most(demand), now.wall)

    def withdrew(self, demand: Demand) -> None:
        """
        Take note that an order which was counted was not made: the process that was about to make it ended.
        """
        self.ledger.give_back(demand)
        self.ledger.give_back_orders(demand, self._at_most(demand).orders)

    def issued(self, demand: Demand, orders: int) -> None:
        """
        Take note that a certificate came, after so many new *orders*.
        """
        self.ledger.give_back_orders(demand, self._at_most(demand).orders - orders)
        self.breaker.answered()

    def failed(self, demand: Demand, error: BaseException, now: Moment) -> None:
        """
        Learn from what ended an order without a certificate.
        """
        self.ledger.give_back(demand)
        if isinstance(error, IssuanceFailed):  # otherwise nobody knows
            self.ledger.give_back_orders(demand, self._at_most(demand).orders - error.orders)
        cause = error.cause if isinstance(error, IssuanceFailed) else error
        if isinstance(cause, OrderCancelled | PrecheckFailed) or not isinstance(cause, SptlsError):
            self.breaker.given_up()
        elif isinstance(cause, AcmeProblem) and cause.type == "rateLimited":
            self._learn(demand, cause, now)
        elif isinstance(cause, AcmeUnreachable) or (isinstance(cause, AcmeError) and cause.scope in _EVERYBODY):
            self.breaker.failed(now.monotonic, self.random(), cause.retry_after_seconds or 0.0)
        else:
            self.breaker.answered()

    def _at_most(self, demand: Demand) -> Demand:
        return attrs.evolve(demand, orders=max(1, self.challenge_types))

    def _learn(self, demand: Demand, problem: AcmeProblem, now: Moment) -> None:
        """
        Obey a limit for exactly what it concerns.
        """
        self.breaker.answered()
        concern = problem.concern
        until = _epoch(concern.retry_at) or now.wall + (problem.retry_after_seconds or UNKNOWN_LIMIT_SECONDS)
        until = min(max(until, now.wall), now.wall + LONGEST_BLOCK_SECONDS)
        self.ledger.block(concern.scope, concern.subject or demand.name, until)


def _epoch(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
