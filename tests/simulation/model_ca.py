"""
A CA, and our client of it, as far as the renewer can tell: orders, validations and certificates in simulated time.

What the CA does goes on whatever becomes of the client: a process that is killed finds its order as far as it came
meanwhile, and every authorization that failed counts. The client's side (`ModelCa.obtain`) keeps `IIssuer` as
`sptls.acme` does: one new order for each challenge type, an order of an earlier attempt taken up where it still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final, Literal

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from zope.interface import implementer

from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import OrderRecord, RenewalInfo
from sptls.errors import (
    AcmeProblem,
    AcmeUnreachable,
    Concern,
    IssuanceFailed,
    OrderCancelled,
    SptlsError,
    ValidationFailed,
)
from sptls.interfaces import IIssuer, Issued
from tests.simulation.lets_encrypt import LetsEncrypt, Refusal, registered_domain

if TYPE_CHECKING:
    from twisted.internet.task import Clock

    from sptls.names import HostName
    from tests.simulation.memory_store import SimulatedStore

DIRECTORY: Final = "https://model.example/directory"
ACCOUNT: Final = "https://model.example/account/1"
CHALLENGE_TYPES: Final = ("http-01", "tls-alpn-01")
# Seconds that a step takes, from and to: the requests before a validation, the validation, finalize and download.
_REQUESTS_SECONDS: Final = (0.3, 2.0)
_VALIDATION_SECONDS: Final = (1.0, 8.0)
_ISSUING_SECONDS: Final = (0.5, 4.0)
_ORDER_LIFETIME: Final = timedelta(days=7)
_STUCK_AFTER: Final = timedelta(hours=1)
# Boulder backdates by an hour.
_BACKDATED: Final = timedelta(hours=1)

MakeBundle = Callable[["HostName", datetime, datetime, int], CertificateBundle]


def bare_bundle(name: HostName, not_before: datetime, not_after: datetime, number: int) -> CertificateBundle:
    """
    Give a bundle that says all that the renewer reads, with no key and no certificate in it.
    """
    return CertificateBundle(b"", (b"",), (name,), not_before, not_after, "CN=Model CA", f"{number:08x}")


@attrs.define(eq=False)
class _Order:
    name: HostName
    status: Literal["pending", "processing", "ready", "invalid", "valid"] = "pending"
    is_replacement: bool = False
    bundle: CertificateBundle | None = None
    outcome_at: float = 0.0


@attrs.define
class _Cost:
    """
    What an attempt has cost, as `sptls.acme.attempt` counts it.
    """

    orders: int = 0
    failed: int = 0
    is_being_validated: bool = False
    is_committed: bool = False
    is_order_over: bool = False
    record: OrderRecord | None = None


@attrs.frozen
class Issuance:
    """
    A certificate that the CA made.
    """

    name: HostName
    moment: float
    lifetime: timedelta


@attrs.define(eq=False)
class Ca:
    """
    The CA itself, which outlives the processes that ask it; *later* does something after some seconds.

    *lifetime* tells how long a certificate lives that is made now, *is_dead* whether a name can't be validated.
    *on_order* is called with each new order. It is out during *outages*; *renewal_windows* are the suggested windows
    that it has moved, by serial. Nothing in it waits.
    """

    seconds: Callable[[], float]
    now: Callable[[], datetime]
    later: Callable[[float, Callable[[], None]], None]
    random: Random
    lifetime: Callable[[HostName], timedelta]
    is_dead: Callable[[HostName], bool]
    make_bundle: MakeBundle
    on_order: Callable[[], None]
    outages: list[tuple[float, float]] = attrs.field(factory=list)
    limits: LetsEncrypt = attrs.field(factory=LetsEncrypt)
    ordered: list[tuple[float, HostName]] = attrs.field(factory=list)
    failures: dict[HostName, list[float]] = attrs.field(factory=dict)
    issuances: list[Issuance] = attrs.field(factory=list)
    renewal_windows: dict[str, tuple[datetime, datetime]] = attrs.field(factory=dict)
    infos_asked: int = 0
    _orders: dict[str, _Order] = attrs.field(factory=dict)
    _replaced: set[str] = attrs.field(factory=set)
    _numbers: count[int] = attrs.field(factory=lambda: count(1))

    def draw(self, bounds: tuple[float, float]) -> float:
        """
        Draw how long something takes.
        """
        return self.random.uniform(*bounds)

    @property
    def is_out(self) -> bool:
        """
        Tell whether it does not answer.
        """
        now = self.seconds()
        return any(begin <= now < end for begin, end in self.outages)

    def new_order(self, name: HostName, replaces: CertificateBundle | None) -> tuple[str, _Order] | Refusal:
        """
        Take an order (RFC 8555 §7.4), as a replacement (RFC 9773 §5) where the window of *replaces* has begun.
        """
        is_replacement = replaces is not None and replaces.serial not in self._replaced and self._is_in_window(replaces)
        refusal = self.limits.new_order(name.text, self.seconds(), is_replacement=is_replacement)
        if refusal is not None:
            return refusal
        self.ordered.append((self.seconds(), name))
        self.on_order()
        url = f"https://model.example/order/{next(self._numbers)}"
        order = self._orders[url] = _Order(name, is_replacement=is_replacement)
        return url, order

    def order(self, url: str) -> _Order:
        """
        Give an order as it stands.
        """
        return self._orders[url]

    def validate(self, order: _Order) -> float:
        """
        Begin to validate; tells how long it takes.
        """
        seconds = self.draw(_VALIDATION_SECONDS)
        order.status, order.outcome_at = "processing", self.seconds() + seconds
        self.later(seconds, lambda: self._validated(order))
        return seconds

    def finalize(self, order: _Order, replaces: CertificateBundle | None) -> None:
        """
        Make the certificate.
        """
        now = self.now().replace(microsecond=0)
        lifetime = self.lifetime(order.name)
        order.bundle = self.make_bundle(order.name, now - _BACKDATED, now - _BACKDATED + lifetime, next(self._numbers))
        order.status = "valid"
        if order.is_replacement and replaces is not None:
            self._replaced.add(replaces.serial)
        self.limits.issued(order.name.text, self.seconds(), is_replacement=order.is_replacement)
        self.issuances.append(Issuance(order.name, self.seconds(), lifetime))

    def window(self, bundle: CertificateBundle) -> tuple[datetime, datetime]:
        """
        Give the suggested window: the moved one, or a day round two thirds of the lifetime, as Boulder has it.
        """
        middle = bundle.not_before + (bundle.not_after - bundle.not_before) * 2 / 3
        usual = (middle - timedelta(days=1), middle + timedelta(days=1))
        return self.renewal_windows.get(bundle.serial, usual)

    def _is_in_window(self, bundle: CertificateBundle) -> bool:
        return self.window(bundle)[0] <= self.now()

    def _validated(self, order: _Order) -> None:
        if self.is_dead(order.name):
            order.status = "invalid"
            self.failures.setdefault(order.name, []).append(self.seconds())
            self.limits.failed_authorization(order.name.text, self.seconds())
        else:
            order.status = "ready"


@implementer(IIssuer)
class ModelCa:
    """
    One process's client of *ca*; its orders are kept in *store*.
    """

    directory = DIRECTORY

    def __init__(self, ca: Ca, clock: Clock, store: SimulatedStore) -> None:
        self._ca, self._clock, self._store = ca, clock, store

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Get a certificate in the CA's own time.
        """
        cost = _Cost()
        try:
            bundle, order = await self._obtain(
                name, replaces, cost, len(CHALLENGE_TYPES) if challenge_types is None else challenge_types
            )
        except CancelledError as error:
            if cost.is_committed or cost.is_being_validated:
                raise
            raise IssuanceFailed(OrderCancelled(), orders=cost.orders) from error
        except SptlsError as error:
            if isinstance(error, ValidationFailed) or cost.is_order_over:
                await self._store.remove_order(name)
            elif cost.record is not None:
                await self._store.put_order(attrs.evolve(cost.record, failed_types=()))
            raise IssuanceFailed(error, cost.failed, cost.orders) from error
        return Issued(bundle, cost.failed, cost.orders, order.is_replacement)

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Give the window; the CA wants to be asked once a day.
        """
        if self._ca.is_out:
            return None
        self._ca.infos_asked += 1
        start, end = self._ca.window(bundle)
        return RenewalInfo(start, end, 86400.0)

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Do nothing.
        """

    async def _obtain(
        self, name: HostName, replaces: CertificateBundle | None, cost: _Cost, challenge_types: int
    ) -> tuple[CertificateBundle, _Order]:
        record = await self._store.order(name)
        await self._sleep(self._ca.draw(_REQUESTS_SECONDS), "newOrder")
        order = None if record is None else self._taken_up(record, cost)
        while cost.failed < challenge_types:
            if order is None:
                order = await self._new_order(name, replaces, cost)
            if await self._authorize(order, cost):
                return await self._collect(order, replaces, cost), order
            order = None
        raise ValidationFailed(name.text, ())

    def _taken_up(self, record: OrderRecord, cost: _Cost) -> _Order | None:
        """
        Give the order of an earlier attempt, if it may still lead to a certificate.
        """
        order = self._ca.order(record.url)
        cost.record, cost.failed = record, len(record.failed_types) + (order.status == "invalid")
        is_worth_it = order.status != "invalid" and self._ca.now() < record.created_at + _STUCK_AFTER
        cost.is_order_over = not (order.status == "valid" or is_worth_it)
        return None if cost.is_order_over else order

    async def _new_order(self, name: HostName, replaces: CertificateBundle | None, cost: _Cost) -> _Order:
        taken = self._ca.new_order(name, replaces)
        if isinstance(taken, Refusal):
            raise _rate_limited(taken, self._ca.now())
        url, order = taken
        cost.orders += not order.is_replacement
        now = self._ca.now()
        expires, failed_types = now + _ORDER_LIFETIME, CHALLENGE_TYPES[: cost.failed]
        cost.record = OrderRecord(
            name, DIRECTORY, ACCOUNT, url, b"key", now, expires, order.is_replacement, failed_types
        )
        cost.is_order_over = False
        await self._store.put_order(cost.record)
        return order

    async def _authorize(self, order: _Order, cost: _Cost) -> bool:
        """
        Have the name validated, unless it is; tell whether that worked.
        """
        if order.status == "pending":
            cost.is_being_validated = True
            await self._sleep(self._ca.validate(order) + 0.1, "authorization")
        elif order.status == "processing":
            cost.is_being_validated = True
            await self._sleep(order.outcome_at - self._ca.seconds() + 0.1, "authorization")
        cost.is_being_validated, cost.is_order_over = False, order.status == "invalid"
        cost.failed += cost.is_order_over
        return not cost.is_order_over

    async def _collect(self, order: _Order, replaces: CertificateBundle | None, cost: _Cost) -> CertificateBundle:
        cost.is_committed = True
        if order.bundle is None:
            self._ca.finalize(order, replaces)
        await self._sleep(self._ca.draw(_ISSUING_SECONDS), "finalize")
        assert order.bundle is not None
        return order.bundle

    async def _sleep(self, seconds: float, operation: str) -> None:
        """
        Wait for an answer to *operation*, if one comes.
        """
        await deferLater(self._clock, seconds, lambda: None)
        if self._ca.is_out:
            raise AcmeUnreachable(operation, "connection refused")


def _rate_limited(refusal: Refusal, now: datetime) -> AcmeProblem:
    """
    Give the 429 as our client reads it.
    """
    retry_at = now.astimezone(UTC) + timedelta(seconds=refusal.retry_after_seconds)
    return AcmeProblem(
        429,
        "rateLimited",
        f"too many {refusal.limit.name}",
        retry_after_seconds=refusal.retry_after_seconds,
        operation="newOrder",
        concern=Concern(refusal.limit.scope, registered_domain(refusal.name), retry_at)
        if refusal.limit.scope.name == "REGISTERED_DOMAIN"
        else Concern(refusal.limit.scope, refusal.name, retry_at),
    )
