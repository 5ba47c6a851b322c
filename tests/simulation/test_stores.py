"""
The simulation's store is as good as the real one: the CA sees the same of both.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sptls.certs.store import InlineWorker, Store
from sptls.names import HostName
from tests.certs.stored import bundle_for, outcome
from tests.simulation.memory_store import MemoryStore, SimulatedStore
from tests.simulation.world import World

if TYPE_CHECKING:
    from sptls.certs.bundle import CertificateBundle

LIVE = [HostName(f"click.customer{number}.example") for number in range(4)]
DEAD = [HostName("click.dead.example")]
DAYS = 6


def real_bundle(name: HostName, not_before: datetime, not_after: datetime, _number: int) -> CertificateBundle:
    """
    Give a certificate that the real store takes.
    """
    return bundle_for(name, not_before, not_after)


def world_on(store: Callable[[Callable[[], datetime]], SimulatedStore]) -> World:
    """
    Give a world after some days with kills, on *store*.
    """
    world = World([*LIVE, *DEAD], lambda _: timedelta(hours=160), dead=DEAD, store=store, make_bundle=real_bundle)
    for day in range(DAYS):
        world.later(day * 86400.0, lambda: world.kill_within(20.0))
    world.run(timedelta(days=DAYS))
    world.stop()
    return world


def test_ca_sees_the_same_of_both_stores(tmp_path: Path) -> None:
    """
    The same orders and failures at the same moments, restarts in the middle of orders included.
    """
    real: list[Store] = []

    def on_disk(now: Callable[[], datetime]) -> SimulatedStore:
        real.append(Store(tmp_path / "store.db", InlineWorker(), now))
        return real[0]

    disk, memory = world_on(on_disk), world_on(MemoryStore)
    outcome(real[0].close())
    assert (disk.ca.ordered, disk.ca.failures) == (memory.ca.ordered, memory.ca.failures)
    assert (disk.kills, True) == (memory.kills, memory.kills > 0)
