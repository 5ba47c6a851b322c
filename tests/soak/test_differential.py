from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.differential import SAME, both_sides, difference
from tests.e2e.odd_requests import odd_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REQUESTS = 10_000


def test_ten_thousand_requests_beside_nginx(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    10,000 generated requests, most of them odd: the service sees what it sees behind nginx, or a reason has a name.
    """
    first = time.time_ns() // 1000
    record_property("first seed", first)
    met: Counter[str] = Counter()
    unexplained = []
    with both_sides(tmp_path) as (ours, theirs):
        for seed in range(first, first + REQUESTS):
            message = odd_request(seed)
            reason = difference(message, ours.seen(message), theirs.seen(message))
            if reason is None:
                unexplained.append((seed, message))
            else:
                met[reason.what] += 1
    for what, count in met.most_common():
        record_property(what, count)
    assert [] == unexplained
    assert [] == ours.origin.broken
    assert met[SAME.what] > REQUESTS / 2
