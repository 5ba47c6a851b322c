"""
Let's Encrypt's rate limits as token buckets (acme-ca.md), for the front to apply before a CA that has none.

Time comes from the test's clock; *scale* makes it pass so many times faster for the buckets. Orders that replace a
certificate by ARI are exempt from all limits, orders for a set that was issued before from those on orders and domains.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import attrs

from tests.acme_front.faults import Answer, problem

HOUR = 3600.0
DAY = 24 * HOUR


@attrs.frozen
class Limit:
    """
    A bucket of *size* tokens, one of which comes back every *refill_seconds*.
    """

    name: str
    size: int
    refill_seconds: float


NEW_ORDERS = Limit("new orders", 300, 36.0)
CERTIFICATES_PER_DOMAIN = Limit("certificates per registered domain", 50, 7 * DAY / 50)
CERTIFICATES_PER_SET = Limit("certificates for this exact set of names", 5, 7 * DAY / 5)
FAILED_AUTHORIZATIONS = Limit("failed authorizations", 5, HOUR / 5)
NEW_ACCOUNTS = Limit("new accounts", 10, 3 * HOUR / 10)
# Refused with 503, by Let's Encrypt's front.
REQUESTS = {
    "newNonce": Limit("new nonces", 10, 1 / 20),
    "directory": Limit("directories", 40, 1 / 40),
    "newOrder": Limit("new-order requests", 300, 1 / 300),
    "renewalInfo": Limit("renewal infos", 1000, 1 / 1000),
}
ANY_REQUEST = Limit("requests", 250, 1 / 250)
# After so many failures in a row a person must unpause the name.
MAX_CONSECUTIVE_FAILURES = 1152


@attrs.define
class _Bucket:
    limit: Limit
    tokens: float
    at: float

    def wait_seconds(self, now: float) -> float:
        """
        Give how long it takes until there is a token.
        """
        self.tokens = min(self.limit.size, self.tokens + (now - self.at) / self.limit.refill_seconds)
        self.at = now
        return max(0.0, (1 - self.tokens) * self.limit.refill_seconds)


class LetsEncryptLimits:
    """
    All buckets of one CA, full in the beginning; *refusals* has what was refused, in order.

    *new_orders* stands in for the bucket that takes three hundred orders to empty, *failed_authorizations* for the one
    that a *scale* would refill under a client that knows it by heart.
    """

    def __init__(
        self,
        seconds: Callable[[], float],
        scale: float = 1.0,
        new_orders: Limit = NEW_ORDERS,
        failed_authorizations: Limit = FAILED_AUTHORIZATIONS,
    ) -> None:
        self._seconds, self._scale, self._new_orders = seconds, scale, new_orders
        self._failed_authorizations = failed_authorizations
        self._buckets: dict[tuple[str, object], _Bucket] = {}
        self._consecutive: Counter[tuple[str, str]] = Counter()
        self._issued: set[frozenset[str]] = set()
        self.refusals: list[str] = []

    def request(self, operation: str) -> Answer | None:
        """
        Count a request from our address; give the refusal if it is one too many.
        """
        limit = REQUESTS.get(operation, ANY_REQUEST)
        if self._wait_seconds(limit, "address") > 0:
            return self._refusal(503, limit, "address")
        self._spend(limit, "address")
        return None

    def new_account(self) -> Answer | None:
        """
        Count a registration.
        """
        if self._wait_seconds(NEW_ACCOUNTS, "address") > 0:
            return self._refusal(429, NEW_ACCOUNTS, "address")
        self._spend(NEW_ACCOUNTS, "address")
        return None

    def new_order(self, account: str, names: Iterable[str], *, replaces: bool = False) -> Answer | None:
        """
        Count an order of *account*'s; give the refusal if it is against a limit.
        """
        names = frozenset(names)
        if replaces:
            return None
        for name in names:
            if self._consecutive[account, name] >= MAX_CONSECUTIVE_FAILURES:
                self.refusals.append(f"paused: {name}")
                return problem(429, "rateLimited", f"{name} is paused", retry_after=str(math.ceil(DAY)))
        limits: list[tuple[Limit, object]] = [(self._failed_authorizations, (account, name)) for name in names]
        limits.append((CERTIFICATES_PER_SET, names))
        if names not in self._issued:
            limits += [(CERTIFICATES_PER_DOMAIN, domain) for domain in map(_domain, names)]
            limits.append((self._new_orders, account))
        for limit, key in limits:
            if self._wait_seconds(limit, key) > 0:
                return self._refusal(429, limit, key)
        if names not in self._issued:
            self._spend(self._new_orders, account)
        return None

    def failed_authorization(self, account: str, name: str) -> None:
        """
        Count an authorization that became invalid.
        """
        self._consecutive[account, name] += 1
        self._spend(self._failed_authorizations, (account, name))

    def issued(self, account: str, names: Iterable[str], *, replaces: bool = False) -> None:
        """
        Count a certificate.
        """
        names = frozenset(names)
        for name in names:
            del self._consecutive[account, name]
        if not replaces:
            self._spend(CERTIFICATES_PER_SET, names)
            if names not in self._issued:
                for domain in map(_domain, names):
                    self._spend(CERTIFICATES_PER_DOMAIN, domain)
        self._issued.add(names)

    def _bucket(self, limit: Limit, key: object) -> _Bucket:
        now = self._seconds() * self._scale
        return self._buckets.setdefault((limit.name, key), _Bucket(limit, limit.size, now))

    def _wait_seconds(self, limit: Limit, key: object) -> float:
        return self._bucket(limit, key).wait_seconds(self._seconds() * self._scale) / self._scale

    def _spend(self, limit: Limit, key: object) -> None:
        bucket = self._bucket(limit, key)
        bucket.wait_seconds(self._seconds() * self._scale)
        bucket.tokens -= 1

    def _refusal(self, status: int, limit: Limit, key: object) -> Answer:
        self.refusals.append(f"{limit.name}: {key}")
        seconds = math.ceil(self._wait_seconds(limit, key))
        return problem(status, "rateLimited", f"too many {limit.name}", retry_after=str(seconds))


def _domain(name: str) -> str:
    """
    Give the registered domain; the tests' top-level domains have one label.
    """
    return ".".join(name.split(".")[-2:])
