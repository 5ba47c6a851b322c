from __future__ import annotations

import pytest

from bench.load_http2 import redirected


@pytest.mark.parametrize(
    ("printed", "count"),
    [
        ("requests: 6000 total\nstatus codes: 0 2xx, 6000 3xx, 0 4xx, 0 5xx\ntraffic: 1MB", 6000),
        ("status codes: 10 2xx, 5990 3xx, 0 4xx, 0 5xx", 5990),
        ("h2load: could not connect", 0),
        ("", 0),
    ],
)
def test_clicks_that_were_answered(printed: str, count: int) -> None:
    """
    Only redirects count; where h2load says nothing of the kind, nothing was answered.
    """
    assert count == redirected(printed)
