from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sptls.proxy.counters import Counters
from sptls.proxy.held_content import HeldContent

LIMIT_BYTES = 100_000


@attrs.define(eq=False)
class Client:
    """
    Holds *held_bytes*; it may fail to go.
    """

    account: HeldContent
    held_bytes: int = 0
    taken_bytes: int = 0
    is_gone: bool = False
    is_broken: bool = False

    def hold(self, held_bytes: int) -> None:
        """
        Hold so much from now on, and say so.
        """
        self.held_bytes = held_bytes
        self.account.note(self, held_bytes)

    def let_go(self) -> None:
        """
        Hold nothing any more.
        """
        if self.is_broken:
            raise ZeroDivisionError
        self.is_gone, self.held_bytes = True, 0


class Stage:
    """
    An account with so many clients, and a clock.
    """

    def __init__(self, clients: int) -> None:
        self.clock, self.counters = Clock(), Counters()
        self.account = HeldContent(self.clock.callLater, self.clock.seconds, self.counters, LIMIT_BYTES)
        self.clients = [Client(self.account) for _ in range(clients)]

    @property
    def gone(self) -> list[bool]:
        """
        Tell of each whether it had to go; that is done in a turn of its own.
        """
        self.clock.advance(0)
        return [client.is_gone for client in self.clients]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40_000), st.sampled_from([0.0, 0.001, 1.0, 100.0]))))
def test_account_is_what_all_hold(steps: list[tuple[int, int, float]]) -> None:
    """
    Never more than there may be once the turn is over, and nothing when all is over.
    """
    stage = Stage(10)
    for at, held_bytes, seconds in steps:
        stage.clients[at].hold(held_bytes)
        assert stage.account.total_bytes == sum(client.held_bytes for client in stage.clients)
        stage.clock.advance(seconds)
        assert stage.account.total_bytes == sum(client.held_bytes for client in stage.clients) <= LIMIT_BYTES
    for client in stage.clients:
        client.hold(0)
    assert 0 == stage.account.total_bytes
    assert [] == stage.clock.getDelayedCalls()


def test_all_may_be_held() -> None:
    """
    Nobody goes while it isn't too much, however long it takes.
    """
    stage = Stage(2)
    for client in stage.clients:
        client.hold(LIMIT_BYTES // 2)
        stage.clock.advance(1000)
    assert ([False, False], 0) == (stage.gone, stage.counters.held_too_much)


def test_who_holds_most_goes_first() -> None:
    """
    And no more go than have to: of those that came together.
    """
    stage = Stage(4)
    for client, held_bytes in zip(stage.clients, (20_000, 50_000, 1, 40_000), strict=True):
        client.hold(held_bytes)
    assert [False, True, False, False] == stage.gone
    assert (60_001, 1) == (stage.account.total_bytes, stage.counters.held_too_much)


def test_who_has_held_for_longest_goes_first() -> None:
    """
    Of those that hold the same.
    """
    stage = Stage(3)
    for client in stage.clients:
        stage.clock.advance(1)
        client.hold(40_000)
    assert [True, False, False] == stage.gone


@pytest.mark.parametrize("bytes_per_second", [50_000, 10_000_000])
def test_who_reads_at_a_pace_stays(bytes_per_second: int) -> None:
    """
    Also if it has come before all the others, and holds most; they take nothing, and have just come.
    """
    stage = Stage(7)
    reader, *others = stage.clients
    reader.hold(40_000)
    for other in others:
        stage.clock.advance(5)
        reader.taken_bytes += 5 * bytes_per_second
        other.hold(12_000)
    assert not stage.gone[0]
    assert 1 <= stage.counters.held_too_much < len(others)


def test_who_has_stopped_reading_goes() -> None:
    """
    What it took long ago is no merit.
    """
    stage = Stage(3)
    stopped, reader, new = stage.clients
    stopped.hold(40_000)
    reader.hold(40_000)
    stopped.taken_bytes = reader.taken_bytes = 100_000_000
    stage.clock.advance(100)
    new.hold(40_000)
    before = stage.gone
    for _ in range(10):
        stage.clock.advance(1)
        reader.taken_bytes += 10_000
    new.is_gone = False
    new.hold(40_000)
    assert ([False, False, True], [True, False, False]) == (before, stage.gone)


def test_time_that_is_left_is_known_of_each() -> None:
    """
    None for who holds nothing.
    """
    stage = Stage(2)
    reader, other = stage.clients
    reader.hold(10_000)
    stage.clock.advance(2)
    reader.taken_bytes = 20_000
    assert (0.0, 1.0) == (stage.account.seconds_left(other), round(stage.account.seconds_left(reader), 1))


def test_who_took_all_meanwhile_stays() -> None:
    """
    What is held is asked of all before anybody has to go: nobody says that it takes bit by bit.
    """
    stage = Stage(3)
    for client in stage.clients[:2]:
        client.hold(40_000)
    stage.clock.advance(1)
    stage.clients[0].held_bytes = 5
    stage.clients[2].hold(40_000)
    assert [False, False, False] == stage.gone
    assert 80_005 == stage.account.total_bytes


def test_all_go_if_each_is_too_much() -> None:
    """
    There is no end before it is less.
    """
    stage = Stage(2)
    for client in stage.clients:
        client.hold(LIMIT_BYTES + 1)
    assert ([True, True], 0) == (stage.gone, stage.account.total_bytes)


def test_one_that_fails_to_go_is_no_end() -> None:
    """
    The next ones go when there is too much again.
    """
    stage = Stage(3)
    stage.clients[0].is_broken = True
    stage.clients[0].hold(LIMIT_BYTES + 1)
    with pytest.raises(ZeroDivisionError):
        stage.clock.advance(0)
    stage.clients[1].hold(LIMIT_BYTES + 1)
    assert [False, True, False] == stage.gone
