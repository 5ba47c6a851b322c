"""
Let's Encrypt's buckets while a thousand new names come at once, a hundred of which can't be had, and others are due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from sptls.certs.records import NO_HISTORY, StoredCertificate
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import outcome
from tests.simulation.lets_encrypt import HOUR, NEW_ORDERS
from tests.simulation.memory_store import MemoryStore
from tests.simulation.model_ca import DIRECTORY, bare_bundle
from tests.simulation.world import World

LIFETIME = timedelta(days=90)
NEW = [HostName(f"click.new{number}.example") for number in range(1000)]
DEAD = [HostName(f"click.dead{number}.example") for number in range(100)]
DUE = [HostName(f"click.due{number}.example") for number in range(200)]
HOURS = 11
# One that is due waits for no new name, at most for a slot.
LONGEST_WAIT = timedelta(seconds=60)


def due_at(position: int) -> datetime:
    """
    Give when the certificate at *position* falls due: all of them while the new names are waiting.
    """
    return NOW + timedelta(hours=6) * position / len(DUE)


def store_of_due_ones(now: Callable[[], datetime]) -> MemoryStore:
    """
    Give a store with certificates that fall due one after the other.
    """
    store = MemoryStore(now)
    for position, name in enumerate(DUE):
        bundle = bare_bundle(name, NOW - LIFETIME * 2 / 3, NOW + LIFETIME / 3, position)
        outcome(store.put_certificate(StoredCertificate(name, bundle, DIRECTORY, due_at(position)), NO_HISTORY))
    return store


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """
    Give the world after some hours.
    """
    world = World([*NEW, *DEAD, *DUE], lambda _: LIFETIME, dead=DEAD, store=store_of_due_ones)
    for name in DUE:
        world.ca.limits.issued(name.text, 0.0, is_replacement=True)
    world.run(timedelta(hours=HOURS))
    yield world
    world.stop()


def test_nothing_is_refused(world: World) -> None:
    """
    Every name that can be had is had, and the CA gave no 429.
    """
    assert ([], []) == (world.ca.limits.refusals, world.expired_now)


def test_hardly_anything_that_is_permitted_is_left(world: World) -> None:
    """
    When the last new name is served, 95 of a hundred orders that the account was allowed have been made.
    """
    last = max(world.first_issued[name] for name in NEW)
    due = frozenset(DUE)
    ordered = sum(moment <= last and name not in due for moment, name in world.ca.ordered)
    assert 0.95 <= ordered / (NEW_ORDERS.size + last / NEW_ORDERS.refill_seconds) <= 1
    assert last < HOURS * HOUR


def test_no_renewal_is_starved(world: World) -> None:
    """
    Each is ordered when it falls due.
    """
    ordered = {name: NOW + timedelta(seconds=moment) for moment, name in reversed(world.ca.ordered)}
    waits = [ordered[name] - due_at(position) for position, name in enumerate(DUE)]
    assert max(waits) < LONGEST_WAIT
