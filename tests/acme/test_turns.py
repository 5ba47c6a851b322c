from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sptls.acme.turns import Turns
from sptls.errors import AcmeError, AcmeUnreachable

if TYPE_CHECKING:
    from tests.acme.conftest import Reactor

UNTIL = 100.0


@pytest.fixture
def turns(reactor: Reactor) -> Turns:
    """
    Give a queue before the directory.
    """
    return Turns("directory", reactor)


async def errand(turns: Turns, log: list[str], name: str, error: AcmeError | None = None, until: float = UNTIL) -> None:
    """
    Take a turn that lasts ten seconds, and fail with *error* if there is one.
    """
    async with turns.turn(until):
        log.append(name)
        await deferLater(turns.clock, 10.0)
        if error:
            raise error


def test_one_after_the_other(turns: Turns, reactor: Reactor) -> None:
    """
    The second turn begins when the first ends.
    """
    log: list[str] = []
    for name in ("a", "b"):
        Deferred.fromCoroutine(errand(turns, log, name))
    assert ["a"] == log
    reactor.advance(10.0)
    assert ["a", "b"] == log
    reactor.advance(10.0)


def test_those_that_waited_share_a_failure(turns: Turns, reactor: Reactor) -> None:
    """
    Who waited while another failed fails with it, at the same moment; who comes later tries anew.
    """
    down, log = AcmeUnreachable("directory", "refused"), list[str]()
    outcomes = [Deferred.fromCoroutine(errand(turns, log, name, down)) for name in ("a", "b", "c")]
    reactor.advance(10.0)
    failures: list[object] = []
    for outcome in outcomes:
        outcome.addErrback(lambda failure: failures.append(failure.value))
    assert ([down] * 3, ["a"]) == (failures, log)
    reactor.run(errand(turns, log, "later"))
    assert ["a", "later"] == log


def test_waiting_ends_at_the_deadline(turns: Turns, reactor: Reactor) -> None:
    """
    Who waits too long for the other's turn to end is told so.
    """
    log: list[str] = []
    first = Deferred.fromCoroutine(errand(turns, log, "a"))
    with pytest.raises(AcmeUnreachable, match="another order"):
        reactor.run(errand(turns, log, "b", until=5.0))
    reactor.advance(10.0)
    assert first.called
    assert ["a"] == log


def test_a_cancelled_turn_passes_on(turns: Turns, reactor: Reactor) -> None:
    """
    Cancelling who has the turn gives it to the next, who does not fail.
    """
    log: list[str] = []
    first = Deferred.fromCoroutine(errand(turns, log, "a"))
    second = Deferred.fromCoroutine(errand(turns, log, "b"))
    first.cancel()
    cancelled: list[object] = []
    first.addErrback(lambda failure: cancelled.append(failure.type))
    assert ([CancelledError], ["a", "b"]) == (cancelled, log)
    reactor.advance(10.0)
    assert second.called
