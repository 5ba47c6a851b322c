"""
The real `AcmeIssuer` before the front before a real Pebble, and what a test asks of them.

One thread, one `SkippingReactor`: keys are made and the store is written in it, so that nothing is ever under way that
the reactor doesn't see. The wall clock goes with the reactor's seconds, from now on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs
from twisted.internet.defer import Deferred, gatherResults

from sptls.acme.issue import ORDER_SECONDS, AcmeIssuer
from sptls.config import AcmeConfig
from sptls.errors import IssuanceFailed
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder
from tests.doubles import InlineThreads
from tests.faults.doubles import AccountsInMemory, OrdersInMemory, UnservedResponder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.threadpool import ThreadPool

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.store import Store
    from sptls.errors import SptlsError
    from tests.acme_front.faults import Fault
    from tests.acme_front.front import Front
    from tests.acme_front.reactor import SkippingReactor
    from tests.faults.doubles import Tokens, WatchedAgent

NAME = HostName("a.test")
OTHER = HostName("b.test")


@attrs.frozen
class Came:
    """
    What came of an attempt: the *bundle*, or the *cause* of its failure; what it cost, what the CA was asked meanwhile,
    in how many *seconds*.
    """

    bundle: CertificateBundle | None
    cause: SptlsError | None
    failed_authorizations: int
    orders: int
    operations: tuple[str, ...]
    seconds: float
    is_replacement: bool = False


class World:
    """
    An issuer with a new account at the front, and time.
    """

    def __init__(self, reactor: SkippingReactor, front: Front, agent: WatchedAgent, tokens: Tokens) -> None:
        self.reactor, self.front, self.agent = reactor, front, agent
        self._skipped_seconds = reactor.skipped_seconds
        # How far our wall clock is off.
        self.set_by = timedelta()
        self.accounts, self.orders = AccountsInMemory(), OrdersInMemory()
        self.http, self.tls = Http01Responder(), UnservedResponder()
        self.tokens = tokens
        tokens.responder = self.http
        self.config = AcmeConfig(directory=front.directory_url, agree_to_terms=True)
        self.issuer = self.make_issuer()
        reactor.is_busy = self.is_busy

    def is_busy(self) -> bool:
        """
        Tell whether an answer is on its way that nobody holds back.
        """
        waits = self.agent.under_way > self.front.held and self.front.door.is_served
        return waits or self.front.is_at_work()

    def now(self) -> datetime:
        """
        Give the wall time: what it is outside, what was skipped in this test, and how far the clock is off.
        """
        return datetime.now(UTC) + self.set_by + timedelta(seconds=self.reactor.skipped_seconds - self._skipped_seconds)

    def make_issuer(
        self, types: Sequence[str] = ("http-01",), records: Store | None = None, **changes: Any
    ) -> AcmeIssuer:
        """
        Make an issuer on *records* or those in memory, for a configuration with *changes*, with challenges of *types*.
        """
        responders = {"http-01": self.http, "tls-alpn-01": self.tls}
        return AcmeIssuer(
            agent=self.agent,
            reactor=cast("Any", self.reactor),
            wall_clock=self.now,
            config=attrs.evolve(self.config, **changes),
            responders=[responders[kind] for kind in types],
            accounts=records or self.accounts,
            orders=records or self.orders,
            threads=cast("ThreadPool", InlineThreads()),
            draw=lambda: 0.5,
        )

    async def attempt(self, name: HostName, replaces: CertificateBundle | None = None) -> Came:
        """
        Try to get a certificate; like a store, forget the order that it came of.
        """
        begun, seen = self.reactor.seconds(), len(self.front.seen)

        def came(bundle: CertificateBundle | None, cause: SptlsError | None, failed: int, orders: int) -> Came:
            operations = tuple(each.operation for each in self.front.seen[seen:])
            return Came(bundle, cause, failed, orders, operations, self.reactor.seconds() - begun)

        try:
            issued = await self.issuer.obtain(name, replaces=replaces)
        except IssuanceFailed as failed:
            return came(None, failed.cause, failed.failed_authorizations, failed.orders)
        await self.orders.remove_order(name)
        return attrs.evolve(
            came(issued.bundle, None, issued.failed_authorizations, issued.orders),
            is_replacement=issued.is_replacement,
        )

    def issue(self, name: HostName = NAME) -> Came:
        """
        Try to get a certificate; checks that no challenge is left open.
        """
        (came,) = self.issue_all(name)
        return came

    def issue_all(self, *names: HostName) -> list[Came]:
        """
        Try to get certificates for *names* at the same time; checks that no challenge is left open.
        """
        attempts = [Deferred.fromCoroutine(self.attempt(name)) for name in names]

        async def all_of_them() -> list[Came]:
            return await gatherResults(attempts, consumeErrors=True)

        came = self.reactor.run_coroutine(all_of_them())
        assert ({}, {}) == (dict(self.http.tokens), dict(self.tls.tokens))
        return came

    def bundle(self, name: HostName = NAME) -> CertificateBundle:
        """
        Get a certificate, which must work.
        """
        came = self.issue(name)
        assert came.bundle is not None, came.cause
        return came.bundle

    def failure(self, name: HostName = NAME) -> Came:
        """
        Fail to get a certificate, within an order's time.
        """
        came = self.issue(name)
        assert came.cause is not None
        assert came.seconds <= ORDER_SECONDS + 1
        return came

    def failure_of_one(self, *faults: Fault) -> Came:
        """
        Fail for `NAME` with *faults*, which are about it, while `OTHER` gets its certificate, in its usual time.
        """
        self.front.arm(*(attrs.evolve(fault, name=NAME.text) for fault in faults))
        failed, other = self.issue_all(NAME, OTHER)
        assert failed.cause is not None
        assert failed.seconds <= ORDER_SECONDS + 1
        assert other.bundle is not None, other.cause
        return failed

    def recover(self) -> Came:
        """
        Take all faults away; the next attempt must work.
        """
        self.front.faults.clear()
        self.front.come_back()
        came = self.issue()
        assert came.bundle is not None, came.cause
        assert (NAME,) == came.bundle.names
        return came

    def close(self) -> None:
        """
        Leave nothing behind.
        """
        self.tokens.responder, self.tokens.dead = None, set()
        self.front.forget()
        self.reactor.settle()
        broken, self.front.broken = self.front.broken, []
        assert not broken, broken[0]
