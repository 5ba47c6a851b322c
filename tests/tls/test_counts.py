from __future__ import annotations

import attrs

from sptls.tls.counts import TlsCounts


def test_counting_begins_at_nothing() -> None:
    """
    Every count is a number that JSON can hold.
    """
    assert {0} == set(attrs.asdict(TlsCounts()).values())
