# ruff: noqa: N802 - Twisted's names
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure
from zope.interface import implementer

from sptls.wakes import wake_directly
from tests.tls.wire import logged


@implementer(IReadWriteDescriptor)
class Watched:
    """
    One end of a pair; notes what it is called for, and does *then* when it is readable.
    """

    def __init__(self, then: Callable[[Watched], object] = lambda _: None) -> None:
        self.sock, self.other = socket.socketpair()
        self.calls: list[str] = []
        self.why: list[type[BaseException] | None] = []
        self._then = then

    def fileno(self) -> int:
        """
        Give the descriptor.
        """
        return self.sock.fileno()

    def logPrefix(self) -> str:
        """
        Fail: nobody asks.
        """
        raise NotImplementedError

    def doRead(self) -> Any:
        """
        Note it.
        """
        self.calls.append("read")
        return self._then(self)

    def doWrite(self) -> None:
        """
        Note it.
        """
        self.calls.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """
        Note why.
        """
        self.why.append(reason.type)

    def close(self) -> None:
        """
        Let go of both ends.
        """
        self.sock.close()
        self.other.close()


@pytest.fixture
def reactor() -> Iterator[Any]:
    """
    Give a reactor of its own, not installed, that wakes directly.
    """
    reactor = EPollReactor()
    wake_directly(reactor)
    yield reactor
    reactor.removeAll()
    for descriptor in list(reactor._internalReaders):
        reactor.removeReader(descriptor)
        descriptor.connectionLost(None)
    reactor._poller.close()


@pytest.fixture
def watched(reactor: Any) -> Iterator[Callable[..., Watched]]:
    """
    Give a maker of what is watched, and closed after the test.
    """
    made: list[Watched] = []

    def make(*then: Callable[[Watched], object]) -> Watched:
        made.append(Watched(*then))
        reactor.addReader(made[-1])
        return made[-1]

    yield make
    for each in made:
        reactor.removeReader(each)
        reactor.removeWriter(each)
        each.close()


def test_readable(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    What is readable is read, and nothing else happens to anybody.
    """
    one, other = watched(), watched()
    one.other.send(b"x")
    reactor.doIteration(1)
    assert (["read"], []) == (one.calls, other.calls)
    reactor.doIteration(0)
    assert (["read", "read"], []) == (one.calls, one.why)


def test_writable(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    What is writable is told so, and what is both, of both.
    """
    one = watched()
    reactor.addWriter(one)
    reactor.doIteration(1)
    one.other.send(b"x")
    reactor.doIteration(None)
    assert ["write", "read", "write"] == one.calls


def test_closed_by_the_peer(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    A hang-up is Twisted's to handle, and reaches who waits.
    """
    one = watched(lambda one: one.sock.recv(9) and None)
    one.other.close()
    reactor.doIteration(1)
    assert ["read"] == one.calls


def test_reading_that_ends(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    What `doRead` returns is why the connection is over, as Twisted has it.
    """
    one = watched(lambda _: ConnectionDone())
    one.other.send(b"x")
    reactor.doIteration(1)
    reactor.doIteration(0)
    assert (["read"], [ConnectionDone]) == (one.calls, one.why)


def test_reading_that_fails(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    A fault costs the connection that it happened on, is logged, and costs nothing else.
    """
    one, other = watched(lambda _: int("x")), watched()
    one.other.send(b"x")
    other.other.send(b"x")
    with logged() as events:
        reactor.doIteration(1)
    assert ([ValueError], ["read"], 1) == (one.why, other.calls, len(events))


def test_closed_by_another(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    Who is watched no more, by what another did in the same turn, is left alone.
    """
    pair: list[Watched] = []

    def end_the_other(one: Watched) -> None:
        for each in pair:
            if each is not one:
                reactor.removeReader(each)

    pair += [watched(end_the_other), watched(end_the_other)]
    for each in pair:
        each.other.send(b"x")
    reactor.doIteration(1)
    assert 1 == sum(len(each.calls) for each in pair)


def test_news_of_a_number_that_another_has_now(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    Who gets the descriptor of one that was closed in the same turn is not told of that one's end.
    """
    heir = Watched()
    old = heir.sock

    def make_way(one: Watched) -> None:
        gone = next(each for each in pair if each is not one)
        reactor.removeReader(gone)
        number = gone.sock.detach()
        heir.sock = socket.socket(fileno=os.dup2(old.fileno(), number))
        reactor.addReader(heir)

    pair = [watched(make_way), watched(make_way)]
    for each in pair:
        each.other.close()
    reactor.doIteration(1)
    reactor.removeReader(heir)
    old.close()
    heir.close()
    assert (1, [], []) == (sum(len(each.calls) for each in pair), heir.calls, heir.why)


def test_watched_by_turns(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    Reading and writing are begun and ended in any order, each as often as one likes.
    """
    one = watched()
    reactor.addReader(one)
    reactor.addWriter(one)
    reactor.removeReader(one)
    one.other.send(b"x")
    reactor.doIteration(1)
    reactor.addReader(one)
    reactor.removeWriter(one)
    reactor.doIteration(1)
    reactor.removeReader(one)
    reactor.removeReader(one)
    reactor.doIteration(0)
    assert ["write", "read"] == one.calls
    assert one not in reactor.getReaders()


def test_a_file(reactor: Any, tmp_path: Path) -> None:
    """
    What epoll can't watch is always readable, as Twisted has it.
    """
    with (tmp_path / "file").open("wb") as file:
        reading = FileDescriptor(reactor)
        reading.fileno = file.fileno  # type: ignore[method-assign]
        reactor.addReader(reading)
        assert reading in reactor.getReaders()
        reactor.removeReader(reading)
        assert reading not in reactor.getReaders()


def test_another_reactor() -> None:
    """
    A reactor that is not epoll's is left as it is.
    """
    reactor = SelectReactor()
    wake_directly(reactor)
    assert not {"doIteration", "addReader", "removeReader"} & vars(reactor).keys()
    for descriptor in list(reactor._internalReaders):
        reactor.removeReader(descriptor)
        descriptor.connectionLost(None)


def _turns(reactor: Any, count: int) -> None:
    """
    Let *reactor*'s own loop turn, at most *count* times.
    """
    for _ in range(count):
        reactor.runUntilCurrent()
        reactor.doIteration(reactor.timeout())


def test_one_turn_goes_on_while_there_is_only_reading_to_do(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    Twisted's loop is gone back to when a timed call is due, and not before.
    """
    reactor.running = True

    def pass_on(_: Watched) -> None:
        one.sock.recv(1)
        if len(one.calls) < 5:
            one.other.send(b"x")

    one = watched(pass_on)
    one.other.send(b"x")
    called: list[int] = []
    reactor.callLater(0.05, lambda: called.append(len(one.calls)))
    _turns(reactor, 1)
    assert (5, []) == (len(one.calls), called)
    reactor.runUntilCurrent()
    assert [5] == called


@pytest.mark.parametrize("how", ["callLater", "callFromThread", "reset"])
def test_what_is_to_be_called_soon_is_called_before_more_is_waited_for(
    how: str, reactor: Any, watched: Callable[..., Watched]
) -> None:
    """
    A call that reading leads to is not held up by whatever was to come next: here, nothing for an hour.
    """
    reactor.running = True
    called: list[str] = []
    later = reactor.callLater(3600, called.append, "reset")
    do = {
        "callLater": lambda: reactor.callLater(0, called.append, "callLater"),
        "callFromThread": lambda: reactor.callFromThread(called.append, "callFromThread"),
        "reset": lambda: later.reset(0),
    }
    one = watched(lambda one: one.sock.recv(1) and do[how]() and None)
    one.other.send(b"x")
    _turns(reactor, 1)
    reactor.runUntilCurrent()
    assert [how] == called


def test_a_stop_is_not_waited_with(reactor: Any, watched: Callable[..., Watched]) -> None:
    """
    A reactor that is stopped by what it read goes back to its loop, which ends.
    """
    reactor.running = True
    reactor.callLater(3600, int)
    one = watched(lambda one: one.sock.recv(1) and reactor.crash())
    one.other.send(b"x")
    _turns(reactor, 1)
    assert ["read"] == one.calls
