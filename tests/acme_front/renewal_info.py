"""
Renewal info as a CA gives it (RFC 9773 §4.2), right and wrong, for the front's ``renewalInfo`` resource.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from tests.acme_front.faults import Answer, answer

SIX_HOURS = "21600"


def window(start: datetime, end: datetime, retry_after: str | None = SIX_HOURS, explanation: str = "") -> Answer:
    """
    Give a suggested window.
    """
    document: dict[str, object] = {"suggestedWindow": {"start": _text(start), "end": _text(end)}}
    if explanation:
        document["explanationURL"] = explanation
    return answer(200, json.dumps(document).encode(), "application/json", retry_after)


def window_of(not_before: datetime, not_after: datetime) -> Answer:
    """
    Give the window that Let's Encrypt suggests for a certificate when nothing is wrong: two days round two thirds.
    """
    middle = not_before + (not_after - not_before) * 2 / 3
    return window(middle - timedelta(days=1), middle + timedelta(days=1))


def malformed() -> dict[str, Answer]:
    """
    Give answers that are no renewal info, by what is wrong with them.
    """
    return {
        "not JSON": answer(200, b"<html>", "application/json"),
        "empty": answer(200, b"", "application/json"),
        "no window": answer(200, b"{}", "application/json"),
        "no end": answer(200, b'{"suggestedWindow": {"start": "2026-01-01T00:00:00Z"}}', "application/json"),
        "no date": answer(200, b'{"suggestedWindow": {"start": "soon", "end": "later"}}', "application/json"),
        "numbers": answer(200, b'{"suggestedWindow": {"start": 1, "end": 2}}', "application/json"),
        "ends before it starts": window(datetime(2030, 1, 2), datetime(2030, 1, 1)),  # noqa: DTZ001 - only its text
        "not found": answer(404, b"", "text/plain"),
        "failing": answer(500, b"", "text/plain"),
    }


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
