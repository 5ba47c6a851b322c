"""
A CA's books from the store: any moments in them hold an order up for a bounded time.
"""

from __future__ import annotations

import math
import struct
from typing import Final

from sptls.certs.authorities import LONGEST_LIMIT_SECONDS
from sptls.certs.limits import LETS_ENCRYPT, Demand, Ledger, Priority

_NOW: Final = 1_800_000_000.0
_KEYS: Final = (
    *("orders", "domain example", "name a.example", "until name a.example"),
    *("until domain example", "until account", "until CA", "nonsense"),
)
_LATE: Final = 8 * 86400.0

SEEDS: Final = (
    struct.pack("<4d", _NOW, _NOW + 60, _NOW + _LATE, 0.0),
    struct.pack("<8d", *[_NOW + 3600] * 8),
    struct.pack("<3d", math.inf, -math.inf, 1e308),
    struct.pack("<2d", -1.0, 5e-324),
    b"",
)


def check(data: bytes) -> None:
    """
    See that what is told to wait for is a moment within bounds, before and after an order.
    """
    found = struct.unpack(f"<{len(data) // 8}d", data[: len(data) // 8 * 8])
    # SQLite has no NaN.
    entries = {key: moment for key, moment in zip(_KEYS, found, strict=False) if not math.isnan(moment)}
    ledger = Ledger(LETS_ENCRYPT, lambda name: name.partition(".")[2])
    ledger.load(entries)
    ledger.correct(_NOW, LONGEST_LIMIT_SECONDS)
    ledger.prune(_NOW)
    assert all(_NOW < moment <= _NOW + LONGEST_LIMIT_SECONDS for moment in ledger.entries.values())
    for priority in Priority:
        demand = Demand("a.example", priority, orders=3)
        _check_wait(ledger, demand)
        ledger.spend(demand, _NOW)
        ledger.give_back_orders(demand, 2)
        ledger.give_back(demand)
        _check_wait(ledger, demand)
    assert all(map(math.isfinite, ledger.take_changes().values()))


def _check_wait(ledger: Ledger, demand: Demand) -> None:
    not_before = ledger.earliest(demand, _NOW)
    if not_before is not None:
        assert _NOW < not_before.moment <= _NOW + LONGEST_LIMIT_SECONDS + _LATE
