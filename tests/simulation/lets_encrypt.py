"""
Let's Encrypt's rate limits as token buckets (acme-ca.md), told from the CA's side: tokens are counted, moments are not.

Independent of `sptls.certs.limits`, which has to get along with them. Orders that replace a certificate by ARI are
exempt from all of it, those for a name that had one before from the limits on orders and on registered domains.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from sptls.errors import Scope

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR


@attrs.frozen
class Limit:
    """
    A bucket of *size* tokens, one of which comes back every *refill_seconds*; *scope* is whom it concerns.
    """

    name: str
    scope: Scope
    size: int
    refill_seconds: float


NEW_ORDERS: Final = Limit("new orders per account", Scope.ACCOUNT, 300, 36.0)
PER_DOMAIN: Final = Limit("certificates per registered domain", Scope.REGISTERED_DOMAIN, 50, 7 * DAY / 50)
PER_SET: Final = Limit("certificates per exact set of names", Scope.NAME, 5, 7 * DAY / 5)
FAILED_AUTHORIZATIONS: Final = Limit("failed authorizations per name", Scope.NAME, 5, HOUR / 5)


@attrs.frozen
class Refusal:
    """
    A 429: which *limit* it is about, at which *moment* it was given, and when to come back.
    """

    limit: Limit
    name: str
    moment: float
    retry_after_seconds: float


@attrs.define
class _Bucket:
    tokens: float
    counted_at: float


class LetsEncrypt:
    """
    The buckets of one account, all full in the beginning; *refusals* has every 429 that was given.
    """

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._had_one: set[str] = set()
        self.refusals: list[Refusal] = []

    def new_order(self, name: str, now: float, *, is_replacement: bool) -> Refusal | None:
        """
        Count an order for *name*, or give the refusal that it gets.
        """
        if is_replacement:
            return None
        for limit, key in self._limits(name):
            bucket = self._bucket(limit, key, now)
            if bucket.tokens < 1:
                refusal = Refusal(limit, name, now, (1 - bucket.tokens) * limit.refill_seconds)
                self.refusals.append(refusal)
                return refusal
        if not self.is_renewal(name):
            self._bucket(NEW_ORDERS, "", now).tokens -= 1
        return None

    def issued(self, name: str, now: float, *, is_replacement: bool) -> None:
        """
        Count a certificate for *name*.
        """
        if not is_replacement:
            self._bucket(PER_SET, name, now).tokens -= 1
            if not self.is_renewal(name):
                self._bucket(PER_DOMAIN, registered_domain(name), now).tokens -= 1
        self._had_one.add(name)

    def failed_authorization(self, name: str, now: float) -> None:
        """
        Count an authorization of *name* that became invalid.
        """
        self._bucket(FAILED_AUTHORIZATIONS, name, now).tokens -= 1

    def is_renewal(self, name: str) -> bool:
        """
        Tell whether a certificate for *name* was issued before.
        """
        return name in self._had_one

    def _limits(self, name: str) -> Iterator[tuple[Limit, str]]:
        yield FAILED_AUTHORIZATIONS, name
        yield PER_SET, name
        if not self.is_renewal(name):
            yield PER_DOMAIN, registered_domain(name)
            yield NEW_ORDERS, ""

    def _bucket(self, limit: Limit, key: str, now: float) -> _Bucket:
        bucket = self._buckets.setdefault((limit.name, key), _Bucket(limit.size, now))
        bucket.tokens = min(limit.size, bucket.tokens + (now - bucket.counted_at) / limit.refill_seconds)
        bucket.counted_at = now
        return bucket


def registered_domain(name: str) -> str:
    """
    Give the registered domain of *name*; the simulation's top-level domains have one label.
    """
    return ".".join(name.split(".")[-2:])
