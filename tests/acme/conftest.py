"""
Time that tests move, a CA in memory, and our ACME client before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sptls.acme import jws
from sptls.acme.client import AcmeClient
from sptls.acme.exchange import Exchanges
from sptls.acme.transport import AcmeTransport
from tests.acme.fake_ca import DIRECTORY, NOW, AccountsInMemory, FakeCa, OrdersInMemory
from tests.acme.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

# More steps of the clock than any order takes.
MAX_STEPS = 2000


class Reactor(Clock):
    """
    A clock that runs coroutines by moving itself to whatever is due next.
    """

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:  # noqa: N802 - Twisted's name
        """
        Run *call* at once: there are no threads here.
        """
        call(*args)

    def callInThreadWithCallback(  # noqa: N802 - Twisted's name
        self, on_result: Callable[[bool, object], None], call: Callable[..., object], *args: object
    ) -> None:
        """
        Run *call* at once, as a thread pool would in a thread.
        """
        on_result(True, call(*args))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        Give what *coroutine* returns, or raise what it raises, however long it takes of this clock.
        """
        result = Deferred.fromCoroutine(cast("Coroutine[Deferred[Any], Any, T]", coroutine))
        outcomes: list[T | Failure] = []
        result.addBoth(outcomes.append)
        self.settle(outcomes)
        (outcome,) = outcomes
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def settle(self, outcomes: list[Any]) -> None:
        """
        Move on until there is an outcome.
        """
        for _ in range(MAX_STEPS):
            if outcomes:
                return
            calls = self.getDelayedCalls()
            assert calls, "it waits for nothing that this clock could bring"
            self.advance(max(0.0, min(call.getTime() for call in calls) - self.seconds()))
        raise AssertionError("it never ends")


@pytest.fixture
def reactor() -> Reactor:
    """
    Give a clock that nothing else moves.
    """
    return Reactor()


@pytest.fixture
def ca() -> FakeCa:
    """
    Give a friendly CA.
    """
    return FakeCa()


@pytest.fixture
def transport(ca: FakeCa, reactor: Reactor) -> AcmeTransport:
    """
    Give a transport to the CA.
    """
    exchanges = Exchanges(ca.agent, cast("IReactorTime", reactor), lambda: NOW, "sptls/test")
    return AcmeTransport(exchanges, lambda: 0.5)


@pytest.fixture
def client(transport: AcmeTransport) -> AcmeClient:
    """
    Give a client of the CA.
    """
    return AcmeClient(transport, DIRECTORY)


@pytest.fixture
def accounts() -> AccountsInMemory:
    """
    Give an empty store of accounts.
    """
    return AccountsInMemory()


@pytest.fixture
def account(client: AcmeClient, reactor: Reactor) -> jws.Account:
    """
    Give an account that the CA knows.
    """
    return reactor.run(client.new_account(jws.AccountKey.generate(), (), None, 180.0, terms_agreed=True))


@pytest.fixture
def orders() -> OrdersInMemory:
    """
    Give a store with no order under way.
    """
    return OrdersInMemory()


@pytest.fixture
def world(ca: FakeCa, reactor: Reactor, accounts: AccountsInMemory, orders: OrdersInMemory) -> World:
    """
    Give a world in which everything works.
    """
    return World(ca, reactor, accounts, orders)
