from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.simulation.lets_encrypt import HOUR
from tests.simulation.year import Year, busy, most_within, violations

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_SECONDS = 60.0


def test_year_of_a_thousand_names(record_property: Callable[[str, object], None]) -> None:
    """
    A simulated year of 1,000 names (160 hours to 90 days) and 50 dead ones, with an outage of three days, a mass
    revocation, another profile and kills: none expires, no 429, the busiest hour has at most twice the usual orders.
    """
    began = time.process_time()
    year = Year(1000, 50)
    world = year.pass_by()
    cpu_seconds = time.process_time() - began
    hour, renewals = busy(year, HOUR), busy(year, HOUR, only_live=True)
    worst = max(most_within(moments, HOUR) for moments in world.ca.failures.values())
    found = list(violations(year))
    record_property("CPU seconds", f"{cpu_seconds:.0f}")
    record_property("certificates", len(world.ca.issuances))
    record_property("orders", len(world.ca.ordered))
    record_property("expired, refused, late", len(found))
    record_property("failed authorizations of a name in an hour, at most", worst)
    record_property("orders an hour", f"{hour.mean:.1f}, at most {hour.most}")
    record_property("of these for live names", f"{renewals.mean:.1f}, at most {renewals.most}")
    assert [] == found
    assert hour.times <= 2
    assert cpu_seconds < CPU_SECONDS
