from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sptls.certs.batches import Batches


@attrs.define
class Slow:
    """
    A worker that does a piece of work when the test says.
    """

    given: list[tuple[Callable[[], Any], Deferred[Any]]] = attrs.field(factory=list)

    def start(self) -> None:
        """
        Do nothing.
        """

    def run(self, work: Callable[[], Any]) -> Deferred[Any]:
        """
        Do *work* later.
        """
        done: Deferred[Any] = Deferred()
        self.given.append((work, done))
        return done

    def stop(self) -> None:
        """
        Do nothing.
        """

    def go_on(self) -> None:
        """
        Do the first piece that is not done.
        """
        work, done = self.given.pop(0)
        try:
            result = work()
        except ArithmeticError:
            done.errback(Failure())
        else:
            done.callback(result)


@attrs.define
class Disk:
    """
    Batches before a slow worker: which works were done together, and what came to those who waited.
    """

    slow: Slow = attrs.field(factory=Slow)
    done: list[list[object]] = attrs.field(factory=list)
    heard: list[object] = attrs.field(factory=list)
    batches: Batches = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.batches = Batches(self.slow, self._together)

    def _together(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        outcomes = [work() for work in works]
        self.done.append(outcomes)
        return outcomes

    def write(self, value: object) -> Deferred[None]:
        """
        Have *value* written.
        """
        return self.batches.write(lambda: value).addBoth(self._hear)

    def read(self, value: object) -> Deferred[None]:
        """
        Have *value* read.
        """
        return self.batches.run(lambda: value).addBoth(self._hear)

    def _hear(self, result: object) -> None:
        self.heard.append(result.value if isinstance(result, Failure) else result)


def test_writes_that_wait_go_together() -> None:
    """
    While the disk is busy with one, the others gather, and each hears of its own when that is done.
    """
    disk = Disk()
    for value in (1, 2, 3):
        disk.write(value)
    assert (1, []) == (len(disk.slow.given), disk.heard)
    disk.slow.go_on()
    assert [1] == disk.heard
    disk.slow.go_on()
    assert ([[1], [2, 3]], [1, 2, 3]) == (disk.done, disk.heard)


def test_order_is_kept_and_reads_are_alone() -> None:
    """
    What is read is what was written before, and nothing that was given later.
    """
    disk = Disk()
    disk.write(1)
    for value in (2, 3):
        disk.write(value)
    disk.read("read")
    disk.write(4)
    while disk.slow.given:
        disk.slow.go_on()
    assert [[1], [2, 3], ["read"], [4]] == disk.done


def test_each_hears_of_its_own_failure() -> None:
    """
    Works done together fail alone.
    """
    disk, error = Disk(), ValueError("refused")
    disk.write(1)
    disk.write(error)
    disk.write(2)
    disk.slow.go_on()
    disk.slow.go_on()
    assert [1, error, 2] == disk.heard


def test_worker_that_fails_fails_all_of_the_batch_and_goes_on() -> None:
    """
    A fault of ours leaves nobody waiting, and the next work is done.
    """
    disk = Disk()
    disk.batches.run(lambda: 1 // 0).addBoth(disk._hear)
    disk.write(1)
    disk.slow.go_on()
    disk.slow.go_on()
    assert (ZeroDivisionError, 1) == (type(disk.heard[0]), disk.heard[1])


def test_cancelling_ends_the_waiting_not_the_work() -> None:
    """
    A write that nobody waits for any more is done all the same.
    """
    disk = Disk()
    disk.write(1)
    waiting = disk.write(2)
    waiting.cancel()
    disk.slow.go_on()
    disk.slow.go_on()
    assert [[1], [2]] == disk.done
    assert isinstance(disk.heard[0], CancelledError)


def test_who_hears_may_give_more() -> None:
    """
    What is given in answer comes after all that waited before.
    """
    disk = Disk()
    disk.write(1).addCallback(lambda _: disk.write(4))
    disk.write(2)
    disk.write(3)
    while disk.slow.given:
        disk.slow.go_on()
    assert [[1], [2, 3], [4]] == disk.done
