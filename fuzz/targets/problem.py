"""
What a CA says when it refuses: any answer is an error of ours that a person can read, and names its cause.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sptls.acme.exchange import Answer
from sptls.acme.messages import refusal
from sptls.acme.retry import LONGEST_RETRY_AFTER_SECONDS
from sptls.certs.refusal_words import meaning
from sptls.errors import AcmeError, AcmeProblem

_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STATUSES: Final = (200, 302, 400, 403, 404, 429, 500, 503)
_TYPE: Final = b'"type": "urn:ietf:params:acme:error:'

SEEDS: Final = (
    b"\x02{" + _TYPE + b'malformed", "detail": "no", "status": 400}',
    b"\x05{" + _TYPE + b'rateLimited", "detail": "too many certificates (50) already issued for \\"example.com\\" in '
    b'the last 168h0m0s, retry after 2026-01-02 03:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/"}',
    b"\x03{"
    + _TYPE
    + b'compound", "subproblems": [{"type": "x", "identifier": {"type": "dns", "value": "a.example"}}]}',
    b"\x03{" + _TYPE + b'userActionRequired", "instance": "https://ca.example/terms"}',
    b"\x02{" + _TYPE + b'caa", "detail": "CAA record for a.example prevents issuance"}',
    b"\x06<html>Bad Gateway</html>",
    b"\x02[]",
)


def check(data: bytes) -> None:
    """
    See that a refusal is one of the documented errors, with a sentence on one line and a delay within bounds.
    """
    status = _STATUSES[data[0] % len(_STATUSES)] if data else 400
    for content_type in ("application/problem+json", "text/html"):
        answer = Answer(status, data[1:], content_type, links=(data[1:200].decode("latin-1"),))
        error = refusal("newOrder", answer, _NOW)
        assert isinstance(error, AcmeError)
        assert str(error).isprintable()
        seconds = error.retry_after_seconds
        assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS
        if isinstance(error, AcmeProblem):
            meaning(error)
