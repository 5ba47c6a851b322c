"""
Fields of a CA's answers: Link gives URLs and nothing else, Retry-After seconds within bounds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sptls.acme.members import is_url
from sptls.acme.messages import MAX_ALTERNATES, alternates, reading
from sptls.acme.retry import LONGEST_RETRY_AFTER_SECONDS, retry_after

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)

SEEDS: Final = (
    b'<https://ca.example/dir>;rel="index", <https://ca.example/2>; rel="alternate"',
    b'<https://ca.example/tos>; rel=terms-of-service;title="x", <https://ca.example/h>;rel="help up"',
    b"120",
    b"Fri, 02 Jan 2026 00:00:00 GMT",
    b"Fri, 02 Jan 9999 23:59:59 -9959",
)


def check(data: bytes) -> None:
    """
    See that whatever stands in a field gives what is safe to use.
    """
    text = data.decode("latin-1")
    urls = [*alternates([text]), *reading([text, text]).values()]
    assert len(alternates([text] * 50)) <= MAX_ALTERNATES
    assert all(is_url(url) for url in urls)
    for date in (None, text):
        seconds = retry_after(text, _NOW, date)
        assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS
