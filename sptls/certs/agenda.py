"""
What is next: items that wait for a moment, items that are ready by urgency, and those that somebody waits for. Pure.

Every operation costs a few microseconds whatever the number of items: entries that became stale stay in the heaps and
are skipped when they come up.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    """
    Where each item stands: it waits, it is ready, or it is in nobody's way. Items are hashable; moments are seconds.
    """

    def __init__(self) -> None:
        self._numbers = count()
        # Each item's entry in a heap that is not stale, by its number.
        self._current: dict[T, int] = {}
        self._ready: set[T] = set()
        self._by_urgency: list[tuple[float, int, T]] = []
        self._by_moment: list[tuple[float, int, T]] = []
        self._wanted: dict[T, None] = {}

    def ready(self, item: T, urgency: float) -> None:
        """
        Let *item* come up when those of less *urgency* have; equal ones in the order in which they became ready.
        """
        self._push(self._by_urgency, urgency, item)
        self._ready.add(item)

    def wait(self, item: T, until: float) -> None:
        """
        Let *item* be due at the moment *until*.
        """
        self.drop(item)
        self._push(self._by_moment, until, item)

    def want(self, item: T) -> None:
        """
        Let *item*, if it is ready, come up before all that nobody waits for.
        """
        if item in self._ready:
            self._wanted[item] = None

    def drop(self, item: T) -> None:
        """
        Forget *item*; fine when it is not here.
        """
        self._current.pop(item, None)
        self._ready.discard(item)
        self._wanted.pop(item, None)

    def due(self, now: float) -> list[T]:
        """
        Take out the items whose moment has come.
        """
        items = []
        while (item := self._first(self._by_moment)) is not None and self._by_moment[0][0] <= now:
            heapq.heappop(self._by_moment)
            self.drop(item)
            items.append(item)
        return items

    def next_moment(self) -> float | None:
        """
        Give the moment when the next item is due, or None when none waits.
        """
        return None if self._first(self._by_moment) is None else self._by_moment[0][0]

    def take_wanted(self) -> T | None:
        """
        Take out the ready item that was wanted first, or give None.
        """
        item = next(iter(self._wanted), None)
        if item is not None:
            self.drop(item)
        return item

    def take_ready(self) -> T | None:
        """
        Take out the most urgent ready item, or give None.
        """
        item = self._first(self._by_urgency)
        if item is not None:
            self.drop(item)
        return item

    def is_ready(self, item: T) -> bool:
        """
        Tell whether *item* is ready.
        """
        return item in self._ready

    @property
    def is_anything_ready(self) -> bool:
        """
        Tell whether an item is ready.
        """
        return bool(self._ready)

    def _push(self, heap: list[tuple[float, int, T]], key: float, item: T) -> None:
        number = next(self._numbers)
        self._current[item] = number
        heapq.heappush(heap, (key, number, item))

    def _first(self, heap: list[tuple[float, int, T]]) -> T | None:
        """
        Give the item of the first entry that is not stale, after dropping those before it.
        """
        while heap:
            _, number, item = heap[0]
            if self._current.get(item) == number:
                return item
            heapq.heappop(heap)
        return None
