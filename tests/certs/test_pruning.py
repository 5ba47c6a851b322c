"""
Tests for `sptls.certs.pruning`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sptls.certs.leftovers import Looked, Place
from sptls.certs.pruning import FIRST_LOOK_SECONDS, LOOK_AGAIN_SECONDS, PAUSE_SECONDS, Pruning
from sptls.errors import StoreError
from tests.certs.stored import CLICK, outcome

if TYPE_CHECKING:
    from collections.abc import Container


class Disk:
    """
    A store of three pieces, each of which has two rows too many.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.slow: Deferred[None] | None = None
        self.seen: list[tuple[int, bool]] = []

    async def drop_some(self, place: Place, configured: Container[str]) -> Looked:
        """
        Note the place, and whether the name is configured.
        """
        self.seen.append((place.table, CLICK.text in configured))
        if self.slow is not None:
            await self.slow
        if self.error is not None:
            raise self.error
        return Looked(2, Place(place.table + 1) if place.table < 2 else None)


def looked(pruning: Pruning, clock: Clock) -> list[str]:
    """
    Let the next look come, and give what the log says of it.
    """
    with capturedLogs() as events:
        clock.advance(FIRST_LOOK_SECONDS if clock.seconds() == 0 else LOOK_AGAIN_SECONDS)
        clock.pump([PAUSE_SECONDS] * 5)
    return [formatEvent(event) for event in events]


def test_store_is_looked_through_soon_and_every_day() -> None:
    """
    Piece by piece, with the names as they are configured then, and the log says what came of it.
    """
    disk, clock = Disk(), Clock()
    pruning = Pruning(disk, clock)
    pruning.start([CLICK])
    assert [] == disk.seen
    assert ["6 rows of the store that mattered to nobody any more were dropped"] == looked(pruning, clock)
    assert [(0, True), (1, True), (2, True)] == disk.seen
    pruning.set_names([])
    looked(pruning, clock)
    assert [(0, False), (1, False), (2, False)] == disk.seen[3:]
    outcome(pruning.stop())
    assert [] == clock.getDelayedCalls()


def test_look_that_fails_is_told_and_made_again() -> None:
    """
    A full disk, or a fault of ours, ends no more than the look.
    """
    disk, clock = Disk(), Clock()
    pruning = Pruning(disk, clock)
    pruning.start([])
    disk.error = StoreError("/s", "the disk is full")
    (said,) = looked(pruning, clock)
    assert said.endswith("the disk is full; what is stored of names that were dropped stays until tomorrow")
    disk.error = ZeroDivisionError()
    assert ["the store could not be looked through"] == looked(pruning, clock)
    disk.error = None
    assert ["6 rows of the store that mattered to nobody any more were dropped"] == looked(pruning, clock)
    outcome(pruning.stop())


def test_stop_does_not_wait_for_the_store() -> None:
    """
    Also before anything was begun.
    """
    disk, clock = Disk(), Clock()
    pruning = Pruning(disk, clock)
    outcome(pruning.stop())
    disk.slow = Deferred()
    pruning.start([])
    clock.advance(FIRST_LOOK_SECONDS)
    outcome(pruning.stop())
    assert ([(0, False)], []) == (disk.seen, clock.getDelayedCalls())
