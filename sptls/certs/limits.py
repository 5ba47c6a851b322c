"""
The CA's rate limits as token buckets: what may be ordered now, who goes first, what a 429 taught. Pure.

Each bucket is one number, the moment when it is full again (GCRA); the store keeps these moments, so that a restart
forgets nothing. Moments are epoch seconds of the wall clock. A `Demand` is one order; `Ledger.earliest` says when the
CA's limits allow it, `spend` and `give_back` keep the books. What the CA itself said (`block`) goes before all buckets.

Figures: Let's Encrypt's documents, August 2026. Failed authorizations are counted per name, in `schedule`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import attrs

from sptls.errors import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DAY: Final = 86400.0


class Priority(IntEnum):
    """
    Who gets what the CA allows, from first to last.
    """

    WAITING = 0  # a client waits for it
    EXPIRING = 1  # little life is left
    RENEWAL = 2
    NEW = 3
    RETRY = 4  # the last attempt failed


# The part of a bucket that is left for those who go before. A click must find an order free when a hundred dead names
# are being retried; renewals that follow ARI need none, and the others cost nothing of the account's.
_LEFT_FOR_OTHERS: Final[Mapping[Priority, float]] = {
    Priority.WAITING: 0.0,
    Priority.EXPIRING: 0.0,
    Priority.RENEWAL: 0.02,
    Priority.NEW: 0.05,
    Priority.RETRY: 0.2,
}
# Orders arrive at the CA later than we count them, and not equally late: one token less than it has, and half a percent
# slower, where a bucket has tokens to spare.
_SPARE_FROM: Final = 20
_SLOWER: Final = 1.005
# Sums of epoch seconds are good to less than a microsecond.
_ROUNDING_SECONDS: Final = 1e-5


@attrs.frozen
class Bucket:
    """
    *size* tokens, and one more every *refill_seconds*.
    """

    size: int
    refill_seconds: float


@attrs.frozen
class Limits:
    """
    What a CA allows; None: as much as you like.
    """

    orders: Bucket | None = None
    certificates_per_domain: Bucket | None = None
    certificates_per_name: Bucket | None = None


LETS_ENCRYPT: Final = Limits(
    orders=Bucket(300, 36.0),
    certificates_per_domain=Bucket(50, 7 * _DAY / 50),
    certificates_per_name=Bucket(5, 7 * _DAY / 5),
)
LETS_ENCRYPT_STAGING: Final = Limits(
    orders=Bucket(1500, 7.2),
    certificates_per_domain=Bucket(30000, 7 * _DAY / 30000),
    certificates_per_name=Bucket(30000, 7 * _DAY / 30000),
)
NO_LIMITS: Final = Limits()


@attrs.frozen
class Demand:
    """
    One attempt: for which *name*, how urgent, whether it renews a certificate, and whether it does so when ARI says.

    A renewal is exempt from the account's and the domain's limits, one that follows ARI from all. An attempt may need
    several *orders*, since one whose challenge failed is of no more use (RFC 8555 §7.1.6). One that *is_under_way* was
    counted when an earlier process began it: to go on with it spends nothing, and no bucket holds it up.
    """

    name: str
    priority: Priority
    is_renewal: bool = False
    follows_ari: bool = False
    orders: int = 1
    is_under_way: bool = False


@attrs.frozen
class NotBefore:
    """
    The order has to wait until *moment* (epoch seconds), because of what *scope* says.
    """

    moment: float
    scope: Scope


class Ledger:
    """
    The books of one account at one CA, from the *entries* that were stored (key → epoch seconds).

    *registered_domain* gives the part of a name that the CA counts certificates by (its public suffix and a label).
    """

    def __init__(
        self, limits: Limits, registered_domain: Callable[[str], str], entries: Mapping[str, float] | None = None
    ) -> None:
        self._limits, self._registered_domain = limits, registered_domain
        self._entries = dict(entries or {})
        self._changed: set[str] = set()

    def load(self, entries: Mapping[str, float]) -> None:
        """
        Go on from what was stored.
        """
        self._entries = dict(entries)

    @property
    def entries(self) -> Mapping[str, float]:
        """
        Give all entries.
        """
        return self._entries

    def earliest(self, demand: Demand, now: float) -> NotBefore | None:
        """
        Tell what *demand* has to wait for, or None when the CA allows it *now*.
        """
        if not self._entries:
            return None
        latest: NotBefore | None = None
        for scope, key in self._blocks(demand.name):
            latest = _later(latest, NotBefore(self._entries.get(key, 0.0), scope))
        for scope, key, bucket in () if demand.is_under_way else self._buckets(demand):
            allowed_at = self._allowed_at(key, bucket, demand.priority, _tokens(demand, scope))
            latest = _later(latest, NotBefore(allowed_at, scope))
        return latest if latest is not None and latest.moment > now + _ROUNDING_SECONDS else None

    def spend(self, demand: Demand, now: float) -> None:
        """
        Count *demand* as ordered *now*, unless it was before.
        """
        for scope, key, bucket in () if demand.is_under_way else self._buckets(demand):
            self._set(key, max(self._entries.get(key, 0.0), now) + _tokens(demand, scope) * _interval(bucket))

    def give_back(self, demand: Demand) -> None:
        """
        Count the certificate of *demand*, which did not come, no more; the order itself was one.
        """
        for scope, key, bucket in self._buckets(demand):
            if scope is not Scope.ACCOUNT:
                self._set(key, self._entries.get(key, 0.0) - _interval(bucket))

    def give_back_orders(self, demand: Demand, orders: int) -> None:
        """
        Count so many *orders* of *demand* no more, which were not made after all (or some more, where it is negative).

        Of one that is under way nobody knows how many an earlier process made.
        """
        for scope, key, bucket in () if demand.is_under_way else self._buckets(demand):
            if scope is Scope.ACCOUNT and orders:
                self._set(key, self._entries.get(key, 0.0) - orders * _interval(bucket))

    def block(self, scope: Scope, name: str, until: float) -> None:
        """
        Take note that the CA wants nothing of *scope*, as far as it concerns *name*, before *until*.
        """
        key = dict(self._blocks(name))[scope]
        self._set(key, max(self._entries.get(key, 0.0), until))

    def take_changes(self) -> dict[str, float]:
        """
        Give the entries that changed since the last call, to be stored.
        """
        changed, self._changed = self._changed, set()
        return {key: self._entries[key] for key in sorted(changed)}

    def prune(self, now: float) -> tuple[str, ...]:
        """
        Forget what is full again or no longer blocked, and give its keys.
        """
        gone = tuple(key for key, moment in self._entries.items() if moment <= now)
        for key in gone:
            del self._entries[key]
            self._changed.discard(key)
        return gone

    def shift(self, seconds: float) -> None:
        """
        Go by a clock that was set by *seconds* while we watched: what was to be full in ten minutes still is.
        """
        for key, moment in self._entries.items():
            self._set(key, moment + seconds)

    def correct(self, now: float, longest_seconds: float) -> None:
        """
        Bring moments that a clock set back has put too far off to *longest_seconds* from *now*.
        """
        for key, moment in self._entries.items():
            if moment - now > longest_seconds:
                self._set(key, now + longest_seconds)

    def _blocks(self, name: str) -> tuple[tuple[Scope, str], ...]:
        return (
            (Scope.NAME, f"until name {name}"),
            (Scope.REGISTERED_DOMAIN, f"until domain {self._registered_domain(name)}"),
            (Scope.ACCOUNT, "until account"),
            (Scope.CA, "until CA"),
        )

    def _buckets(self, demand: Demand) -> Iterator[tuple[Scope, str, Bucket]]:
        if demand.follows_ari:
            return
        limits = self._limits
        if limits.certificates_per_name is not None:
            yield Scope.NAME, f"name {demand.name}", limits.certificates_per_name
        if demand.is_renewal:
            return
        if limits.certificates_per_domain is not None:
            domain = self._registered_domain(demand.name)
            yield Scope.REGISTERED_DOMAIN, f"domain {domain}", limits.certificates_per_domain
        if limits.orders is not None:
            yield Scope.ACCOUNT, "orders", limits.orders

    def _allowed_at(self, key: str, bucket: Bucket, priority: Priority, tokens: int) -> float:
        left = int(bucket.size * _LEFT_FOR_OTHERS[priority]) + (1 if bucket.size >= _SPARE_FROM else 0)
        return self._entries.get(key, 0.0) - max(0, bucket.size - tokens - left) * _interval(bucket)

    def _set(self, key: str, moment: float) -> None:
        self._entries[key] = moment
        self._changed.add(key)


def _later(one: NotBefore | None, other: NotBefore) -> NotBefore:
    return other if one is None or other.moment > one.moment else one


def _tokens(demand: Demand, scope: Scope) -> int:
    return demand.orders if scope is Scope.ACCOUNT else 1


def _interval(bucket: Bucket) -> float:
    return bucket.refill_seconds * (_SLOWER if bucket.size >= _SPARE_FROM else 1.0)
